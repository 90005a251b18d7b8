"""Directories of results that are computed once and used again, as long as what they were computed from is the same."""

import logging
import shutil
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from transformer.errors import UsageError
from transformer.files.atomic import UNFINISHED
from transformer.files.manifest import NAME, find_damage, unseal, write_manifest

OWN_FILES = {  # every file that is written into such a directory
    NAME, NAME + UNFINISHED, "source.ids", "target.ids", "source.offsets.npy", "target.offsets.npy",
    "tokenizer.spm", "source.spm", "target.spm",
}  # fmt: skip
SYSTEM_FILES = {".DS_Store", "Thumbs.db", ".nfs*"}  # left behind by file browsers and file systems, and no loss

log = logging.getLogger(__name__)


def read_results(directory: Path, origin: str) -> dict[str, Any] | None:
    """Returns the manifest if the directory is complete, was computed from `origin` (a digest) and has not changed.

    Otherwise returns None, after a warning if a file was damaged.
    """
    try:
        manifest = unseal((directory / NAME).read_text(encoding="utf8"))
        if manifest.get("digest") != origin:
            return None
        damage = find_damage(directory, manifest["files"])
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as problem:
        damage = f"{NAME}: {problem}"
    else:
        if damage is None:
            return manifest
    log.warning("warning: %s/%s; it is computed again", directory, damage)
    return None


def begin_results(directory: Path) -> None:
    """Makes a directory, or deletes its contents, the manifest first. Raises UsageError if it has files of others."""
    check_own_files(directory, OWN_FILES)
    (directory / NAME).unlink(missing_ok=True)
    place = directory.resolve()  # a link to another disk remains one
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


def finish_results(directory: Path, origin: str, **content: Any) -> dict[str, Any]:
    """Writes the manifest of a directory that is complete, and returns it."""
    return write_manifest(directory, {"digest": origin, **content})


def check_own_files(directory: Path, names: Collection[str]) -> None:
    """Raises UsageError if a directory that is to be replaced has files that match none of these names or patterns."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"{directory}: is not a directory, and a run needs one there; choose another run_dir")
    for path in sorted(directory.iterdir()):
        if path.is_dir() or not any(fnmatchcase(path.name, name) for name in {*names, *SYSTEM_FILES}):
            raise UsageError(
                f"{directory}: {path.name} does not belong to a run, which would delete it; choose another run_dir"
            )

"""Directories of results that are computed once, and used again as long as their inputs are the same."""

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
SYSTEM_FILES = {".DS_Store", "Thumbs.db", ".nfs*"}  # made by file browsers and file systems; they may be deleted

log = logging.getLogger(__name__)


def read_results(directory: Path, origin: str) -> dict[str, Any] | None:
    """Returns the manifest if the directory is complete, unchanged, and computed from inputs with the digest `origin`.

    Otherwise returns None, and logs a warning if a file is damaged.
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
    """Makes an empty directory. If the directory exists, deletes its content, the manifest first.

    Raises UsageError if the directory has files that this package did not write.
    """
    check_own_files(directory, OWN_FILES)
    (directory / NAME).unlink(missing_ok=True)
    place = directory.resolve()  # so that a link to another disk is kept
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


def finish_results(directory: Path, origin: str, **content: Any) -> dict[str, Any]:
    """Writes the manifest of a directory whose results are complete, and returns the manifest."""
    return write_manifest(directory, {"digest": origin, **content})


def check_own_files(directory: Path, names: Collection[str]) -> None:
    """Checks that a directory may be replaced: it is absent, or has only files that match `names` or SYSTEM_FILES.

    Raises UsageError otherwise. The names may be patterns.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"{directory}: is not a directory, and a run needs one there; choose another run_dir")
    for path in sorted(directory.iterdir()):
        if path.is_dir() or not any(fnmatchcase(path.name, name) for name in {*names, *SYSTEM_FILES}):
            raise UsageError(
                f"{directory}: {path.name} does not belong to a run, which would delete it; choose another run_dir"
            )

"""Work done once: a directory with a manifest, which says from what its files were made, and stands last."""

import logging
import os
import shutil
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from transformer.checksums import checksums, damage, sealed, to_disk, unsealed
from transformer.errors import UsageError

NAME = "manifest.json"
UNFINISHED = f"{NAME}.unfinished"
NAMES = {  # of all that is written into such directories
    NAME, UNFINISHED, "source.ids", "target.ids", "source.offsets.npy", "target.offsets.npy",
    "tokenizer.spm", "source.spm", "target.spm",
}  # fmt: skip
OF_SYSTEMS = {".DS_Store", "Thumbs.db", ".nfs*"}  # left there by who looks at a directory, and no loss

log = logging.getLogger(__name__)


def is_made(directory: Path, digest: str) -> dict[str, Any] | None:
    """The manifest of a directory that was made in full from what has this digest, or None.

    Where a file is not what it was then, it says so: what was made is no longer there.
    """
    try:
        content = unsealed((directory / NAME).read_text(encoding="utf8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as problem:
        content, harm = {}, f"{NAME}: {problem}"
    else:
        if content.get("digest") != digest:
            return None
        harm = damage(directory, content["files"])
    if harm:
        log.warning("warning: %s/%s; made anew", directory, harm)
    return None if harm else content


def begin(directory: Path) -> None:
    """An empty directory. The manifest goes first: files without one are not taken for whole. Raises UsageError."""
    check_ours(directory, NAMES)
    (directory / NAME).unlink(missing_ok=True)
    place = directory.resolve()  # a link to another disk stays
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


def finish(directory: Path, digest: str, **content: Any) -> dict[str, Any]:
    """Writes the manifest, at once and whole, and gives it back. The files are on the disk before it is."""
    manifest = {"digest": digest, "files": checksums(directory, flush=True), **content}
    (directory / UNFINISHED).write_text(sealed(manifest), encoding="utf8")
    to_disk(directory / UNFINISHED)
    os.replace(directory / UNFINISHED, directory / NAME)
    to_disk(directory)
    return manifest


def check_ours(directory: Path, names: Collection[str]) -> None:
    """Raises UsageError where what is to be cleared or replaced holds more than files of these names (or patterns)."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"{directory}: is no directory, and a run needs one there; choose another run_dir")
    for path in sorted(directory.iterdir()):
        if path.is_dir() or not any(fnmatchcase(path.name, name) for name in {*names, *OF_SYSTEMS}):
            raise UsageError(
                f"{directory}: {path.name} is not of a run, which would clear it away; choose another run_dir"
            )

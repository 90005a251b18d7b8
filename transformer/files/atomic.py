"""Replaces files and directories so that no content is lost or half written if the process stops at any moment.

New content is written under a temporary name, flushed to the disk, and renamed when it is complete.
"""

import os
import shutil
from pathlib import Path

UNFINISHED = ".unfinished"


def write_file(path: Path, content: str) -> None:
    """Writes `content` to a new file, and replaces the file at `path` by it."""
    unfinished = path.with_name(path.name + UNFINISHED)
    unfinished.write_text(content, encoding="utf8")
    flush(unfinished)
    os.replace(unfinished, path)


def put_directory(new: Path, place: Path, old: Path) -> None:
    """Moves the complete directory `new` to `place`. An existing `place` is renamed to `old`, and deleted last."""
    if place.exists():
        os.rename(place, old)
    os.rename(new, place)
    flush(place.parent)
    recover_directory(place, old)


def recover_directory(place: Path, old: Path) -> None:
    """Completes or reverts a `put_directory` that was interrupted."""
    if not old.exists():
        return
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(old, place)


def flush(path: Path) -> None:
    """Flushes the content of a file, or the list of files in a directory, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

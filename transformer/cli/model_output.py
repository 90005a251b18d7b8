"""The model that a command writes: into a new place, complete or absent."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from transformer.errors import UsageError
from transformer.files.manifest import enclosing
from transformer.files.model_files import new_and_old


def check_output(path: str) -> Path:
    """Returns the path with links resolved.

    Raises UsageError if it is not empty, if PATH.new or PATH.old exist, or if it is inside a model, a checkpoint or
    prepared data.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UsageError(f"{path}: exists, and is not an empty directory; choose another, or remove it")
    for other in new_and_old(place):
        if os.path.lexists(other):  # `save_model` would take it for its own leftover
            raise UsageError(f"{path}: {other} is in the way; choose another place, or remove that")
    if parent := enclosing(place):
        raise UsageError(f"{path}: is inside {parent}, which was written as one; choose another place")
    return place


class Rejected(UsageError):
    """The model that was written did not pass its check."""


@contextmanager
def restore_on_failure(place: Path, *, keep: bool) -> Iterator[None]:
    """Restores `place` as it was, absent or an empty directory, if the work inside fails.

    With `keep`, a model that was Rejected is kept. The message of Rejected states which of both was done.
    """
    existed, missing = place.exists(), [parent for parent in place.parents if not parent.exists()]
    try:
        yield
    except Rejected as problem:
        if keep:
            raise Rejected(f"{problem}; it is kept in {place}") from None
        _restore(place, missing, existed=existed)
        raise Rejected(f"{problem}; {place} was deleted; --keep keeps it") from None
    except BaseException:
        _restore(place, missing, existed=existed)
        raise


def _restore(place: Path, missing: Sequence[Path], *, existed: bool) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if existed:
        place.mkdir()
    for parent in missing:
        with suppress(OSError):  # absent, or other files have been put there meanwhile
            parent.rmdir()

"""The model that a command writes: in a place that was free, whole or not there."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.errors import SystemProblem, UsageError

if TYPE_CHECKING:
    from transformer.data.tokenizer import Tokenizers
    from transformer.model.transformer import Transformer
    from transformer.model_dir import Card


def free_place(path: str) -> Path:
    """Where links lead to. Raises UsageError where something is there, beside it in the way, or around it."""
    place = Path(os.path.realpath(path))
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UsageError(f"{path}: is there already, and is no empty directory; choose another, or remove it")
    for beside in (place.with_name(place.name + suffix) for suffix in (".new", ".old")):
        if os.path.lexists(beside):  # `save_model` would take it for what it left there when it was killed
            raise UsageError(f"{path}: {beside} is in the way; choose another place, or remove that")
    for parent in place.parents:
        if (parent / "manifest.json").exists():
            raise UsageError(f"{path}: lies in {parent}, a model or a checkpoint; choose another place")
    return place


def write_model(place: Path, model: "Transformer", tokenizers: "Tokenizers", card: "Card") -> None:
    """Puts a model into a free place. Raises SystemProblem; then nothing is there."""
    from safetensors import SafetensorError

    from transformer.model_dir import clear_leftovers, save_model

    try:
        save_model(place, model, tokenizers, card)
    except (OSError, SafetensorError) as problem:
        raise SystemProblem(
            f"{place}: the model cannot be written: {problem}; make room, or choose another"
        ) from problem
    finally:
        clear_leftovers(place)


class Rejected(UsageError):
    """What was written did not pass its check."""


@contextmanager
def restore_on_failure(place: Path, *, keep: bool) -> Iterator[None]:
    """Restores `place` as it was, absent or an empty directory, if the work inside fails.

    With `keep`, what was Rejected stays. The message of Rejected says what became of it.
    """
    was_there, missing = place.exists(), [parent for parent in place.parents if not parent.exists()]
    try:
        yield
    except Rejected as problem:
        if keep:
            raise Rejected(f"{problem}; it is kept in {place}") from None
        _restore(place, missing, was_there=was_there)
        raise Rejected(f"{problem}; nothing is left in {place} (--keep leaves it there)") from None
    except BaseException:
        _restore(place, missing, was_there=was_there)
        raise


def _restore(place: Path, missing: Sequence[Path], *, was_there: bool) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if was_there:
        place.mkdir()
    for parent in missing:
        with suppress(OSError):  # not there, or others have put something there meanwhile
            parent.rmdir()

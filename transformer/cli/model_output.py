"""Checks the directory that a command writes a model to, and the model. After a failure, no model is left."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.cli.input import read_text
from transformer.config.tables import import_object
from transformer.errors import UsageError
from transformer.files.manifest import enclosing
from transformer.files.model_files import new_and_old

if TYPE_CHECKING:
    from transformer.translation.translator import Translator

log = logging.getLogger(__name__)

MAX_LINES = 1000  # of a file that are used for the check
SENTENCES = 20  # of the built-in corpus that are used for the check
PEERS = {  # export --to, import --from -> the other program, and the class that runs it
    "ctranslate2": ("CTranslate2", "transformer.interop.ctranslate2.export:CTranslate2"),
    "marian": ("Transformers", "transformer.interop.marian.peer:Marian"),
}


def check_output(path: str) -> Path:
    """Returns the path with links resolved.

    Raises UsageError if the path exists and is not an empty directory, if PATH.new or PATH.old exists, or if the path
    is inside a model, a checkpoint or prepared data.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UsageError(f"{path}: exists, and is not an empty directory; choose another, or remove it")
    for other in new_and_old(place):
        if os.path.lexists(other):  # `save_model` would treat it as left by an interrupted save
            raise UsageError(f"{path}: {other} is in the way; choose another place, or remove that")
    if parent := enclosing(place):
        raise UsageError(f"{path}: is inside {parent}, a model, a checkpoint or prepared data; choose another place")
    return place


class Rejected(UsageError):
    """The model that was written did not pass its check."""


@contextmanager
def restore_on_failure(place: Path, *, keep: bool) -> Iterator[None]:
    """If the `with` block fails, restores `place` to what it was before: absent, or an empty directory.

    With `keep`, a model is kept if the block raises Rejected. The message of Rejected states whether the model was kept
    or deleted.
    """
    existed, missing = place.exists(), [parent for parent in place.parents if not parent.exists()]
    try:
        yield
    except BaseException as problem:
        is_rejected = isinstance(problem, Rejected)
        if is_rejected and keep:
            raise Rejected(f"{problem}; it is kept in {place}") from None
        shutil.rmtree(place, ignore_errors=True)
        if existed:
            place.mkdir()
        for parent in missing:
            with suppress(OSError):  # it is absent, or other files have been added meanwhile
                parent.rmdir()
        if is_rejected:
            raise Rejected(f"{problem}; {place} was deleted; --keep keeps it") from None
        raise


def lines_to_check(path: str | None) -> list[str]:
    """Returns the first lines of the file at `path`, or sentences of the built-in corpus if `path` is None.

    Raises DataError if the file cannot be read.
    """
    if path is None:
        from transformer.data.clauses import clauses

        return [english for english, _ in clauses("test", SENTENCES)]
    return read_text(path)[:MAX_LINES]


def check_agreement(
    translator: "Translator", folder: str | Path, peer: str, lines: Sequence[str], *, exact: bool
) -> None:
    """Runs the model in `folder` with a program of PEERS, and logs how well its results agree with the translator's.

    If the program is not installed, logs that instead. Raises Rejected if the results disagree. `exact`: both programs
    have the same weights in float32, not rounded ones.
    """
    from transformer.interop.agreement import agreement, in_float32

    program, place = PEERS[peer]
    try:
        other = import_object(place)(Path(folder), translator.tokenizers, translator.config)
    except ImportError as problem:
        log.info("not checked against %s: %s", program, problem)
        return
    found = agreement(in_float32(translator), other, lines)
    log.info("%s", found)
    if not found.sentences:
        what = "translation" if found.tokens else "line"
        log.warning("warning: no %s of the %d lines could be compared; give others with --check", what, len(lines))
    if fault := found.fault(exact=exact):
        raise Rejected(f"{program} does not give the same results: {fault}")

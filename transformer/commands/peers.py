"""The check after an export or import: the other program, if installed, must give the same results."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.commands.files import read_text
from transformer.errors import UsageError

if TYPE_CHECKING:
    from transformer.data.tokenizer import Tokenizers
    from transformer.interop.agreement import Peer
    from transformer.model_dir import Card
    from transformer.translator import Translator

log = logging.getLogger(__name__)

LINES = 1000  # of a file at most
SENTENCES = 20  # of the built-in corpus


def lines_to_check(path: str | None) -> list[str]:
    """The first lines of a file, or sentences of the built-in corpus. Raises DataError where there is no such file."""
    if path is None:
        from transformer.data.clauses import clauses

        return [english for english, _ in clauses("test", SENTENCES)]
    return read_text(path)[:LINES]


def check_agreement(
    translator: "Translator", peer: Callable[[], "Peer"], lines: Sequence[str], needed: str, *, exact: bool
) -> None:
    """Logs in one line how far the two programs agree, or that the other one is not installed.

    Raises UsageError if they disagree. `exact`: both have the same weights, and not rounded ones.
    """
    from transformer.interop.agreement import agreement, in_float32

    try:
        found = agreement(in_float32(translator), peer(), lines)
    except ImportError as problem:
        log.info("not checked against %s: %s", needed, problem)
        return
    log.info("%s", found)
    if not found.sentences:
        what = "translation" if found.tokens else "line"
        log.warning("warning: no %s of the %d lines could be compared; give others with --check", what, len(lines))
    if fault := found.fault(exact=exact):
        raise UsageError(f"{needed} does not give the same results: {fault}")


@contextmanager
def restore_on_failure(place: Path, *, keep: bool) -> Iterator[None]:
    """Restores `place` as it was, absent or empty, if the work inside fails; what was written stays with `keep`.

    Raises what was raised inside; a UsageError also says what became of the place.
    """
    was_there, missing = place.exists(), [parent for parent in place.parents if not parent.exists()]
    try:
        yield
    except BaseException as failure:
        is_kept = keep and place.exists() and isinstance(failure, UsageError)
        if not is_kept:
            _undo(place, missing, was_there=was_there)
        if isinstance(failure, UsageError):
            told = f"it is kept in {place}" if is_kept else f"nothing is left in {place} (--keep leaves it there)"
            raise UsageError(f"{failure}; {told}") from None
        raise


def _undo(place: Path, missing: Sequence[Path], *, was_there: bool) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if was_there:
        place.mkdir()
    for parent in missing:
        with suppress(OSError):  # not there, or others have put something there meanwhile
            parent.rmdir()


def marian(directory: Path, tokenizers: "Tokenizers", card: "Card") -> "Peer":
    """Raises ImportError where Transformers or PyTorch are not installed."""
    from transformer.interop.marian_peer import Marian

    return Marian(directory, tokenizers, card)

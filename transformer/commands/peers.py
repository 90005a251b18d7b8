"""Other programs that have our models too, where they are installed: do they say the same?"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.commands.files import read_text

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


def report(
    translator: "Translator", peer: Callable[[], "Peer"], lines: Sequence[str], needed: str, *, exact: bool
) -> None:
    """Says in one line how far the two agree, or that the other program is not installed."""
    from transformer.interop.agreement import CLOSE, agreement

    try:
        found = agreement(translator, peer(), lines)
    except ImportError as problem:
        log.info("not checked against %s: %s", needed, problem)
        return
    log.info("%s", found)
    if exact and found.tokens and not found.is_close:
        log.warning("warning: that is more than %g; is it the same model?", CLOSE)


def marian(directory: Path, tokenizers: "Tokenizers", card: "Card") -> "Peer":
    """Raises ImportError where Transformers or PyTorch are not installed."""
    from transformer.interop.marian_peer import Marian

    return Marian(directory, tokenizers, card)

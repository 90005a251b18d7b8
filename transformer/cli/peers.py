"""The check after an export or import: the other program, if installed, must give the same results."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformer.cli.input import read_text
from transformer.cli.model_output import Rejected

if TYPE_CHECKING:
    from transformer.data.tokenizer import Tokenizers
    from transformer.interop.agreement import Peer
    from transformer.translation.model_config import ModelConfig
    from transformer.translation.translator import Translator

log = logging.getLogger(__name__)

MAX_LINES = 1000  # of a file
SENTENCES = 20  # of the built-in corpus


def lines_to_check(path: str | None) -> list[str]:
    """Returns the first lines of a file, or sentences of the built-in corpus. Raises DataError if there is no file."""
    if path is None:
        from transformer.data.clauses import clauses

        return [english for english, _ in clauses("test", SENTENCES)]
    return read_text(path)[:MAX_LINES]


def check_agreement(
    translator: "Translator", peer: Callable[[], "Peer"], lines: Sequence[str], program: str, *, exact: bool
) -> None:
    """Logs how far the two programs agree, or that the other one is not installed.

    Raises Rejected if they disagree. `exact`: both have the same weights, not rounded ones.
    """
    from transformer.interop.agreement import agreement, in_float32

    try:
        found = agreement(in_float32(translator), peer(), lines)
    except ImportError as problem:
        log.info("not checked against %s: %s", program, problem)
        return
    log.info("%s", found)
    if not found.sentences:
        what = "translation" if found.tokens else "line"
        log.warning("warning: no %s of the %d lines could be compared; give others with --check", what, len(lines))
    if fault := found.fault(exact=exact):
        raise Rejected(f"{program} does not give the same results: {fault}")


def marian(directory: Path, tokenizers: "Tokenizers", config: "ModelConfig") -> "Peer":
    """Returns the model of a folder, run by Transformers. Raises ImportError if that or PyTorch is not installed."""
    from transformer.interop.marian.peer import Marian

    return Marian(directory, tokenizers, config)

"""Explains why SentencePiece cannot be trained."""

import re

from transformer.config import Tokenizer as Settings
from transformer.errors import DataError, UsageError, one_line

_TOO_FEW = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")


def explain(problem: str, settings: Settings) -> UsageError | DataError:
    """Turns a message of SentencePiece into an error that names the setting or the files."""
    if too_few := _TOO_FEW.search(problem):
        return UsageError(
            f"tokenizer.vocab_size = {settings.vocab_size}: the characters of this corpus need at least {too_few[1]};"
            " raise it, or lower tokenizer.character_coverage"
        )
    if "sentences_.empty()" in problem or "all_chars_count" in problem:
        return DataError("tokenizer: there is no text to train on; check the files of data.train")
    return UsageError(f"tokenizer: SentencePiece cannot train with these settings: {one_line(problem)}")

"""[data]: the corpora."""

from typing import Annotated

from pydantic import Field

from transformer.config.section import BY_CONTENT, CHANGES_RESULT, FIXED, HARMLESS, Section, UserPath


class Data(Section):
    """Which pairs of sentences to learn from."""

    source: Annotated[str, FIXED] = ""
    """language code of the source, and the suffix of its files"""
    target: Annotated[str, FIXED] = ""
    """language code of the target, and the suffix of its files"""
    train: Annotated[tuple[UserPath, ...], BY_CONTENT] = ()
    """corpora: PREFIX (for PREFIX.en and PREFIX.de, .gz too), FILE.tsv, FILE.jsonl, FILE.parquet,
    hf:NAME[:CONFIG]:SPLIT, builtin:clauses"""
    valid: Annotated[tuple[UserPath, ...], BY_CONTENT] = ()
    """corpora to validate on, named in the same way; several get a score each (see train.best_corpus)"""
    max_length: Annotated[int, Field(ge=2, le=1 << 20), FIXED] = 128
    """largest number of tokens per side, end of sentence included; longer pairs are left out, and counted"""
    max_ratio: Annotated[float, Field(ge=1), FIXED] = 9.0
    """largest ratio between the numbers of tokens of the two sides; pairs above it are left out, and counted"""
    max_left_out: Annotated[float, Field(ge=0, le=1), HARMLESS] = 0.1
    """fraction of the pairs that may be left out, for whatever reason; a corpus with a larger fraction is refused"""
    strict: Annotated[bool, HARMLESS] = False
    """refuse a corpus whose sides look misaligned (lines shifted by a few places), instead of warning"""
    buckets: Annotated[int, Field(ge=1, le=64), CHANGES_RESULT] = 10
    """largest number of different batch shapes: more shapes need less padding, but more time to compile"""

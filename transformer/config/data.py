"""[data]: the corpora."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from transformer.config.section import BY_CONTENT, CHANGES_RESULT, FIXED, HARMLESS, Section, UserPath


def _column(value: object) -> object:
    """Returns the number of a column as a string. Raises ValueError for numbers below 1."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"{value}: columns are numbered from 1")
        return str(value)
    return value


Column = Annotated[str, BeforeValidator(_column)]


STRING, TABLE = "<string>", "<table>"  # the two forms of a corpus; no key is named like this


class CorpusTable(Section):
    """A corpus with a choice of its columns, written `{path = "b.tsv", source = "src", target = "tgt"}`."""

    path: UserPath
    """the corpus, as it is named without a table"""
    source: Column = ""
    """column of the source: its name, or its number from 1 in a .tsv without a header; "": the code data.source"""
    target: Column = ""
    """column of the target, in the same way"""

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if "\0" in self.path:
            raise ValueError(f"{self.path!r}: contains a NUL character; remove it")
        if self.source and self.source == self.target:
            raise ValueError(f"{self.path}: source and target are both the column {self.source!r}; choose two")
        return self


def _without_table(spec: str | CorpusTable) -> str | CorpusTable:
    """A table that chooses nothing is the same as its path, and is recorded in the same way."""
    return spec.path if isinstance(spec, CorpusTable) and not (spec.source or spec.target) else spec


def _form(value: object) -> str:
    return TABLE if isinstance(value, Mapping | CorpusTable) else STRING


CorpusSpec = Annotated[
    Annotated[UserPath, Tag(STRING)] | Annotated[CorpusTable, Tag(TABLE)],
    Discriminator(_form),
    AfterValidator(_without_table),
]


def corpus_name(spec: Any) -> Any:
    """Returns the name of a corpus in messages, scores and train.best_corpus: its string, or the path of its table."""
    return spec.path if isinstance(spec, CorpusTable) else spec.get("path") if isinstance(spec, Mapping) else spec


class Data(Section):
    """Which pairs of sentences to learn from."""

    source: Annotated[str, FIXED] = ""
    """language code of the source, and the suffix of its files"""
    target: Annotated[str, FIXED] = ""
    """language code of the target, and the suffix of its files"""
    train: Annotated[tuple[CorpusSpec, ...], BY_CONTENT] = ()
    """corpora: PREFIX (for PREFIX.en and PREFIX.de), FILE.tsv, FILE.jsonl (each also .gz, .bz2, .xz, .zst),
    FILE.parquet, hf:NAME[:CONFIG]:SPLIT, builtin:clauses, or a table that chooses columns: {path = "b.tsv", source =
    "src", target = "tgt"}; without a choice, columns named by the language codes, or source and target of a .tsv with
    two columns"""
    valid: Annotated[tuple[CorpusSpec, ...], BY_CONTENT] = ()
    """corpora to validate on, named in the same way; several get a score each (see train.best_corpus)"""
    max_length: Annotated[int, Field(ge=2, le=1 << 20), FIXED] = 128
    """largest number of tokens per side, end of sentence included; longer pairs are left out, and counted"""
    max_ratio: Annotated[float, Field(ge=1), FIXED] = 9.0
    """largest ratio between the numbers of tokens of the two sides; pairs above it are left out, and counted"""
    max_left_out: Annotated[float, Field(ge=0, le=1), HARMLESS] = 0.1
    """fraction of the pairs that may be left out, for whatever reason; a corpus with a larger fraction is refused"""
    strict: Annotated[bool, HARMLESS] = False
    """refuse a corpus whose sides look misaligned (lines shifted by a few places), or in other languages than their
    codes (such as sides that are swapped), instead of warning"""
    buckets: Annotated[int, Field(ge=1, le=64), CHANGES_RESULT] = 10
    """largest number of different batch shapes: more shapes need less padding, but more time to compile"""

"""Parallel corpora: pairs of sentences that can be read as a stream, any number of times.

A corpus yields all its pairs unchanged. Bytes that are not UTF-8 become lone surrogates (Python's "surrogateescape"),
which valid text never contains, and a line without a pair becomes a FaultyPair, so that checks/cleaning.py can
recognize such pairs, leave them out and count them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from transformer.config import CorpusTable
from transformer.config.tables import import_object
from transformer.data.lines import compression, open_bytes, read_blocks
from transformer.errors import UsageError

# The start ("hf:") or end (".tsv", before a suffix such as ".gz") of a spec -> the function of (spec, columns, split)
# that opens the corpus.
FORMATS = {
    "builtin:": "transformer.data.formats.builtin:open_builtin",
    "hf:": "transformer.data.formats.huggingface:open_dataset",
    ".tsv": "transformer.data.formats.tsv:open_tsv",
    ".jsonl": "transformer.data.formats.jsonl:open_jsonl",
    ".parquet": "transformer.data.formats.parquet:open_parquet",
}
OTHER_SPECS = "transformer.data.formats.prefix:open_prefix"


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class FaultyPair(Pair):
    """Stands for a line that contains no pair, and states the reason. Both texts are empty."""

    reason: str

    def __new__(cls, reason: str) -> Self:
        pair = super().__new__(cls, "", "")
        pair.reason = reason
        return pair


class Columns(NamedTuple):
    """The names of the columns to read: the language codes, or those that the config chooses."""

    source: str
    target: str
    codes: tuple[str, str]
    chosen: bool = False


@dataclass(frozen=True)
class Corpus:
    """Pairs that can be iterated any number of times. Iterating raises DataError if a pair cannot be read."""

    name: str  # the spec that the corpus was opened with
    read: Callable[[], Iterator[Pair]]
    files: tuple[Path, ...] = ()  # none for a Hugging Face dataset or the built-in corpus
    columns: tuple[str, ...] = ()  # the columns or keys that are read, if the corpus is a table
    header: int = 0  # number of lines before the first pair

    def __iter__(self) -> Iterator[Pair]:
        return self.read()

    @cached_property
    def digest(self) -> str:
        """The sha256 of the decompressed bytes of the files or, if there are none, of the pairs.

        It is computed at its first use. It does not depend on the names of the files, nor on their compression.
        """
        return self._digest(open_bytes)

    @cached_property
    def compressed_digest(self) -> str:
        """Like `digest`, but of the compressed bytes of .gz files. Run directories before format 2 have this digest."""
        is_gzip = any(path.suffix == ".gz" for path in self.files)
        return self._digest(lambda path: open(path, "rb")) if is_gzip else self.digest

    def _digest(self, open_file: Callable[[Path], BinaryIO]) -> str:
        digest = hashlib.sha256()
        if not self.files:
            for pair in self:
                digest.update(repr(tuple(pair)).encode())  # repr adds quotes: pairs cannot run together
        for path in self.files:
            with open_file(path) as stream:
                content = hashlib.sha256()
                for block in read_blocks(stream):
                    content.update(block)
            digest.update(content.digest())
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """Returns a string that identifies the pairs: the digest of the content, and the columns that are read."""
        return " ".join((self.digest, *self.columns))


def open_corpora(specs: Iterable[str | CorpusTable], source: str, target: str, split: str) -> list[Corpus]:
    """Opens several corpora; see `open_corpus`."""
    return [open_corpus(spec, source, target, split) for spec in specs]


def open_corpus(spec: str | CorpusTable, source: str, target: str, split: str) -> Corpus:
    """Opens the corpus that `spec` names, and checks its files or columns; for PREFIX also the numbers of lines.

    `spec` is PREFIX (PREFIX.en + PREFIX.de), FILE.tsv, FILE.jsonl (all three compressed or not), FILE.parquet,
    hf:NAME[:CONFIG]:SPLIT or builtin:clauses[:SPLIT[:COUNT]], or a table that chooses columns. `source` and `target`
    are language codes: the suffixes of the files, or the columns or keys if none are chosen. `split` ("train", "valid"
    or "test") is used if `spec` names a built-in corpus without a split.

    Raises DataError if a file or a column is missing, if a file is UTF-16 or UTF-32, if the numbers of lines differ or
    if a dataset cannot be loaded; UsageError if `spec` is invalid.
    """
    columns = Columns(source, target, (source, target))
    if isinstance(spec, CorpusTable):
        columns = columns._replace(source=spec.source or source, target=spec.target or target, chosen=True)
        spec = spec.path
        if columns.source == columns.target:
            raise UsageError(f"{spec}: source and target are both the column {columns.source!r}; choose two")
    places = (place for key, place in FORMATS.items() if _matches(spec, key))
    open_format: Callable[[str, Columns, str], Corpus] = import_object(next(places, OTHER_SPECS))
    return open_format(spec, columns, split)


def _matches(spec: str, key: str) -> bool:
    if key.startswith("."):
        return spec.removesuffix(compression(spec)).endswith(key)
    return spec.startswith(key)

"""FILE.parquet, and reading pairs from Arrow tables, which huggingface.py uses too.

The texts of a language are in the column that is named by its code, or in that field of the column "translation".
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyarrow import compute, parquet

from transformer.data.corpus import Corpus, Pair
from transformer.data.formats.text import decode
from transformer.data.lines import open_bytes
from transformer.errors import DataError, one_line

ROWS = 4096  # number of rows that are read at a time


def open_parquet(spec: str, source: str, target: str, split: str) -> Corpus:
    """Opens the file. Raises DataError if it is not a Parquet file, or lacks a column."""
    open_bytes(spec).close()
    try:
        columns = find_columns(parquet.read_schema(spec), source, target, spec)
    except (pyarrow.ArrowException, OSError) as problem:
        raise DataError(f"{spec}: not a Parquet file: {one_line(str(problem))}") from None

    def read() -> Iterator[Pair]:
        try:
            with parquet.ParquetFile(spec) as file:
                for batch in file.iter_batches(ROWS, columns=columns):
                    yield from read_pairs(pyarrow.Table.from_batches([batch]), columns)
        except (pyarrow.ArrowException, OSError) as problem:
            raise DataError(f"{spec}: cannot be read to its end: {one_line(str(problem))}") from None

    return Corpus(spec, read, (Path(spec),), (source, target))


def find_columns(schema: pyarrow.Schema, source: str, target: str, where: str) -> list[str]:
    """Returns the column of each language: `en` or `translation.en`. Raises DataError if one is missing or not text."""
    nested = "translation" in schema.names and pyarrow.types.is_struct(schema.field("translation").type)
    fields = schema.field("translation").type if nested else schema
    types = {column.name: column.type for column in fields}
    for language in (source, target):
        if language not in types:
            raise DataError(f"{where}: no column {language!r}; it has {', '.join(map(repr, types)) or 'none'}")
        if not (pyarrow.types.is_string(types[language]) or pyarrow.types.is_large_string(types[language])):
            raise DataError(f"{where}: the column {language!r} contains {types[language]}, not text")
    return [f"translation.{language}" if nested else language for language in (source, target)]


def read_pairs(table: pyarrow.Table, columns: list[str]) -> Iterator[Pair]:
    """Yields the pairs of a table; null is read as an empty text."""
    sides = []
    for column in columns:
        name, *inner = column.split(".")
        texts = compute.struct_field(table.column(name), inner) if inner else table.column(name)
        sides.append(texts.cast(pyarrow.large_binary()).to_pylist())
    for source, target in zip(*sides, strict=True):
        yield Pair(decode(source or b""), decode(target or b""))

"""FILE.parquet, and reading pairs from Arrow tables, which huggingface.py uses too.

The texts of a language are a column named by its code, or a field named by its code in the column "translation". The
config can choose other names.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyarrow import compute, parquet

from transformer.data.corpus import Columns, Corpus, Pair
from transformer.data.formats.text import decode
from transformer.data.lines import compression, open_bytes
from transformer.errors import DataError, one_line

ROWS = 4096  # number of rows that are read at a time


def open_parquet(spec: str, columns: Columns, split: str) -> Corpus:
    """Opens the file. Raises DataError if it is not a Parquet file, or lacks a column."""
    if suffix := compression(spec):
        raise DataError(f"{spec}: a Parquet file contains compressed columns already; remove the {suffix} compression")
    open_bytes(spec).close()
    try:
        paths = find_columns(parquet.read_schema(spec), columns, spec)
    except (pyarrow.ArrowException, OSError) as problem:
        raise DataError(f"{spec}: not a Parquet file: {one_line(str(problem))}") from None

    def read() -> Iterator[Pair]:
        try:
            with parquet.ParquetFile(spec) as file:
                for batch in file.iter_batches(ROWS, columns=list(map(".".join, paths))):
                    yield from read_pairs(pyarrow.Table.from_batches([batch]), paths)
        except (pyarrow.ArrowException, OSError) as problem:
            raise DataError(f"{spec}: cannot be read to its end: {one_line(str(problem))}") from None

    return Corpus(spec, read, (Path(spec),), (columns.source, columns.target))


def find_columns(schema: pyarrow.Schema, columns: Columns, where: str) -> list[list[str]]:
    """Returns the paths of source and target: `["en"]`, or `["translation", "en"]` if it exists.

    Raises DataError if a column is missing or is not text.
    """
    types = {column.name: column.type for column in schema}
    nested = types.get("translation")
    inner = (
        {} if nested is None or not pyarrow.types.is_struct(nested) else {field.name: field.type for field in nested}
    )
    for name in (columns.source, columns.target):
        found = inner.get(name, types.get(name))
        if found is None:
            known = ", ".join(map(repr, {**types, **inner}))
            raise DataError(f"{where}: no column {name!r}; it has {known or 'none'}")
        if not (pyarrow.types.is_string(found) or pyarrow.types.is_large_string(found)):
            raise DataError(f"{where}: the column {name!r} contains {found}, not text")
    return [["translation", name] if name in inner else [name] for name in (columns.source, columns.target)]


def read_pairs(table: pyarrow.Table, paths: list[list[str]]) -> Iterator[Pair]:
    """Yields the pairs of a table; null is read as an empty text."""
    sides = []
    for name, *inner in paths:
        texts = compute.struct_field(table.column(name), inner) if inner else table.column(name)
        sides.append(texts.cast(pyarrow.large_binary()).to_pylist())
    for source, target in zip(*sides, strict=True):
        yield Pair(decode(source or b""), decode(target or b""))

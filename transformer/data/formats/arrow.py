"""Reads pairs from Arrow tables, for Parquet files and Hugging Face datasets.

The texts of a language are a column named by its code, or a field named by its code in the column "translation".
"""

from collections.abc import Iterator

import pyarrow
from pyarrow import compute

from transformer.data.corpus import Pair
from transformer.data.formats.text import decode
from transformer.errors import DataError

ROWS = 4096  # read at a time


def find_columns(schema: pyarrow.Schema, source: str, target: str, where: str) -> list[str]:
    """Returns the paths of the texts of both languages: `en` or `translation.en`. Raises DataError."""
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
    """Yields the rows of a table. A missing text (null) is an empty one."""
    sides = []
    for column in columns:
        name, *inner = column.split(".")
        texts = compute.struct_field(table.column(name), inner) if inner else table.column(name)
        sides.append(texts.cast(pyarrow.large_binary()).to_pylist())
    for source, target in zip(*sides, strict=True):
        yield Pair(decode(source or b""), decode(target or b""))

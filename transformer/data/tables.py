"""Pairs from tables: Parquet files and Hugging Face datasets.

A language's texts are a column by its code, or a field by its code of the column "translation".
"""

import re
import sys
from collections.abc import Callable, Iterator

import pyarrow
from pyarrow import compute, parquet

from transformer.data.lines import one_line, open_bytes
from transformer.errors import DataError, UsageError

ROWS = 4096  # read at a time

Texts = Iterator[tuple[str, str]]

_SPEC = re.compile(r"hf:(?P<name>[^:]+)(:(?P<config>[^:\[\]]+))?:(?P<split>[^:\[\]]+(\[.*\])?)")


def open_parquet(path: str, source: str, target: str) -> Callable[[], Texts]:
    """What reads the file's pairs, a few thousand rows at a time. Raises DataError, as does the reading."""
    open_bytes(path).close()
    try:
        columns = _columns(parquet.read_schema(path), source, target, path)
    except (pyarrow.ArrowException, OSError) as problem:
        raise DataError(f"{path}: not a Parquet file: {one_line(str(problem))}") from None

    def read() -> Texts:
        try:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(ROWS, columns=columns):
                    yield from _pairs(pyarrow.Table.from_batches([batch]), columns)
        except (pyarrow.ArrowException, OSError) as problem:
            raise DataError(f"{path}: cannot be read to its end: {one_line(str(problem))}") from None

    return read


def open_dataset(spec: str, source: str, target: str) -> Callable[[], Texts]:
    """What reads the pairs of hf:NAME[:CONFIG]:SPLIT; NAME may be a folder. Raises DataError or UsageError."""
    match = _SPEC.fullmatch(spec)
    if not match:
        raise UsageError(f"{spec}: write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT, as in hf:wmt14:de-en:train")
    import datasets  # here, as importing it takes a second

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        dataset = datasets.load_dataset(match["name"], match["config"], split=match["split"])
    except Exception as problem:  # whatever a hub, a network or a loader raises: the dataset is not to be had
        raise DataError(f"{spec}: cannot be loaded: {one_line(str(problem))}") from None
    columns = _columns(dataset.features.arrow_schema, source, target, spec)
    table = dataset.select_columns(sorted({column.split(".")[0] for column in columns})).with_format("arrow")
    return lambda: (pair for rows in table.iter(ROWS) for pair in _pairs(rows, columns))


def _columns(schema: pyarrow.Schema, source: str, target: str, where: str) -> list[str]:
    """The paths of the two languages' texts: `en` or `translation.en`."""
    nested = "translation" in schema.names and pyarrow.types.is_struct(schema.field("translation").type)
    fields = schema.field("translation").type if nested else schema
    kinds = {column.name: column.type for column in fields}
    for language in (source, target):
        if language not in kinds:
            raise DataError(f"{where}: no column {language!r}; it has {', '.join(map(repr, kinds)) or 'none'}")
        if not (pyarrow.types.is_string(kinds[language]) or pyarrow.types.is_large_string(kinds[language])):
            raise DataError(f"{where}: the column {language!r} holds {kinds[language]}, not text")
    return [f"translation.{language}" if nested else language for language in (source, target)]


def _pairs(table: pyarrow.Table, columns: list[str]) -> Texts:
    """The rows of a table. A missing text is an empty one; what is not UTF-8 comes as lone surrogates."""
    sides = []
    for column in columns:
        name, *inner = column.split(".")
        texts = compute.struct_field(table.column(name), inner) if inner else table.column(name)
        sides.append(texts.cast(pyarrow.large_binary()).to_pylist())
    for source, target in zip(*sides, strict=True):
        yield (source or b"").decode("utf-8", "surrogateescape"), (target or b"").decode("utf-8", "surrogateescape")

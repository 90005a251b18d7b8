"""FILE.parquet: see arrow.py for the columns."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyarrow import parquet

from transformer.data.corpus import Corpus, Pair
from transformer.data.formats.arrow import ROWS, find_columns, read_pairs
from transformer.data.lines import open_bytes
from transformer.errors import DataError, one_line


def open_parquet(spec: str, source: str, target: str, split: str) -> Corpus:
    """Opens the file, which is read a few thousand rows at a time. Raises DataError."""
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

"""Reports streams that cannot be read to their end."""

import gzip
import zlib
from contextlib import suppress
from typing import BinaryIO

from transformer.errors import DataError, one_line

UNDAMAGED_BLOCK = 1 << 10  # bytes: the precision with which the damaged place is reported


def damaged(stream: BinaryIO, problem: Exception) -> DataError:
    """Returns the error for a stream that cannot be read to its end; for .gz, it states how many bytes can be read."""
    name = str(getattr(stream, "name", "input"))
    place = f", only its first {_undamaged_bytes(name):,} bytes, decompressed" if name.endswith(".gz") else ""
    return DataError(f"{name}: cannot be read to its end{place}: {one_line(str(problem))}")


def _undamaged_bytes(path: str) -> int:
    """Counts the bytes that can be decompressed from a damaged .gz file, up to the damaged place."""
    count = 0
    with suppress(OSError, EOFError, zlib.error), gzip.open(path, "rb") as stream:
        while block := stream.read1(UNDAMAGED_BLOCK):
            count += len(block)
    return count

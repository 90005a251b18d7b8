"""Reports streams that cannot be read to their end."""

from contextlib import suppress
from io import BufferedReader
from typing import BinaryIO, cast

from transformer.errors import DataError, one_line

UNDAMAGED_BLOCK = 1 << 10  # bytes: the precision with which the damaged place is reported


def damaged(stream: BinaryIO, problem: Exception) -> DataError:
    """Returns the error for a stream that cannot be read to its end.

    For a compressed file, it states how many bytes can be read.
    """
    name = str(getattr(stream, "name", "input"))
    from transformer.data.lines import compression  # imported here, because that module imports this one

    place = f", only its first {_undamaged_bytes(name):,} bytes, decompressed" if compression(name) else ""
    return DataError(f"{name}: cannot be read to its end{place}: {one_line(str(problem))}")


def _undamaged_bytes(path: str) -> int:
    """Counts the bytes that can be decompressed from a damaged file, up to the damaged place."""
    from transformer.data.lines import open_bytes

    count = 0
    with suppress(OSError), cast(BufferedReader, open_bytes(path)) as stream:
        while block := stream.read1(UNDAMAGED_BLOCK):
            count += len(block)
    return count

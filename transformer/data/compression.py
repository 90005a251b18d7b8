"""Streams of compressed files. The table COMPRESSIONS in lines.py lists the suffixes.

The standard library reads .gz, .bz2 and .xz, and from Python 3.14 on also .zst (Zstandard, RFC 8878); before that, the
package zstandard does.
"""

import importlib
import io
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from transformer.errors import UsageError

CHUNK = 1 << 9  # compressed bytes at a time: a block of 4 bytes can contain 128 KiB, so this many at most 16 MiB


def decompressed(stream: Any, name: str) -> BinaryIO:
    """Returns the stream with the name of its file. Any damage is an OSError, whatever the library raises."""
    return cast(BinaryIO, io.BufferedReader(_Decompressed(stream, name)))


def open_zst(path: str | Path, mode: str) -> BinaryIO:
    """Opens a file as a stream of the original bytes. Raises OSError; UsageError without the package."""
    start = _decompressor(path)
    return cast(BinaryIO, io.BufferedReader(_Frames(open(path, mode), start)))


def _decompressor(path: str | Path) -> Any:
    """Returns a function that makes the decompressor of a frame. Raises UsageError without the package."""
    with suppress(ImportError):
        return importlib.import_module("compression.zstd").ZstdDecompressor
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        raise UsageError(
            f"{path}: reading .zst needs the package zstandard; pip install 'transformer-translation[zst]', or:"
            " pip install zstandard"
        ) from None
    return lambda: zstandard.ZstdDecompressor().decompressobj()


class _Decompressed(io.RawIOBase):
    """See `decompressed`."""

    def __init__(self, stream: Any, name: str) -> None:
        self.name, self._stream = name, stream

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer)
        try:
            block = self._stream.read1(len(target))
        except (OSError, MemoryError):
            raise
        except Exception as problem:  # EOFError, and the error classes of zlib and lzma
            raise OSError(str(problem)) from problem
        target[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Frames(io.RawIOBase):
    """Reads the frames of a file, one after another. Raises EOFError if the file is cut off inside a frame.

    The reader of the package zstandard does not report a frame that is cut off.
    """

    def __init__(self, file: IO[bytes], start: Any) -> None:
        self._file, self._start = file, start
        self._frame = start()
        self._compressed, self._content = b"", memoryview(b"")
        self._is_inside = True  # a frame: an empty file is not one

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer)
        while not self._content:
            if not self._compressed:
                self._compressed = self._file.read(CHUNK)
            if not self._compressed:
                if self._is_inside:
                    raise EOFError("Compressed file ended before the end of a frame")
                return 0
            self._content = memoryview(self._decompress())
        count = min(len(target), len(self._content))
        target[:count] = self._content[:count]
        self._content = self._content[count:]
        return count

    def _decompress(self) -> bytes:
        """Decompresses the bytes that were read, up to the end of the frame, and keeps the others."""
        if self._frame.eof:
            self._frame = self._start()
        content = self._frame.decompress(self._compressed)
        self._is_inside = not self._frame.eof
        self._compressed = self._frame.unused_data if self._frame.eof else b""
        return content

    def close(self) -> None:
        self._file.close()
        super().close()

"""Bytes -> lines and back: the line contract.

A line is the bytes up to LF. A CR directly before the LF is removed, and no other character separates lines. A last
line without LF counts too. Output is valid UTF-8, and has one LF per line and no other character that some programs
treat as a line break.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from unicodedata import category

from transformer.config.tables import import_object
from transformer.data.checks.damage import damaged
from transformer.errors import DataError, one_line
from transformer.files.encoding import encoding_fault, without_mark

# The suffix of a compressed file -> a function of (path, mode) that opens it as a stream of the original bytes.
COMPRESSIONS = {
    ".gz": "gzip:open",
    ".bz2": "bz2:open",
    ".xz": "lzma:open",
    ".zst": "transformer.data.compression:open_zst",
}
DECOMPRESSED = "transformer.data.compression:decompressed"
BLOCK = 1 << 20  # bytes

_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")


def open_bytes(path: str | Path) -> BinaryIO:
    """Opens a file as a byte stream, decompressed if its name ends in one of COMPRESSIONS.

    Raises DataError if it cannot be opened, and UsageError if the package that decompresses it is not installed.
    """
    suffix = compression(path)
    try:
        if not suffix:
            return open(path, "rb")
        if os.path.isfile(path) and not os.path.getsize(path):
            raise DataError(f"{path}: is empty, so it is not a {suffix} file; compress the original file again")
        return import_object(DECOMPRESSED)(import_object(COMPRESSIONS[suffix])(path, "rb"), str(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory; name a file") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror}") from None


def compression(path: str | Path) -> str:
    """Returns the suffix of a compressed file, or "" for any other name."""
    return next((suffix for suffix in COMPRESSIONS if str(path).endswith(suffix)), "")


def read_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yields the stream in blocks of at most BLOCK bytes. Raises DataError if it is damaged or cannot be read."""
    try:
        while block := stream.read(BLOCK):
            yield block
    except OSError as problem:
        raise damaged(stream, problem) from None


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of the stream without their line ends, each as soon as it has arrived.

    Drops a byte order mark at the start. Raises DataError if the stream is UTF-16, is damaged or cannot be read.
    """
    try:
        for number, raw in enumerate(stream):
            yield without_end(raw if number else without_byte_order_mark(raw, stream))
    except OSError as problem:
        raise damaged(stream, problem) from None


def without_byte_order_mark(raw: bytes, stream: object) -> bytes:
    """Returns the first line of a stream without its byte order mark. Raises DataError for UTF-16 and UTF-32."""
    if fault := encoding_fault(str(getattr(stream, "name", "input")), raw):
        raise DataError(fault)
    return without_mark(raw)


def without_end(raw: bytes) -> bytes:
    """Removes LF, or CR and LF, from the end of a line."""
    return raw[:-2] if raw.endswith(b"\r\n") else raw.removesuffix(b"\n")


def decode_line(raw: bytes) -> str:
    """Decodes a line; invalid UTF-8 becomes U+FFFD."""
    return raw.decode("utf-8", "replace")


def without_controls(text: str) -> str:
    """Returns `one_line(text)` with each control character replaced by a space.

    It is applied to every text that a model reads or writes.
    """
    return text if text.isprintable() else _CONTROL.sub(" ", one_line(text))


def is_blank(text: str) -> bool:
    """Whether the text has nothing to translate: only white space, control or format characters, surrogates, U+FFFD."""
    return all(c.isspace() or c == "\ufffd" or category(c) in ("Cc", "Cf", "Cs") for c in text)

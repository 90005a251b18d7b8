"""Bytes to lines and back: the line contract.

A line is the bytes up to LF. One CR before the LF is dropped, nothing else separates lines, and a last line without LF
counts. What goes out has one LF a line, is valid UTF-8, and holds no character that any program takes for a line's end.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast
from unicodedata import category

from transformer.errors import DataError

BLOCK = 1 << 20  # bytes
SOUND_BLOCK = 1 << 10  # bytes: as fine as the place of a damage is told

_MARKS = {  # byte order marks; UTF-32 first, because the UTF-32-LE mark starts with the UTF-16-LE mark
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip
_BREAK = re.compile("[\n\r\0\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_CONTROL_BUT_TAB = re.compile("[\0-\x08\x0a-\x1f\x7f-\x9f]")


def open_bytes(path: str | Path) -> BinaryIO:
    """The file's bytes as a stream, unpacked if its name ends in .gz. Raises DataError."""
    try:
        if str(path).endswith(".gz"):
            return cast(BinaryIO, io.BufferedReader(gzip.open(path, "rb")))
        return open(path, "rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory; name a file") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror}") from None


def refuse_utf16(path: str | Path) -> None:
    """Raises DataError for a file that starts with a byte order mark of UTF-16 or UTF-32."""
    with open_bytes(path) as stream:
        try:
            start = stream.read(4)
        except (OSError, EOFError, zlib.error):  # damaged, which its readers report
            return
    packed = str(path).endswith(".gz")
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            raise DataError(
                f"{path}: is {encoding}, and must be UTF-8; convert it{' once it is decompressed' * packed}:"
                f" iconv -f {encoding} -t UTF-8"
            )


def read_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream in blocks of at most BLOCK bytes. Raises DataError where it is damaged or cannot be read."""
    try:
        while block := stream.read(BLOCK):
            yield block
    except (OSError, EOFError, zlib.error) as problem:
        raise _damaged(stream, problem) from None


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's lines without their ends, each as soon as it has arrived.

    Raises DataError where the stream is damaged or cannot be read.
    """
    try:
        for raw in stream:
            yield raw[:-2] if raw.endswith(b"\r\n") else raw.removesuffix(b"\n")
    except (OSError, EOFError, zlib.error) as problem:
        raise _damaged(stream, problem) from None


def read_bounded_lines(stream: BinaryIO, most: int) -> Iterator[bytes | None]:
    """As `read_lines`, but None for a line of more than `most` bytes, which is never in memory as a whole."""
    try:
        while raw := stream.readline(most + 2):  # CR and LF
            goes_on = len(raw) == most + 2 and not raw.endswith(b"\n")
            whole = raw.removesuffix(b"\n") if not raw.endswith(b"\r\n") else raw[:-2]
            yield None if goes_on or len(whole) > most else whole
            while goes_on and (raw := stream.readline(BLOCK)):
                goes_on = not raw.endswith(b"\n")
            if not raw.endswith(b"\n"):
                return  # a terminal whose user has ended the input would ask for more
    except (OSError, EOFError, zlib.error) as problem:
        raise _damaged(stream, problem) from None


def decode_line(raw: bytes) -> str:
    """The line's text; U+FFFD stands where its bytes are not UTF-8."""
    return raw.decode("utf-8", "replace")


def one_line(text: str) -> str:
    """The text as it may go out: each line-breaking character and NUL is a space, each lone surrogate is U+FFFD."""
    if text.isprintable():  # no character that is replaced here is printable, and most lines are
        return text
    return _SURROGATE.sub("\ufffd", _BREAK.sub(" ", text))


def plain(text: str) -> str:
    """The text as a model is given it, and as its translation goes out: `one_line` with no control character at all."""
    return text if text.isprintable() else _CONTROL.sub(" ", one_line(text))


def has_controls(text: str) -> bool:
    """Whether there are control characters in the text, tabs apart, which are common in honest texts."""
    return not text.isprintable() and _CONTROL_BUT_TAB.search(text) is not None


def is_blank(text: str) -> bool:
    """Whether the text says nothing: white space, characters of control and format, and what stands for bad bytes."""
    return all(sign.isspace() or sign == "\ufffd" or category(sign) in ("Cc", "Cf", "Cs") for sign in text)


def count_lines(path: str | Path) -> int:
    """Lines in the file, plain or .gz. Raises DataError."""
    count, last = 0, b"\n"
    with open_bytes(path) as stream:
        for block in read_blocks(stream):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _damaged(stream: BinaryIO, problem: Exception) -> DataError:
    name = str(getattr(stream, "name", "input"))
    place = f", only its first {_sound_bytes(name):,} bytes, unpacked" if name.endswith(".gz") else ""
    return DataError(f"{name}: cannot be read to its end{place}: {one_line(str(problem))}")


def _sound_bytes(path: str) -> int:
    """How many bytes a damaged .gz gives, unpacked, before its damage."""
    count = 0
    with suppress(OSError, EOFError, zlib.error), gzip.open(path, "rb") as stream:
        while block := stream.read1(SOUND_BLOCK):
            count += len(block)
    return count

"""The streams that come in: files, pipes and terminals as lines."""

import io
import json
import os
import select
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from transformer.data.lines import decode_line, has_controls, open_bytes, read_bounded_lines, read_lines
from transformer.errors import DataError

_ESCAPED_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}  # those that JSON leaves as they are


def read_text(path: str) -> list[str]:
    """The lines of a file (or of stdin, `-`) as text. Raises DataError."""
    with open_input(path) as stream:
        return [decode_line(raw) for raw in read_lines(stream)]


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """A file, or stdin for `-`: nothing where stdin is closed."""
    if path == "-":
        if sys.stdin is None:
            yield io.BytesIO()
            return
        with suppress(OSError):  # in memory
            os.set_blocking(sys.stdin.fileno(), True)  # or what has not come yet would be taken for the end
        yield sys.stdin.buffer
    else:
        if path.endswith(".gz") and os.path.isfile(path) and not os.path.getsize(path):
            raise DataError(f"{path}: is empty, which no packed file is; was it packed to its end?")
        with open_bytes(path) as stream:
            yield stream


def json_line(fields: dict[str, Any]) -> str:
    """An object as a line of JSON, readable but for characters that some programs take for a line's end."""
    return json.dumps(fields, ensure_ascii=False).translate(_ESCAPED_BREAKS) + "\n"


@dataclass
class Input:
    """The lines of a stream as text, and what was wrong with them."""

    stream: BinaryIO
    most_bytes: int = 1 << 20
    """of a line; one that has more is blank, or with `short_only` a DataError"""
    short_only: bool = False
    utf8_only: bool = False
    """a line that is not UTF-8 is a DataError; else U+FFFD stands where it is not"""
    count: int = 0
    """lines read"""
    too_long: set[int] = field(default_factory=set)
    """the numbers, from 0, of those with too many bytes in the window at hand"""
    not_utf8: int = 0
    with_controls: int = 0

    def windows(self, lines: int, characters: int, patience: float = 0.05) -> Iterator[list[str]]:
        """Up to `lines` lines at a time, none further after so many characters; fewer when they come from a pipe or a
        terminal on which no more come.

        `patience` is in seconds. So a file is worked through in large windows, and who types a line gets an answer.
        """
        arriving = _Arriving(self.stream) if _comes_bit_by_bit(self.stream) else None
        stream = cast(BinaryIO, arriving) or self.stream
        most = self.most_bytes + 2  # CR and LF
        window: list[str] = []
        held = 0
        for raw in read_bounded_lines(stream, self.most_bytes):
            window.append(self._text(raw))
            held += len(window[-1])
            if len(window) == lines or held >= characters or (arriving and not arriving.has_line(most, patience)):
                yield window
                window, held = [], 0
                self.too_long.clear()
        if window:
            yield window

    def _text(self, raw: bytes | None) -> str:
        self.count += 1
        if raw is None:
            if self.short_only:
                raise self._error(f"more than {self.most_bytes} bytes (--max-line-bytes); shorten it, or raise that")
            self.too_long.add(self.count - 1)
            return ""
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as problem:
            if self.utf8_only:
                place = f"byte {problem.start + 1} of the line, 0x{raw[problem.start]:02x},"
                raise self._error(f"{place} is not UTF-8; mend it, or take --on-bad-utf8 replace") from None
            self.not_utf8 += 1
            text = decode_line(raw)
        self.with_controls += has_controls(text)
        return text

    def _error(self, fault: str) -> DataError:
        return DataError(f"{getattr(self.stream, 'name', 'input')}: line {self.count}: {fault}")

    def faults(self) -> Iterator[str]:
        """A line about each kind of fault that the lines so far had."""
        if self.with_controls:
            yield f"{number_of_lines(self.with_controls)} contained control characters: spaces stand for them"
        if self.not_utf8:
            were = "was" if self.not_utf8 == 1 else "were"
            yield f"{number_of_lines(self.not_utf8)} {were} not valid UTF-8: U+FFFD stands for what was not"


def number_of_lines(count: int) -> str:
    return f"{count} line" if count == 1 else f"{count} lines"


def _comes_bit_by_bit(stream: BinaryIO) -> bool:
    """Whether it is a pipe or a terminal: a file has all its lines."""
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # in memory
        return False


class _Arriving:
    """A pipe or a terminal, of which can be asked whether a line has come."""

    def __init__(self, stream: BinaryIO) -> None:
        self.name = getattr(stream, "name", "input")
        self._stream = cast(io.BufferedReader, stream)
        self._held, self._searched, self._ended = bytearray(), 0, False

    def readline(self, most: int) -> bytes:
        """As a stream's: at most so many bytes."""
        while not self._has(most):
            self._read()
        end = self._held.find(b"\n", self._searched, most) + 1 or min(most, len(self._held))
        line = bytes(self._held[:end])
        del self._held[:end]
        self._searched = 0
        return line

    def has_line(self, most: int, patience: float) -> bool:
        """Whether `readline` need not wait, after so many seconds at most."""
        until = time.monotonic() + patience
        while not self._has(most):
            if not select.select([self._stream], [], [], max(0, until - time.monotonic()))[0]:
                return False
            try:
                self._read()
            except (OSError, EOFError, zlib.error):  # damaged, and `readline` will say so
                return True
        return True

    def _has(self, most: int) -> bool:
        if self._held.find(b"\n", self._searched) < 0:
            self._searched = len(self._held)
        return self._ended or self._searched < len(self._held) or len(self._held) >= most

    def _read(self) -> None:
        block = self._stream.read1(1 << 16)
        self._held += block
        self._ended = not block

"""Input streams: the lines of files, pipes and terminals."""

import io
import json
import os
import re
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, BinaryIO, Literal, cast

from pydantic import Field

from transformer.config.section import Section
from transformer.data.checks.damage import damaged
from transformer.data.lines import BLOCK, decode_line, open_bytes, read_lines, without_byte_order_mark, without_end
from transformer.errors import DataError

PATIENCE = 0.05  # seconds to wait for the next line of a pipe or a terminal, before the lines so far are translated

_CONTROL_BUT_TAB = re.compile("[\0-\x08\x0a-\x1f\x7f-\x9f]")  # tabs are common in real texts
_ESCAPED_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}  # json does not escape these


def read_text(path: str) -> list[str]:
    """Reads the lines of a file, or of stdin for `-`, as text. Raises DataError if the file cannot be read."""
    with open_input(path) as stream:
        return [decode_line(raw) for raw in read_lines(stream)]


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Opens a file, or stdin for `-`. A closed stdin is treated as an empty file.

    Raises DataError if the file cannot be opened, or if a .gz file is empty.
    """
    if path == "-":
        if sys.stdin is None:
            yield io.BytesIO()
            return
        with suppress(OSError, AttributeError):  # a stream in memory; Windows before Python 3.12
            os.set_blocking(sys.stdin.fileno(), True)  # otherwise the input seems to end when the writer pauses
        yield sys.stdin.buffer
    else:
        with open_bytes(path) as stream:
            yield stream


def json_line(fields: dict[str, Any]) -> str:
    """Returns an object as a line of JSON. Characters beyond ASCII are escaped only if some programs treat them as line
    breaks."""
    return json.dumps(fields, ensure_ascii=False).translate(_ESCAPED_BREAKS) + "\n"


class Faults(Section):
    """How translate treats faulty lines. These settings are not part of a config."""

    on_bad_utf8: Literal["replace", "fail"] = "replace"
    """replace invalid bytes by U+FFFD (replace), or stop there with exit code 3 (fail)"""
    max_line_bytes: Annotated[int, Field(ge=1, le=1 << 30)] = 1 << 20
    """a line with more bytes is not read: its translation is left blank, or with --long fail, the command fails"""


class InputFormat(Section):
    """Which part of a line translate translates. Not part of a config."""

    input_format: Literal["lines", "tsv"] = "lines"
    """the complete line (lines), or one of its cells between tabs (tsv)"""
    column: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    """the cell of --input-format tsv, from 1; a line that has fewer ends the command with exit code 3"""


def _cell(line: str, column: int) -> str | None:
    """Returns a cell of a line, or None if the line has fewer."""
    cells = line.split("\t", column)
    return cells[column - 1] if len(cells) >= column else None


# A value of InputFormat.input_format -> a function of (line, column) that returns the text to translate, or None.
_TEXTS: dict[str, Callable[[str, int], str | None]] = {"lines": lambda line, column: line, "tsv": _cell}


@dataclass
class Input:
    """Reads the lines of a stream as text, and counts the faulty ones."""

    stream: BinaryIO
    options: Faults = field(default_factory=Faults)
    fail_on_long: bool = False
    """whether a line of more than `options.max_line_bytes` raises DataError; otherwise, `lines` yields None for it"""
    format: InputFormat = field(default_factory=InputFormat)
    patience: float = PATIENCE
    count: int = 0
    """number of lines that were read"""
    not_utf8: int = 0
    with_controls: int = 0

    def __post_init__(self) -> None:
        self._arriving: _ArrivingStream | None = None
        with suppress(OSError):  # a stream in memory has no descriptor
            if not stat.S_ISREG(os.fstat(self.stream.fileno()).st_mode):  # a pipe or a terminal
                self._arriving = _ArrivingStream(self.stream)

    def lines(self) -> Iterator[str | None]:
        """Yields each line, or None for a line of more than `options.max_line_bytes`.

        Raises DataError if the stream is damaged, or if a line has a fault that is not accepted.
        """
        stream = cast(BinaryIO, self._arriving) or self.stream
        return map(self._text, read_bounded_lines(stream, self.options.max_line_bytes))

    def is_ready(self) -> bool:
        """Whether the next line, or the end of the input, has arrived. Waits for at most `patience` seconds."""
        max_bytes = self.options.max_line_bytes + 2  # for CR and LF
        return self._arriving is None or self._arriving.has_line(max_bytes, self.patience)

    def _text(self, raw: bytes | None) -> str | None:
        self.count += 1
        if raw is None:
            if self.fail_on_long:
                raise self._error(
                    f"more than {self.options.max_line_bytes} bytes (--max-line-bytes); shorten it, or raise the limit"
                )
            return None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as problem:
            if self.options.on_bad_utf8 == "fail":
                place = f"byte {problem.start + 1} of the line, 0x{raw[problem.start]:02x},"
                raise self._error(f"{place} is not UTF-8; fix it, or use --on-bad-utf8 replace") from None
            self.not_utf8 += 1
            text = decode_line(raw)
        cell = _TEXTS[self.format.input_format](text, self.format.column)
        if cell is None:
            raise self._error(f"has no column {self.format.column} (--column): {text[:40]!a}")
        text = cell
        self.with_controls += not text.isprintable() and _CONTROL_BUT_TAB.search(text) is not None
        return text

    def _error(self, fault: str) -> DataError:
        return DataError(f"{getattr(self.stream, 'name', 'input')}: line {self.count}: {fault}")

    def faults(self) -> Iterator[str]:
        """Yields a message about each kind of fault in the lines that were read so far."""
        if self.with_controls:
            yield f"{format_line_count(self.with_controls)} contained control characters, which became spaces"
        if self.not_utf8:
            were = "was" if self.not_utf8 == 1 else "were"
            yield f"{format_line_count(self.not_utf8)} {were} not valid UTF-8: invalid bytes became U+FFFD"


def read_bounded_lines(stream: BinaryIO, max_bytes: int) -> Iterator[bytes | None]:
    """Yields lines as `read_lines` does, but None for a line of more than `max_bytes`.

    Such a line is never completely in memory. Raises DataError if the stream is damaged or cannot be read.
    """
    is_first = True
    try:
        while raw := stream.readline(max_bytes + 2):  # for CR and LF
            is_cut = len(raw) == max_bytes + 2 and not raw.endswith(b"\n")
            line = without_end(without_byte_order_mark(raw, stream) if is_first else raw)
            is_first = False
            yield None if is_cut or len(line) > max_bytes else line
            while is_cut and (raw := stream.readline(BLOCK)):
                is_cut = not raw.endswith(b"\n")
            if not raw.endswith(b"\n"):
                return  # otherwise a terminal would ask for more input after its user has ended it
    except OSError as problem:
        raise damaged(stream, problem) from None


def format_line_count(count: int) -> str:
    return f"{count} line" if count == 1 else f"{count} lines"


class _ArrivingStream:
    """Reads lines from a pipe or a terminal, and can check whether the next line has arrived."""

    def __init__(self, stream: BinaryIO) -> None:
        self.name = getattr(stream, "name", "input")
        self._stream = cast(io.BufferedReader, stream)
        self._buffer, self._searched, self._ended = bytearray(), 0, False

    def readline(self, max_bytes: int) -> bytes:
        """Reads a line, but at most `max_bytes` bytes, as `readline` of a stream does."""
        while not self._has_line(max_bytes):
            self._read()
        end = self._buffer.find(b"\n", self._searched, max_bytes) + 1 or min(max_bytes, len(self._buffer))
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = 0
        return line

    def has_line(self, max_bytes: int, seconds: float) -> bool:
        """Waits for at most `seconds`, and returns whether `readline` would now return immediately."""
        until = time.monotonic() + seconds
        while not self._has_line(max_bytes):
            if not select.select([self._stream], [], [], max(0, until - time.monotonic()))[0]:
                return False
            try:
                self._read()
            except OSError:  # `readline` will raise the error
                return True
        return True

    def _has_line(self, max_bytes: int) -> bool:
        if self._buffer.find(b"\n", self._searched) < 0:
            self._searched = len(self._buffer)
        return self._ended or self._searched < len(self._buffer) or len(self._buffer) >= max_bytes

    def _read(self) -> None:
        block = self._stream.read1(1 << 16)
        self._buffer += block
        self._ended = not block

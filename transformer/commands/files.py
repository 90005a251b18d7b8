"""The streams of the commands: what comes in, and outputs of whole lines, in files that are whole or not there."""

import io
import json
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, cast

from transformer.data.lines import decode_line, has_controls, open_bytes, read_bounded_lines, read_lines
from transformer.errors import DataError, SystemProblem, UsageError, room_for

_ESCAPED_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}  # those that JSON leaves as they are


def read_text(path: str) -> list[str]:
    """The lines of a file (or of stdin, `-`) as text. Raises DataError."""
    with open_input(path) as stream:
        return [decode_line(raw) for raw in read_lines(stream)]


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """A file, or stdin for `-`: nothing where stdin is closed."""
    if path == "-":
        yield io.BytesIO() if sys.stdin is None else sys.stdin.buffer
    else:
        with open_bytes(path) as stream:
            yield stream


class Output:
    """A stream of whole lines: a signal to stop that comes while they are written is obeyed after them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writing, self._asked = False, 0

    def write(self, lines: bytes) -> None:
        """Raises SystemExit after them if a signal has asked to stop."""
        with self._undisturbed():
            self._stream.write(lines)

    def flush(self) -> None:
        with self._undisturbed():
            self._stream.flush()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        self._writing = True
        yield
        self._writing = False
        if self._asked:
            raise SystemExit(128 + self._asked)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """The handler of such a signal. The next one ends the process at once."""
        self._asked = number
        signal.signal(number, signal.SIG_DFL)
        if not self._writing:
            raise SystemExit(128 + number)

    @contextmanager
    def heeding_signals(self) -> Iterator["Output"]:
        """SIGTERM and Ctrl-C stop the work between two writes, with the exit codes 143 and 130."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        try:
            for number in heeded:
                signal.signal(number, self.stop)
            yield self
        finally:
            for number in heeded:
                signal.signal(number, before[number])


@contextmanager
def open_output(path: str) -> Iterator[Output]:
    """A file, or stdout for `-`. A file is put in its place when it is whole; after a failure nothing has changed."""
    if path == "-":
        if sys.stdout is None:
            raise SystemProblem("stdout is closed; give it a place, or name a file for the output")
        _leave_with_the_reader()
        with Output(sys.stdout.buffer).heeding_signals() as output:
            yield output
        return
    if Path(path).is_dir():
        raise UsageError(f"{path}: is a directory; name a file for the output")
    if Path(path).exists() and not Path(path).is_file():  # /dev/null, a named pipe: not to be replaced by a file
        with open(path, "wb") as stream, Output(stream).heeding_signals() as output:
            yield output
        return
    place = Path(os.path.realpath(path))  # a link stays one
    unfinished = Path(f"{place}.unfinished")
    try:
        unfinished.touch()
    except OSError as problem:
        raise SystemProblem(f"{path}: cannot be written: {problem.strerror}") from None
    try:
        with room_for(path), open(unfinished, "wb") as stream, Output(stream).heeding_signals() as output:
            yield output
            output.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, place)
    finally:
        unfinished.unlink(missing_ok=True)


def _leave_with_the_reader() -> None:
    """Ends the process when the reader of a pipe goes, and not only when the batch at hand is translated."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # in memory
        return
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    watch = select.poll()
    watch.register(descriptor, 0)  # for errors alone

    def wait() -> None:
        watch.poll()
        os._exit(141)

    threading.Thread(target=wait, daemon=True).start()


def refuse_overwriting(output: str, *inputs: str) -> None:
    """Raises UsageError where the output would be put in the place of what is read."""
    for path in inputs:
        if os.path.isfile(path) and os.path.exists(output) and os.path.samefile(path, output):
            raise UsageError(f"{output}: is the output and an input too; name another file for the output")


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
    """the numbers, from 0, of those with too many bytes"""
    not_utf8: int = 0
    with_controls: int = 0

    def windows(self, lines: int, characters: int, patience: float = 0.05) -> Iterator[list[str]]:
        """Up to `lines` lines at a time, none further after so many characters; fewer when they come from a pipe or a
        terminal on which no more come.

        `patience` is in seconds. So a file is worked through in large windows, and who types a line gets an answer.
        """
        window: list[str] = []
        held = 0
        for raw in read_bounded_lines(self.stream, self.most_bytes):
            window.append(self._text(raw))
            held += len(window[-1])
            if len(window) == lines or held >= characters or not _more_comes(self.stream, patience):
                yield window
                window, held = [], 0
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


def _more_comes(stream: BinaryIO, patience: float) -> bool:
    """Whether a line is there already, or something arrives within `patience`; always in a file."""
    try:
        descriptor = stream.fileno()
    except OSError:  # in memory
        return True
    if os.path.isfile(f"/dev/fd/{descriptor}"):
        return True
    return b"\n" in _read_ahead(stream) or bool(select.select([descriptor], [], [], patience)[0])


def _read_ahead(stream: BinaryIO) -> bytes:
    """What a buffered stream holds already, which select does not see."""
    os.set_blocking(stream.fileno(), False)  # or `peek` would wait until something comes
    try:
        return cast(BufferedReader, stream).peek()
    finally:
        os.set_blocking(stream.fileno(), True)

"""The streams of the commands: what comes in, and output files that are whole or not there."""

import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from transformer.data.lines import decode_line, open_bytes, read_lines
from transformer.errors import SystemProblem, UsageError

_ESCAPED_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}  # those that JSON leaves as they are


def read_text(path: str) -> list[str]:
    """The lines of a file (or of stdin, `-`) as text. Raises DataError."""
    if path == "-":
        return [decode_line(raw) for raw in read_lines(sys.stdin.buffer)]
    with open_bytes(path) as stream:
        return [decode_line(raw) for raw in read_lines(stream)]


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """A file, or stdin for `-`."""
    if path == "-":
        yield sys.stdin.buffer
    else:
        with open_bytes(path) as stream:
            yield stream


@contextmanager
def open_output(path: str) -> Iterator[BinaryIO]:
    """A file, or stdout for `-`. A file is put in its place when it is whole; after a failure nothing has changed."""
    if path == "-":
        yield sys.stdout.buffer
        return
    if Path(path).is_dir():
        raise UsageError(f"{path}: is a directory; name a file for the output")
    if Path(path).exists() and not Path(path).is_file():  # /dev/null, a named pipe: not to be replaced by a file
        with open(path, "wb") as stream:
            yield stream
        return
    place = Path(os.path.realpath(path))  # a link stays one
    unfinished = Path(f"{place}.unfinished")
    try:
        unfinished.touch()
    except OSError as problem:
        raise SystemProblem(f"{path}: cannot be written: {problem.strerror}") from None
    try:
        with open(unfinished, "wb") as stream:
            yield stream
        os.replace(unfinished, place)
    finally:
        unfinished.unlink(missing_ok=True)


def refuse_overwriting(output: str, *inputs: str) -> None:
    """Raises UsageError where the output would be put in the place of what is read."""
    for path in inputs:
        if os.path.isfile(path) and os.path.exists(output) and os.path.samefile(path, output):
            raise UsageError(f"{output}: is the output and an input too; name another file for the output")


def json_line(fields: dict[str, Any]) -> str:
    """An object as a line of JSON, readable but for characters that some programs take for a line's end."""
    return json.dumps(fields, ensure_ascii=False).translate(_ESCAPED_BREAKS) + "\n"


def windows(stream: BinaryIO, size: int, patience: float = 0.05) -> Iterator[list[str]]:
    """The stream's lines as text, `size` at a time; fewer when it is a pipe or a terminal on which no more come.

    `patience` is in seconds. So a file is worked through in large windows, and who types a line gets an answer.
    """
    window: list[str] = []
    for raw in read_lines(stream):
        window.append(decode_line(raw))
        if len(window) == size or not _more_comes(stream, patience):
            yield window
            window = []
    if window:
        yield window


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

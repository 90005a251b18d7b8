"""The streams of the commands: what comes in, and output files that are whole or not there."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from transformer.data.lines import decode_line, open_bytes, read_lines
from transformer.errors import SystemProblem, UsageError


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
    """A file, or stdout for `-`. A file is put in its place when all is written; after a failure it is not there."""
    if path == "-":
        yield sys.stdout.buffer
        return
    if Path(path).is_dir():
        raise UsageError(f"{path}: is a directory; name a file for the output")
    unfinished = Path(f"{path}.unfinished")
    try:
        stream = open(unfinished, "wb")
    except OSError as problem:
        raise SystemProblem(f"{path}: cannot be written: {problem.strerror}") from None
    try:
        with stream:
            yield stream
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


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
    # What a buffered stream has read ahead is not seen by select.
    return b"\n" in getattr(stream, "peek", lambda: b"\n")() or bool(select.select([descriptor], [], [], patience)[0])

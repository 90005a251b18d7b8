"""Text files of corpora: encodings, numbers of lines, excerpts for messages."""

from pathlib import Path

from transformer.data.lines import open_bytes, read_blocks
from transformer.errors import DataError
from transformer.files.encoding import START, encoding_fault

BLANK = "blank line"  # a reason to leave out a line


def decode(raw: bytes) -> str:
    """Decodes a line. Bytes that are not UTF-8 become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def excerpt(raw: bytes) -> str:
    """Returns the start of a line in ASCII, for a message of one line."""
    return ascii(raw[:40].decode("utf-8", "replace")) + ("..." if len(raw) > 40 else "")


def refuse_utf16(path: str | Path) -> None:
    """Raises DataError for a file that is UTF-16 or UTF-32; see `encoding_fault`."""
    with open_bytes(path) as stream:
        try:
            start = stream.read(START)
        except OSError:  # the file is damaged: the code that reads it reports the error
            return
    if fault := encoding_fault(path, start):
        raise DataError(fault)


def count_lines(path: str | Path) -> int:
    """Counts the lines in a file, compressed or not. Raises DataError if the file cannot be read to its end."""
    count, last = 0, b"\n"
    with open_bytes(path) as stream:
        for block in read_blocks(stream):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")

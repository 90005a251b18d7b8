"""Text files of corpora: encodings, numbers of lines, excerpts for messages."""

import codecs
from pathlib import Path

from transformer.data.lines import compression, open_bytes, read_blocks
from transformer.errors import DataError

BLANK = "blank line"  # a reason to leave out a line

_MARKS = {  # byte order marks; UTF-32 first, because the UTF-32-LE mark starts with the UTF-16-LE mark
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip


def decode(raw: bytes) -> str:
    """Decodes a line. Bytes that are not UTF-8 become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def excerpt(raw: bytes) -> str:
    """Returns the start of a line in ASCII, for a message of one line."""
    return ascii(raw[:40].decode("utf-8", "replace")) + ("..." if len(raw) > 40 else "")


def refuse_utf16(path: str | Path) -> None:
    """Raises DataError for a file that starts with a byte order mark of UTF-16 or UTF-32."""
    with open_bytes(path) as stream:
        try:
            start = stream.read(4)
        except OSError:  # the file is damaged: the code that reads it reports the error
            return
    after = " after decompressing it" if compression(path) else ""
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            raise DataError(
                f"{path}: is {encoding}, and must be UTF-8; convert it{after}: iconv -f {encoding} -t UTF-8"
            )


def count_lines(path: str | Path) -> int:
    """Counts the lines in a file, compressed or not. Raises DataError if the file cannot be read to its end."""
    count, last = 0, b"\n"
    with open_bytes(path) as stream:
        for block in read_blocks(stream):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")

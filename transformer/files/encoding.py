"""Text files are UTF-8. A byte order mark of UTF-8 is dropped, and other encodings are named."""

import codecs
from pathlib import Path

START = 1024  # bytes from which the encoding is seen

_MARKS = {  # UTF-32 first, because the UTF-32-LE mark starts with the UTF-16-LE mark
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip
_MIN_BYTES = 8  # without a mark: fewer bytes are not enough to see the encoding
_MANY, _FEW = 0.5, 0.1  # fractions of NUL


def without_mark(start: bytes) -> bytes:
    """Returns the start of a text without the byte order mark of UTF-8."""
    return start.removeprefix(codecs.BOM_UTF8)


def encoding_fault(path: str | Path, start: bytes) -> str:
    """Returns the message for a file that is UTF-16 or UTF-32, with the remedy, or "".

    `start` are its first bytes. Without a byte order mark, the encoding shows in the places of NUL, if half of the
    first characters are ASCII or Latin.
    """
    encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "") or _unmarked(start[:START])
    if not encoding:
        return ""
    return f"{path}: is {encoding}, and must be UTF-8; convert its text: iconv -f {encoding} -t UTF-8"


def _unmarked(start: bytes) -> str:
    if len(start) < _MIN_BYTES or b"\0" not in start:
        return ""
    one, two, three, four = (start[place::4].count(0) / len(start[place::4]) for place in range(4))
    if min(two, three, four) >= _MANY and one <= _FEW:
        return "UTF-32LE"
    if min(one, two, three) >= _MANY and four <= _FEW:
        return "UTF-32BE"
    even, odd = (one + three) / 2, (two + four) / 2
    if odd >= _MANY and even <= _FEW:
        return "UTF-16LE"
    return "UTF-16BE" if even >= _MANY and odd <= _FEW else ""

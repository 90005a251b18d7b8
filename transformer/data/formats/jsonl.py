"""FILE.jsonl, compressed or not: one JSON object per line, whose keys are the language codes.

These keys may also be in an object under the key "translation", as in the datasets of WMT. A config can choose others.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer.data.corpus import Columns, Corpus, FaultyPair, Pair
from transformer.data.formats.text import BLANK, decode, refuse_utf16
from transformer.data.lines import open_bytes, read_lines
from transformer.errors import DataError


class _Fault(Exception):
    """States why a line is left out."""


def open_jsonl(spec: str, columns: Columns, split: str) -> Corpus:
    """Opens the file. Raises DataError if it cannot be opened, is UTF-16, or no line has one of the keys."""
    refuse_utf16(spec)
    keys = columns.source, columns.target
    _check_keys(Path(spec), keys)
    return Corpus(spec, lambda: _read(Path(spec), keys), (Path(spec),), keys)


def _read(path: Path, keys: tuple[str, str]) -> Iterator[Pair]:
    for row in _rows(path):
        try:
            if isinstance(row, _Fault):
                raise row
            yield Pair(*(_text(row, key) for key in keys))
        except _Fault as fault:
            yield FaultyPair(str(fault))


def _rows(path: Path) -> Iterator[dict[str, Any] | _Fault]:
    """Yields the object of each line, or why there is none. Keys under "translation" replace those of the object."""
    with open_bytes(path) as stream:
        for number, raw in enumerate(read_lines(stream)):
            text = decode(raw)
            try:
                row = json.loads(text if number else text.removeprefix("\ufeff"))
            except (ValueError, RecursionError):
                yield _Fault("not valid JSON" if text.strip() else BLANK)
                continue
            inner = row.get("translation") if isinstance(row, dict) else None
            if isinstance(row, dict):
                yield {**row, **inner} if isinstance(inner, dict) else row
            else:
                yield _Fault("not a JSON object")


def _text(row: dict[str, Any], key: str) -> str:
    """Returns the text under a key; null is read as an empty text. Raises _Fault if there is no text."""
    if key not in row:
        raise _Fault(f"without the key {key!r}")
    text = row[key]
    if text is not None and not isinstance(text, str):
        raise _Fault(f"whose {key!r} is not a text")
    return text or ""


def _check_keys(path: Path, keys: tuple[str, str]) -> None:
    """Raises DataError if no object of the file has one of the keys. Reads up to the first lines that have them."""
    missing, first = set(keys), None
    for row in _rows(path):
        if not isinstance(row, _Fault):
            first = row if first is None else first
            missing -= row.keys()
            if not missing:
                return
    if first is not None:
        key = next(key for key in keys if key in missing)
        raise DataError(f"{path}: no line has the key {key!r}; the first has {', '.join(map(repr, first)) or 'none'}")

"""Pairs from text files, plain or .gz: two files line for line, tab-separated cells, or JSON lines.

Bytes that are not UTF-8 come as lone surrogates. Each reader raises DataError where a line gives no pair.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from transformer.data.lines import open_bytes, read_lines
from transformer.errors import DataError

Texts = Iterator[tuple[str, str]]


def read_two_files(source: Path, target: Path) -> Texts:
    """The lines of two files that have the same number of them."""
    with open_bytes(source) as sources, open_bytes(target) as targets:
        for left, right in zip(read_lines(sources), read_lines(targets), strict=True):
            yield _text(left), _text(right)


def read_tsv(path: Path) -> Texts:
    """The first two cells of each line."""
    with open_bytes(path) as stream:
        for number, raw in enumerate(read_lines(stream), 1):
            cells = _text(raw).split("\t", 2)
            if len(cells) < 2:
                raise DataError(f"{path}, line {number}: no tab between source and target: {_shown(raw)}")
            yield cells[0], cells[1]


def read_jsonl(path: Path, source: str, target: str) -> Texts:
    """The texts under two keys, of the object itself or of its "translation"; a missing text (null) is an empty one."""
    with open_bytes(path) as stream:
        for number, raw in enumerate(read_lines(stream), 1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(_text(raw))
            except (ValueError, RecursionError) as problem:
                raise DataError(f"{where}: not valid JSON ({problem}): {_shown(raw)}") from None
            texts = row.get("translation", row) if isinstance(row, dict) else row
            if not isinstance(texts, dict):
                raise DataError(f"{where}: needs an object with the keys {source!r} and {target!r}: {_shown(raw)}")
            yield _value(texts, source, where), _value(texts, target, where)


def _value(texts: dict[str, object], language: str, where: str) -> str:
    if language not in texts:
        raise DataError(f"{where}: no key {language!r}; it has {', '.join(map(repr, texts)) or 'no keys'}")
    text = texts[language]
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: {language!r} is {_shown(json.dumps(text).encode())}, not a text")
    return text or ""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _shown(raw: bytes) -> str:
    """The start of a line, fit for a message of one line."""
    return ascii(raw[:40].decode("utf-8", "replace")) + ("..." if len(raw) > 40 else "")

"""FILE.jsonl, plain or .gz: one JSON object per line, whose keys are the language codes.

These keys may also be in an object under the key "translation", as in the datasets of WMT.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from transformer.data.corpus import Corpus, Pair
from transformer.data.formats.text import decode, excerpt, refuse_utf16
from transformer.data.lines import open_bytes, read_lines
from transformer.errors import DataError


def open_jsonl(spec: str, source: str, target: str, split: str) -> Corpus:
    """Opens the file. Raises DataError if it cannot be opened or is UTF-16."""
    refuse_utf16(spec)
    return Corpus(spec, partial(_read, Path(spec), source, target), (Path(spec),), (source, target))


def _read(path: Path, source: str, target: str) -> Iterator[Pair]:
    with open_bytes(path) as stream:
        for number, raw in enumerate(read_lines(stream), 1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(decode(raw))
            except (ValueError, RecursionError) as problem:
                raise DataError(f"{where}: not valid JSON ({problem}): {excerpt(raw)}") from None
            texts = row.get("translation", row) if isinstance(row, dict) else row
            if not isinstance(texts, dict):
                raise DataError(f"{where}: needs an object with the keys {source!r} and {target!r}: {excerpt(raw)}")
            yield Pair(_value(texts, source, where), _value(texts, target, where))


def _value(texts: dict[str, object], language: str, where: str) -> str:
    """Returns the text of a language; null is read as an empty text. Raises DataError if there is no text."""
    if language not in texts:
        raise DataError(f"{where}: no key {language!r}; it has {', '.join(map(repr, texts)) or 'no keys'}")
    text = texts[language]
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: {language!r} is {excerpt(json.dumps(text).encode())}, not a text")
    return text or ""

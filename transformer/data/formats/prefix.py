"""PREFIX: two text files that are parallel line by line, PREFIX.en and PREFIX.de, compressed or not."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from transformer.data.corpus import Columns, Corpus, Pair
from transformer.data.formats.text import count_lines, decode, refuse_utf16
from transformer.data.lines import COMPRESSIONS, open_bytes, read_lines
from transformer.errors import DataError


def open_prefix(spec: str, columns: Columns, split: str) -> Corpus:
    """Opens PREFIX.source and PREFIX.target. Raises DataError if one is missing; see also `open_pairs`."""
    return replace(open_pairs(_file(spec, columns.source), _file(spec, columns.target)), name=spec)


def open_pairs(source: str | Path, target: str | Path) -> Corpus:
    """Opens two files. Raises DataError if one cannot be read or is UTF-16, or if their numbers of lines differ."""
    files = (Path(source), Path(target))
    for path in files:
        refuse_utf16(path)
    lines = [count_lines(path) for path in files]
    check_line_counts(source, lines[0], target, lines[1])
    return Corpus(f"{source} and {target}", lambda: _read(*files), files)


def check_line_counts(one: str | Path, count: int, other: str | Path, other_count: int) -> None:
    """Raises DataError unless two inputs have the same number of lines."""
    if count != other_count:
        raise DataError(f"{one} has {count} lines, {other} has {other_count}: the numbers must be equal")


def _read(source: Path, target: Path) -> Iterator[Pair]:
    with open_bytes(source) as sources, open_bytes(target) as targets:
        for left, right in zip(read_lines(sources), read_lines(targets), strict=True):
            yield Pair(decode(left), decode(right))


def _file(prefix: str, language: str) -> Path:
    plain = Path(f"{prefix}.{language}")
    for path in (plain, *(Path(f"{plain}{suffix}") for suffix in COMPRESSIONS)):
        if os.path.exists(path):  # Path.exists raises an error in a folder that may not be entered
            return path
    if os.path.isdir(prefix):
        raise DataError(f"{prefix}: is a directory; give the common start of its two files, as in {prefix}/train")
    if os.path.isfile(prefix):
        raise DataError(
            f"{prefix}: is one file; give the common start of two files (PREFIX), or a .tsv, .jsonl or .parquet"
        )
    compressed = " or ".join(f"{plain.name}{suffix}" for suffix in COMPRESSIONS)
    raise DataError(f"{plain}: no such file, and no {compressed}; the corpus {prefix} needs one file per language")

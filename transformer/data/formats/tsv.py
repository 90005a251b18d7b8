"""FILE.tsv, plain or .gz: source and target in the first two cells of each line, separated by a tab."""

from collections.abc import Iterator
from pathlib import Path

from transformer.data.corpus import Corpus, Pair
from transformer.data.formats.text import decode, excerpt, refuse_utf16
from transformer.data.lines import open_bytes, read_lines
from transformer.errors import DataError


def open_tsv(spec: str, source: str, target: str, split: str) -> Corpus:
    """Opens the file; the language codes are ignored. Raises DataError if it cannot be opened or is UTF-16."""
    refuse_utf16(spec)
    return Corpus(spec, lambda: _read(Path(spec)), (Path(spec),))


def _read(path: Path) -> Iterator[Pair]:
    with open_bytes(path) as stream:
        for number, raw in enumerate(read_lines(stream), 1):
            cells = decode(raw).split("\t", 2)
            if len(cells) < 2:
                raise DataError(f"{path}, line {number}: no tab between source and target: {excerpt(raw)}")
            yield Pair(cells[0], cells[1])

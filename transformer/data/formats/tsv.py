"""FILE.tsv: cells between tabs, one pair per line. Nothing is quoted, and a cell may contain quotation marks.

The columns of source and target are those that the config chooses, or those that the first line names by the language
codes. Without a choice and without such a header, the file has two columns, source first.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from transformer.data.corpus import Columns, Corpus, FaultyPair, Pair
from transformer.data.formats.text import BLANK, decode, excerpt, refuse_utf16
from transformer.data.lines import open_bytes, read_lines
from transformer.errors import DataError

CELLS_SHOWN = 6  # in a message
LINES_TRIED = 100  # the first lines, of which most have the number of columns that is expected of all

_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")  # a language code with its script or region, as in en-us

log = logging.getLogger(__name__)


class _Layout(NamedTuple):
    """Where the texts of a line are."""

    source: int  # index of the cell, from 0
    target: int
    cells: int  # number of cells of a line
    header: int = 0  # number of lines before the first pair


def open_tsv(spec: str, columns: Columns, split: str) -> Corpus:
    """Opens the file. Raises DataError if it cannot be opened, is UTF-16, or does not show which columns to read."""
    refuse_utf16(spec)
    path = Path(spec)
    with open_bytes(path) as stream:
        rows = [_cells(raw) for raw in islice(read_lines(stream), LINES_TRIED)]
    layout = _find_layout(spec, rows, columns)
    if layout.header:
        places = layout.source + 1, layout.target + 1
        log.info(
            "%s: line 1 is a header (%s): source in column %d, target in column %d", spec, _shown(rows[0]), *places
        )
    # Without a header, the first two columns in order are what versions without a choice of columns read.
    is_plain = layout[:2] == (0, 1) and not layout.header
    chosen = () if is_plain else (str(layout.source + 1), str(layout.target + 1), *["header"][: layout.header])
    return Corpus(spec, lambda: _read(path, layout), (path,), chosen, layout.header)


def _read(path: Path, layout: _Layout) -> Iterator[Pair]:
    with open_bytes(path) as stream:
        for raw in islice(read_lines(stream), layout.header, None):
            cells = _cells(raw)
            if len(cells) == layout.cells:
                yield Pair(cells[layout.source], cells[layout.target])
            elif not raw.strip():
                yield FaultyPair(BLANK)
            elif len(cells) == 1:
                yield FaultyPair("without a tab")
            else:
                kind = "fewer" if len(cells) < layout.cells else "more"
                yield FaultyPair(f"with {kind} than {layout.cells} cells")


def _cells(raw: bytes) -> list[str]:
    return decode(raw).split("\t")


def _find_layout(path: str, rows: Sequence[list[str]], columns: Columns) -> _Layout:
    """Returns the layout of a file that starts with these rows. Raises DataError if it is not clear."""
    if not rows:
        return _Layout(0, 1, 2)
    counts = Counter(len(row) for row in rows if len(row) > 1)
    cells = max(counts, key=lambda count: (counts[count], -count), default=2)
    typical = next((row for row in rows if len(row) == cells), rows[0])
    if places := _named_places(path, rows[0], columns):
        return _Layout(*places, len(rows[0]), 1)
    if columns.chosen:
        is_header = None not in _places(path, rows[0], columns.codes)
        return _Layout(*_numbered_places(path, typical, columns), cells, int(is_header))
    if cells > 2:
        raise DataError(
            f"{path}: has {cells} columns ({_shown(typical)}), and its first line does not name {columns.source!r} and"
            f" {columns.target!r}; choose two: {{path = {path!r}, source = NUMBER, target = NUMBER}}"
        )
    return _Layout(0, 1, 2)


def _named_places(path: str, header: Sequence[str], columns: Columns) -> tuple[int, int] | None:
    """Returns the indices of source and target if the line is a header that names them, or else None."""
    source, target = _places(path, header, (columns.source, columns.target))
    if not columns.chosen and len(header) == 2:  # the other column is that of the other language
        source = 1 - target if source is None and target is not None else source
        target = 1 - source if target is None and source is not None else target
    return None if source is None or target is None or source == target else (source, target)


def _places(path: str, header: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """Returns the index of each name in the header, or None. Upper and lower case are the same.

    A cell such as `en-US` or `en_us` also stands for the code `en`, if no other cell does. Raises DataError if a name
    occurs several times.
    """
    cells = [_plain(cell) for cell in header]
    places: list[int | None] = []
    for name in map(_plain, names):
        found = [place for place, cell in enumerate(cells) if cell == name]
        if len(found) > 1:
            raise DataError(f"{path}: its first line names {name!r} {len(found)} times; choose columns by other names")
        tags = [place for place, cell in enumerate(cells) if _language(cell) == _language(name) != ""]
        places.append(found[0] if found else tags[0] if len(tags) == 1 else None)
    return places


def _plain(cell: str) -> str:
    """Returns the cell of a header in lower case, without quotation marks, and with `-` as in language codes."""
    return cell.strip('\ufeff" \r').casefold().replace("_", "-")


def _language(cell: str) -> str:
    """Returns the language in a code such as `en-us`, or "" if the cell is not a code."""
    return cell.partition("-")[0] if _TAG.fullmatch(cell) else ""


def _numbered_places(path: str, row: Sequence[str], columns: Columns) -> tuple[int, int]:
    """Returns the indices of columns that are chosen by number. Raises DataError if a column does not exist."""
    names = (columns.source, columns.target)
    if not all(name.isascii() and name.isdigit() for name in names):
        raise DataError(
            f"{path}: its first line ({_shown(row)}) does not name the columns {names[0]!r} and {names[1]!r}; choose"
            " two names of a header, or the numbers of both columns, from 1"
        )
    source, target = (int(name) - 1 for name in names)
    for place in (source, target):
        if not 0 <= place < len(row):
            raise DataError(f"{path}: no column {place + 1}; it has {len(row)} ({_shown(row)}), numbered from 1")
    if source == target:
        raise DataError(f"{path}: source and target are both column {source + 1}; choose two")
    return source, target


def _shown(row: Sequence[str]) -> str:
    """Returns the first cells of a line, for a message."""
    cells = [excerpt(cell.encode("utf-8", "surrogateescape")) for cell in row[:CELLS_SHOWN]]
    return ", ".join([*cells, *["..."] * (len(row) > CELLS_SHOWN)])

"""translate --input-format tsv: one column of a table is translated, line by line."""

from pathlib import Path

import pytest

from transformer.cli.input import Input, InputFormat
from transformer.translation.windows import LINES
from translating import SENTENCES, Command, joined

TSV = ("--input-format", "tsv", "--column")
ROWS = [f"{number}\t{text}\tпо-русски {number}" for number, text in enumerate(SENTENCES)]


@pytest.mark.parametrize("column", [1, 2, 3])
def test_a_column_gives_the_translations_of_its_cells(translate: Command, tmp_path: Path, column: int) -> None:
    cells = [row.split("\t")[column - 1].encode() for row in ROWS]
    table = "\r\n".join(ROWS).encode()
    (tmp_path / "in").write_bytes(table)
    expected = translate(joined(cells), "--format", "jsonl")
    assert translate(table, *TSV, column, "--format", "jsonl") == expected
    assert translate(b"", "-i", tmp_path / "in", *TSV, column, "--format", "jsonl") == expected


def test_lines_are_the_default_and_column_one_that_of_tsv(translate: Command) -> None:
    row = b"A dog.\tEin Hund.\n"
    assert translate(row) == translate(row, "--input-format", "lines")
    assert translate(row, "--input-format", "tsv") == translate(b"A dog.\n") != translate(row)


def test_blank_cells_and_lines_keep_their_place(translate: Command) -> None:
    assert translate(b"x\t\n\t\nx\t \n", *TSV, 2).out == b"\n\n\n"
    assert translate(b"\n", *TSV, 1).out == b"\n"


@pytest.mark.fault("X31")
@pytest.mark.parametrize("bad", [b"only one", b"", "одна ячейка".encode()])
def test_a_line_without_the_column_is_found_before_any_is_translated(
    translate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes
) -> None:
    from transformer.translation.translator import Translator

    monkeypatch.setattr(Translator, "load", None)
    (tmp_path / "in").write_bytes(b"a\tb\n" * (LINES + 5) + bad + b"\na\tb\n")
    result = translate(b"", "-i", tmp_path / "in", "-o", tmp_path / "out", *TSV, 2)
    assert (result.code, result.out) == (3, b"")
    assert f"in: line {LINES + 6}: " in result.err and "--column" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("X31")
def test_in_a_stream_the_lines_before_it_are_written(translate: Command) -> None:
    lines = joined([row.encode() for row in ROWS])
    result = translate(lines + b"no tab\n" + lines, *TSV, 2)
    assert result.code == 3
    assert result.out == translate(lines, *TSV, 2).out
    assert f"line {len(ROWS) + 1}: " in result.err


@pytest.mark.fault("X31")
@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--column", "2"], "--input-format"),
        (["--column", "2", "--input-format", "lines"], "--input-format"),
        (["--column", "0", "--input-format", "tsv"], "column = '0'"),
        (["--column", "x", "--input-format", "tsv"], "column = 'x'"),
        (["--input-format", "csv"], "input_format = 'csv'"),
    ],
)
def test_wrong_flags_are_refused(translate: Command, words: list[str], key: str) -> None:
    result = translate(b"a\tb\n", *words)
    assert (result.code, result.out) == (2, b"")
    assert key in result.err


def test_a_line_of_the_longest_length_counts_all_its_cells() -> None:
    import io

    from transformer.cli.input import Faults

    lines = Input(io.BytesIO(b"ab\tcd\nabc\tcd\n"), Faults(max_line_bytes=5), format=InputFormat(input_format="tsv"))
    assert list(lines.lines()) == ["ab", None]

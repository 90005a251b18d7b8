"""Columns of corpora: a choice, a header or the language codes say which texts are read; otherwise they are refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from preparing import fails
from transformer.cli.main import run
from transformer.config import Config, CorpusTable
from transformer.config.loading import load
from transformer.data.checks.cleaning import CleaningReport, clean_lines
from transformer.data.corpus import Corpus, Pair, open_corpus
from transformer.data.prepare import Corpora
from transformer.errors import DataError, UsageError
from transformer.run.resume import check_corpora, load_config
from transformer.run.run_dir import CorpusRecord, DataRecord, to_toml

ROWS = [("0.91", "Пес біжить.", "Pes běží."), ("0.7", "Кіт спить.", "Kočka spí."), ("1", "Дощ.", "Prší.")]
PAIRS = [Pair(uk, cs) for _, uk, cs in ROWS]
SWAPPED = [Pair(cs, uk) for uk, cs in PAIRS]


def write(folder: Path, rows: Sequence[Sequence[str]], name: str = "pairs.tsv") -> str:
    (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf8")
    return str(folder / name)


def opened(path: str, codes: tuple[str, str] = ("uk", "cs"), **columns: str | int) -> Corpus:
    return open_corpus(CorpusTable(path=path, **columns) if columns else path, *codes, "train")


HEADERS = [
    ["score", "uk", "cs"],
    ["id", "UK", "CS"],
    ["\ufeffid", "uk ", '"cs"'],
    ["x", "uk-UA", "cs_CZ"],
    ["", "uk_Cyrl", "cs"],
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("codes", [("uk", "cs"), ("cs", "uk"), ("uk-UA", "cs"), ("CS", "UK")])
def test_a_header_chooses_the_columns(tmp_path: Path, header: list[str], codes: tuple[str, str]) -> None:
    corpus = opened(write(tmp_path, [header, *ROWS]), codes)
    assert list(corpus) == list(corpus) == (PAIRS if codes[0].lower().startswith("uk") else SWAPPED)


@pytest.mark.parametrize("header", [["cs", "uk"], ["CS", "text"], ["Czech", "uk"]])
def test_a_header_of_two_columns_needs_one_code(tmp_path: Path, header: list[str]) -> None:
    path = write(tmp_path, [header, *SWAPPED])
    assert list(opened(path)) == PAIRS
    assert list(opened(path, ("cs", "uk"))) == SWAPPED


def test_two_columns_without_a_header_are_source_and_target(tmp_path: Path) -> None:
    path = write(tmp_path, PAIRS)
    assert list(opened(path)) == list(opened(path, ("cs", "uk"))) == PAIRS
    assert opened(path).columns == ()  # its identity is that of versions that could not choose


@pytest.mark.parametrize("columns", [{"source": 2, "target": 3}, {"source": "2", "target": "3"}])
def test_columns_are_chosen_by_number(tmp_path: Path, columns: dict[str, str | int]) -> None:
    assert list(opened(write(tmp_path, ROWS), **columns)) == PAIRS
    assert list(opened(write(tmp_path, ROWS), source=3, target=2)) == SWAPPED
    assert list(opened(write(tmp_path, [HEADERS[0], *ROWS]), **columns)) == PAIRS  # a header is not a pair
    first_two = opened(write(tmp_path, ROWS), source=1, target=2)
    assert [pair.source for pair in first_two] == [row[0] for row in ROWS]


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, [["n", "orig", "Český překlad"], *ROWS])
    assert list(opened(path, source="orig", target="český překlad")) == PAIRS
    other = write(tmp_path, [["n", "text", "cs"], *ROWS], "other.tsv")
    assert list(opened(other, source="text")) == PAIRS  # the other side by its code


@pytest.mark.parametrize(
    ("rows", "columns", "parts"),
    [
        (ROWS, {}, ["3 columns", "'0.91'", "'uk'", "'cs'", "source = "]),
        ([["score", "ua", "cz"], *ROWS], {}, ["3 columns", "'ua'", "'cz'"]),
        ([["score", "uk", "cz"], *ROWS], {}, ["3 columns", "'cs'"]),  # which of the others is it?
        ([["cs", "uk", "cs"], *ROWS], {}, ["'cs'", "2 times"]),
        (ROWS, {"source": "orig", "target": "cs"}, ["'orig'", "'0.91'"]),
        (ROWS, {"source": 2}, ["'2'", "'cs'", "numbers of both"]),
        (ROWS, {"source": 2, "target": 4}, ["column 4", "3"]),
        (ROWS, {"source": 0 + 2, "target": "02"}, ["both column 2"]),
    ],
)
def test_columns_that_are_not_clear_are_refused(
    tmp_path: Path, rows: Sequence[Sequence[str]], columns: dict[str, str | int], parts: list[str]
) -> None:
    path = write(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        opened(path, **columns)
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in (path, *parts))


@pytest.mark.fault("T29")
def test_one_odd_line_does_not_decide_how_many_columns_there_are(tmp_path: Path) -> None:
    report = CleaningReport()
    corpus = opened(write(tmp_path, [["a", "b", "c"], *PAIRS, ["alone"], [], *PAIRS]))
    assert [pair for _, pair in clean_lines(corpus, report)] == [*PAIRS, *PAIRS]
    assert dict(report.lines) == {"with more than 2 cells": [1], "without a tab": [5], "blank line": [6]}


@pytest.mark.fault("T29")
def test_lines_after_a_header_keep_their_numbers_in_the_file(tmp_path: Path) -> None:
    report = CleaningReport()
    corpus = opened(write(tmp_path, [HEADERS[0], ROWS[0], ["0.3", "кінець"], ["0.3", "", "x"], ROWS[1]]))
    assert [line for line, _ in clean_lines(corpus, report)] == [2, 5]
    assert (report.read, dict(report.lines)) == (4, {"with fewer than 3 cells": [3], "empty source": [4]})


def test_the_identity_follows_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    identities = {opened(path, source=a, target=b).identity for a, b in [(1, 2), (2, 1), (2, 3), (3, 2), (1, 3)]}
    assert len(identities) == 5
    plain, headed = (opened(write(tmp_path, rows)) for rows in (PAIRS, [["uk", "cs"], *PAIRS]))
    assert plain.columns != headed.columns  # versions before took the header for a pair


def test_keys_and_columns_of_tables_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    rows = [{"n": 1, "text.uk": uk, "cz": cs} for uk, cs in PAIRS]
    (tmp_path / "set" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    for spec in (f"{tmp_path}/set/a.jsonl", f"{tmp_path}/a.parquet", f"hf:{tmp_path}/set:train"):
        assert list(opened(spec, source="text.uk", target="cz")) == PAIRS
        assert list(opened(spec, source="cz", target="text.uk")) == SWAPPED
        assert list(opened(spec, ("cz", "uk"), target="text.uk")) == SWAPPED
        with pytest.raises(DataError, match=r"'orig'.*'n', 'text.uk', 'cz'"):
            opened(spec, source="orig", target="cz")


def test_nested_and_flat_columns_are_both_known(tmp_path: Path) -> None:
    rows = [{"src": uk, "translation": {"cs": cs, "en": "x"}} for uk, cs in PAIRS]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert list(opened(str(tmp_path / name), source="src")) == PAIRS


@pytest.mark.fault("T29")
@pytest.mark.parametrize("bad", ["", "{", '{"fr": "x"}'])
def test_if_every_line_lacks_a_key_the_keys_are_named(tmp_path: Path, bad: str) -> None:
    (tmp_path / "a.jsonl").write_text(f"{bad}\n" + '{"fi": "x", "sv": "y"}\n' * 200)
    with pytest.raises(DataError, match=r"a\.jsonl: no line has the key 'uk'"):
        opened(str(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match="'fr'" if "fr" in bad else "'fi', 'sv'"):
        opened(str(tmp_path / "a.jsonl"), ("fi", "uk"))
    assert len(list(opened(str(tmp_path / "a.jsonl"), ("sv", "fi")))) == 201


def test_a_prefix_can_have_other_suffixes(tmp_path: Path) -> None:
    for suffix, side in zip(("src", "tgt"), zip(*PAIRS, strict=True), strict=True):
        (tmp_path / f"a.{suffix}").write_text("\n".join(side), encoding="utf8")
    assert list(opened(str(tmp_path / "a"), source="src", target="tgt")) == PAIRS


def test_the_same_column_for_both_sides_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a\.tsv: source and target are both the column 'cs'"):
        opened("a.tsv", source="cs")


# In a config and as flags

CONFIG = """
run_dir = "{run}"
[data]
source = "uk"
target = "cs"
train = ["a", {table}]
valid = ["b"]
"""


def config_of(folder: Path, table: str) -> Config:
    (folder / "run.toml").write_text(CONFIG.format(run=folder / "run", table=table), encoding="utf8")
    return load(folder / "run.toml")


def test_a_table_is_recorded_and_read_back(tmp_path: Path) -> None:
    config = config_of(tmp_path, r'{path = "b\"ü.tsv", source = 3, target = "c d"}')
    assert config.data.train == ("a", CorpusTable(path='b"ü.tsv', source="3", target="c d"))
    (tmp_path / "again.toml").write_text(to_toml(config), encoding="utf8")
    assert load(tmp_path / "again.toml") == config
    assert config_of(tmp_path, '{path = "b.tsv"}').data.train == ("a", "b.tsv")
    assert 'train = ["a", "b.tsv"]\n' in to_toml(config_of(tmp_path, '"b.tsv"'))  # as before there were tables


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ('{path = "b", souce = "x"}', ["data.train.souce", "did you mean data.train.source?"]),
        ('{source = "x"}', ["data.train.path", "missing"]),
        ('{path = "b", source = 0}', ["data.train.source", "0"]),
        ('{path = "b", source = -3}', ["data.train.source", "-3"]),
        ('{path = "b", source = true}', ["data.train.source", "True"]),
        ('{path = "b", source = 1.5}', ["data.train.source", "1.5"]),
        ('{path = "b", source = "x", target = "x"}', ["data.train", "'x'"]),
        (r'{path = "b\u0000", source = "x"}', ["data.train", "NUL"]),
        ("7", ["data.train", "7"]),
    ],
)
def test_a_table_at_fault_is_refused_with_its_key(tmp_path: Path, table: str, parts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        config_of(tmp_path, table)
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in ("run.toml", *parts))


def test_a_table_names_the_best_corpus_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(CONFIG.format(run=tmp_path / "run", table='"c"'), encoding="utf8")
    table = {"path": "d.tsv", "source": "x"}

    def best(*valid: object) -> Config:
        return load_config(tmp_path / "run.toml", {"data.valid": list(valid), "train.best_corpus": "d.tsv"})

    assert best("b", table).train.best_corpus == "d.tsv"
    with pytest.raises(UsageError, match=r"train\.best_corpus: 'd\.tsv'"):
        best("b", table, {"path": "d.tsv", "source": "y"})


def test_flags_and_commands_take_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, ROWS)
    table = f"{{path = '{path}', source = 2, target = 3}}"
    assert run("corpus", [table, f"{tmp_path}/out", "--source", "uk", "--target", "cs"]) == 0
    assert (tmp_path / "out.cs").read_text(encoding="utf8") == "".join(f"{cs}\n" for _, cs in PAIRS)
    assert run("corpus", [path, f"{tmp_path}/no", "--source", "uk", "--target", "cs"]) == 3
    for wrong in ("{path = }", "{source = 2}", '{path = "x", sauce = 2}'):
        assert run("corpus", [wrong, f"{tmp_path}/no", "--source", "uk", "--target", "cs"]) == 2
    assert not list(tmp_path.glob("no.*"))
    assert "column 5" in fails(capsys, tmp_path, 3, f"{{path = '{path}', source = 5, target = 3}}")


def test_a_run_is_not_resumed_with_other_columns(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    config = config_of(tmp_path, f"{{path = '{path}', source = 2, target = 3}}")
    before, now, renamed = (opened(write(tmp_path, ROWS, name), source=a, target=b) for name, a, b in
                            (("pairs.tsv", 2, 3), ("pairs.tsv", 3, 2), ("other.tsv", 2, 3)))  # fmt: skip
    record = DataRecord([CorpusRecord(path, before.identity)], [], [])
    check_corpora(config, record, Corpora([renamed], []), allow_changes=False)
    with pytest.raises(UsageError, match=r"columns of .*pairs\.tsv"):
        check_corpora(config, record, Corpora([now], []), allow_changes=True)

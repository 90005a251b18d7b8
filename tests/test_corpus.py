"""Parallel corpora: every form gives the same pairs, again and again, and what does not fit is refused or counted."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from transformer.data.checks.cleaning import MAX_TEXT_BYTES, CleaningReport, CorpusSummary, clean, clean_lines
from transformer.data.corpus import Corpus, Pair, open_corpora, open_corpus
from transformer.errors import DataError, ResourceError, UsageError

PAIRS = [
    Pair("A dog runs.", "Ein Hund läuft."),
    Pair("one\u2028line", "eine\x85Zeile"),
    Pair("", "leer"),
    Pair("😀", "x"),
]


def opened(spec: object) -> Corpus:
    return open_corpus(str(spec), "en", "de", "train")


def write_prefix(folder: Path, *packed: str, end: str = "\n", last: str = "\n") -> Path:
    for language, texts in zip(("en", "de"), zip(*PAIRS, strict=True), strict=True):
        content = (end.join(texts) + last).encode()
        name = folder / f"train.{language}"
        if language in packed:
            name.with_name(name.name + ".gz").write_bytes(gzip.compress(content))
        else:
            name.write_bytes(content)
    return folder / "train"


def write_text(folder: Path, name: str, line: Callable[[Pair], str]) -> Path:
    content = "".join(line(pair) + "\n" for pair in PAIRS).encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder / name


def write_table(folder: Path, nested: bool, kind: str = "string") -> Path:
    sides = [pyarrow.array(texts, kind) for texts in zip(*PAIRS, strict=True)]
    columns = {"id": pyarrow.array(range(len(PAIRS)))}
    if nested:
        columns["translation"] = pyarrow.StructArray.from_arrays(sides[::-1], ["de", "en"])
    else:
        columns |= {"en": sides[0], "de": sides[1]}
    parquet.write_table(pyarrow.table(columns), folder / "pairs.parquet", row_group_size=2)
    return folder / "pairs.parquet"


def nested_json(pair: Pair) -> str:
    return json.dumps({"translation": {"de": pair.target, "en": pair.source}})


def flat_json(pair: Pair) -> str:
    return json.dumps({"id": 1, "en": pair.source, "de": pair.target})


FORMS: dict[str, Callable[[Path], Path]] = {
    "prefix": write_prefix,
    "crlf": lambda folder: write_prefix(folder, end="\r\n", last="\r\n"),
    "no last end": lambda folder: write_prefix(folder, last=""),
    "both packed": lambda folder: write_prefix(folder, "en", "de"),
    "one packed": lambda folder: write_prefix(folder, "de"),
    "tsv": lambda folder: write_text(folder, "pairs.tsv", "\t".join),
    "tsv.gz": lambda folder: write_text(folder, "pairs.tsv.gz", "\t".join),
    "jsonl, nested": lambda folder: write_text(folder, "pairs.jsonl", nested_json),
    "jsonl.gz, flat": lambda folder: write_text(folder, "pairs.jsonl.gz", flat_json),
    "parquet, nested": lambda folder: write_table(folder, nested=True),
    "parquet, flat": lambda folder: write_table(folder, nested=False),
    "parquet, large": lambda folder: write_table(folder, nested=False, kind="large_string"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pairs_again_and_again(tmp_path: Path, form: str) -> None:
    spec = FORMS[form](tmp_path)
    corpus = opened(spec)
    assert corpus.name == str(spec)
    assert list(corpus) == list(corpus) == PAIRS
    assert list(open_corpus(str(spec), "de", "en", "train")) == (
        PAIRS if spec.suffix in (".tsv", ".gz") and "tsv" in spec.name else [Pair(*pair[::-1]) for pair in PAIRS]
    )


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_datasets_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, nested: bool) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "pairs"
    folder.mkdir()
    if form == "parquet":
        write_table(folder, nested)
    else:
        write_text(folder, "pairs.jsonl", nested_json if nested else flat_json)
    corpus = opened(f"hf:{folder}:train")
    assert list(corpus) == list(corpus) == PAIRS
    assert list(opened(f"hf:{folder}:default:train[1:3]")) == PAIRS[1:3]
    assert corpus.digest == opened(f"hf:{folder}:default:train").digest
    assert corpus.digest != opened(f"hf:{folder}:train[1:3]").digest
    with pytest.raises(DataError, match=r"no column 'fr'"):
        open_corpus(f"hf:{folder}:train", "fr", "de", "train")


def test_a_dataset_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        opened(f"hf:{tmp_path / 'none'}:train")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UsageError, match="hf:NAME:SPLIT"):
        opened("hf:only-a-name")


DAMAGED = {
    "train.parquet": (b"not parquet", "Parquet magic bytes not found"),
    "train.jsonl": (b'{"en": "x", "de": "y"}\n{"en": 3', "Unexpected character found"),
    "train.csv": (b'en,de\n"a,b\nc', "EOF inside string"),
    "train.csv.gz": (gzip.compress(b"en,de\na,b\n")[:20], "ended before the end-of-stream marker"),
    "train.arrow": (b"not arrow, but long enough", "Not an Arrow file"),
    "train.zip": (b"PK\3\4junk", "File is not a zip file"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_of_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The error is the reader's own reason, also if `datasets` has wrapped it."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "pairs").mkdir()
    content, reason = DAMAGED[name]
    (tmp_path / "pairs" / name).write_bytes(content)
    with pytest.raises(DataError, match=f"^hf:{tmp_path}/pairs:train: cannot be loaded: .*{reason}"):
        opened(f"hf:{tmp_path}/pairs:train")


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (OSError(28, "No space left on device"), ResourceError),
        (MemoryError("no"), MemoryError),
        (ValueError("a\nb"), DataError),
    ],
)
def test_a_dataset_that_does_not_fit(monkeypatch: pytest.MonkeyPatch, cause: Exception, expected: type) -> None:
    """A full disk or memory is not a fault of the data."""
    import datasets

    def fails(*arguments: object, **options: object) -> None:
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from cause

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(expected) as caught:
        opened("hf:name:train")
    assert expected is not DataError or str(caught.value) == "hf:name:train: cannot be loaded: a b"


@pytest.mark.parametrize("difference", [-3, -2, -1, 1, 2, 3])
@pytest.mark.parametrize("last", ["", "\n"])
def test_sides_of_different_length_are_refused_at_once(tmp_path: Path, difference: int, last: str) -> None:
    for language, count in (("en", 1000), ("de", 1000 + difference)):
        (tmp_path / f"train.{language}").write_text("\n".join(["a\u2028b"] * count) + last, encoding="utf8")
    with pytest.raises(DataError) as caught:
        opened(tmp_path / "train")
    assert f"train.en has 1000 lines, {tmp_path}/train.de has {1000 + difference}:" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.en: no such file, and no train\.en\.gz"):
        opened(tmp_path / "train")
    prefix = write_prefix(tmp_path)
    (tmp_path / "train.de").unlink()
    with pytest.raises(DataError, match=r"train\.de: no such file"):
        opened(prefix)
    with pytest.raises(DataError, match="is a directory"):
        opened(tmp_path)
    with pytest.raises(DataError, match="is one file"):
        opened(tmp_path / "train.en")
    for name in ("a.tsv", "a.tsv.gz", "a.jsonl", "a.parquet"):
        with pytest.raises(DataError, match=rf"{name}: no such file"):
            opened(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("a.tsv", "no tab", "without a tab"),
        ("a.tsv", "", "blank line"),
        ("a.tsv", " \r", "blank line"),
        ("a.tsv", "a\tb\tc", "with more than 2 cells"),
        ("a.jsonl", '{"en": "x"', "not valid JSON"),
        ("a.jsonl", "[" * 100_000, "not valid JSON"),
        ("a.jsonl", "", "blank line"),
        ("a.jsonl", "7", "not a JSON object"),
        ("a.jsonl", '["x", "y"]', "not a JSON object"),
        ("a.jsonl", '{"translation": "x"}', "without the key 'en'"),
        ("a.jsonl", '{"en": "x", "fr": "y"}', "without the key 'de'"),
        ("a.jsonl", '{"translation": {"en": "x"}}', "without the key 'de'"),
        ("a.jsonl", '{"en": "x", "de": 7}', "whose 'de' is not a text"),
    ],
)
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_line_that_is_no_pair_is_left_out_and_counted(
    tmp_path: Path, name: str, line: str, found: str, place: int
) -> None:
    good = "a\tb" if name.endswith("tsv") else '{"en": "a", "de": "b"}'
    lines = [good, good]
    lines.insert(place - 1, line)
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf8", newline="")
    report = CleaningReport()
    assert list(clean_lines(opened(tmp_path / name), report)) == [
        (number, Pair("a", "b")) for number in (1, 2, 3) if number != place
    ]
    assert (report.read, dict(report.lines)) == (3, {found: [place]})


def test_bad_tables_are_refused_when_opened(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"no\.parquet: not a Parquet file"):
        opened(tmp_path / "no.parquet")
    path = write_table(tmp_path, nested=False)
    with pytest.raises(DataError, match=r"no column 'fr'; it has 'id', 'en', 'de'"):
        open_corpus(str(path), "en", "fr", "train")
    with pytest.raises(DataError, match=r"the column 'id' contains int64, not text"):
        open_corpus(str(path), "en", "id", "train")


def test_a_digest_follows_the_content_alone(tmp_path: Path) -> None:
    prefix = write_prefix(tmp_path)
    digest = opened(prefix).digest
    (tmp_path / "other").mkdir()
    assert opened(write_prefix(tmp_path / "other")).digest == digest
    content = (tmp_path / "train.de").read_bytes()
    (tmp_path / "train.de").write_bytes(content[:-2] + b"y\n")
    assert opened(prefix).digest != digest
    swapped = open_corpus(str(tmp_path / "other" / "train"), "de", "en", "train")
    assert swapped.digest != digest


def test_the_builtin_corpus() -> None:
    assert len(list(opened("builtin:clauses:valid"))) == 500
    train = list(opened("builtin:clauses:train:50"))
    assert list(open_corpus("builtin:clauses:train:50", "de", "en", "valid")) == [Pair(*pair[::-1]) for pair in train]
    assert opened("builtin:clauses:test:5").digest == opened("builtin:clauses:test:5").digest
    default = open_corpora(["builtin:clauses", "builtin:clauses:test"], "en", "de", "test")
    assert list(default[0]) == list(default[1]) != list(opened("builtin:clauses:valid"))


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("builtin:verses", r"builtin:clauses\[:SPLIT\[:COUNT\]\]"),
        ("builtin:clauses:dev", "no split 'dev'; there are train, valid, test"),
        ("builtin:clauses:train:0", "'0' is not a number"),
        ("builtin:clauses:train:many", "'many' is not a number"),
    ],
)
def test_an_unknown_builtin_corpus_is_refused(spec: str, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        opened(spec)


def test_the_builtin_corpus_has_two_languages() -> None:
    with pytest.raises(UsageError, match="between en and de, not from en to fr"):
        open_corpus("builtin:clauses", "en", "fr", "train")


@pytest.mark.parametrize("form", ["prefix", "tsv", "jsonl", "parquet"])
def test_pairs_that_are_not_utf8_are_left_out_and_counted(tmp_path: Path, form: str) -> None:
    lines = {"prefix": b"bad \xff", "tsv": b"bad \xff\tx", "jsonl": b'{"en": "bad \xff", "de": "x"}', "parquet": b""}
    good = {
        "prefix": b"\xef\xbf\xbd",
        "tsv": b"\xef\xbf\xbd\tx",
        "jsonl": b'{"en": "\xef\xbf\xbd", "de": "x"}',
        "parquet": b"",
    }
    path = tmp_path / ("a.en" if form == "prefix" else f"a.{form}")
    if form == "parquet":
        texts = pyarrow.array([b"bad \xff", "\ufffd".encode()]).view(pyarrow.string())
        parquet.write_table(pyarrow.table({"en": texts, "de": pyarrow.array(["x", "x"])}), path)
    else:
        path.write_bytes(lines[form] + b"\n" + good[form] + b"\n")
    (tmp_path / "a.de").write_text("x\nx\n")
    report = CleaningReport()
    corpus = opened(tmp_path / "a" if form == "prefix" else path)
    assert list(clean(corpus, report)) == [Pair("\ufffd", "x")]  # a replacement character that the corpus has is text
    assert report.summary() == "kept 1 of 2 pairs; left out: 1 invalid UTF-8 (line 1)"


def test_missing_texts_of_tables_are_empty(tmp_path: Path) -> None:
    rows = [{"translation": {"en": None, "de": "x"}}, {"translation": {"en": "y", "de": None}}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist([*rows, {"translation": None}]), tmp_path / "a.parquet")
    assert list(opened(tmp_path / "a.jsonl")) == [Pair("", "x"), Pair("y", "")]
    assert list(opened(tmp_path / "a.parquet")) == [Pair("", "x"), Pair("y", ""), Pair("", "")]


def test_clean_strips_and_counts_by_reason() -> None:
    pairs = [Pair(" a\tb\u3000", "c"), Pair("\xa0", "x"), Pair("x", " "), Pair("\ud800", "")]
    report = CleaningReport()
    assert list(clean(pairs, report)) == [Pair("a\tb", "c")]
    assert report.left_out == {"empty source": 1, "empty target": 1, "invalid UTF-8": 1}
    assert dict(report.lines) == {"empty source": [2], "empty target": [3], "invalid UTF-8": [4]}
    assert (report.read, report.kept) == (4, 1)


WHITE = "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
CONTROLS = [chr(code) for code in (*range(1, 32), *range(127, 160)) if chr(code) not in WHITE]


@pytest.mark.parametrize("mark", WHITE, ids=ascii)
def test_tabs_and_line_breaks_within_a_text_are_white_space(mark: str) -> None:
    pairs = [Pair(f"{mark}a{mark}b", f"c{mark}{mark}"), Pair(mark, "x"), Pair("x", mark)]
    report = CleaningReport()
    assert list(clean(pairs, report)) == [Pair(f"a{mark}b", "c")]
    assert report.left_out == {"empty source": 1, "empty target": 1}


def test_texts_with_control_characters_are_left_out_and_counted() -> None:
    assert len(CONTROLS) == 65 - 1 - 9  # of C0, DEL and C1: but NUL, and those of WHITE
    pairs = [pair for mark in ["\0", *CONTROLS] for pair in (Pair(f"a{mark}", "b"), Pair("a", "b"), Pair("a", mark))]
    report = CleaningReport()
    assert set(clean(pairs, report)) == {Pair("a", "b")}
    assert report.left_out == {"with NUL": 2, "with control characters": 2 * len(CONTROLS)}
    assert report.lines == {"with NUL": [1, 3], "with control characters": [4, 6, 7, 9, 10]}


@pytest.mark.parametrize("sign", ["a", "ä", "語", "😀"])
def test_texts_of_more_than_a_million_bytes_are_left_out_and_counted(sign: str) -> None:
    most = sign * (MAX_TEXT_BYTES // len(sign.encode()))
    report = CleaningReport()
    assert list(clean([Pair(most, most), Pair(most + sign, "x"), Pair("x", most + sign)], report)) == [Pair(most, most)]
    assert report.summary().endswith("left out: 2 longer than 1,000,000 bytes (lines 2, 3)")


def test_lines_are_numbered_as_in_the_corpus() -> None:
    pairs = [Pair("", "x"), Pair("a", "b"), Pair("\0", "x"), Pair(" c", "d")]
    assert list(clean_lines(pairs, CleaningReport())) == [(2, Pair("a", "b")), (4, Pair("c", "d"))]


@pytest.mark.parametrize(("read", "kept", "limit"), [(100, 71, 0.29), (100, 70, 0.3), (100, 93, 0.07), (3, 3, 0)])
def test_as_many_may_be_left_out_as_the_setting_says(read: int, kept: int, limit: float) -> None:
    CorpusSummary("toy", read, kept, "kept some").check(limit)
    if kept < read:
        with pytest.raises(
            DataError, match=r"^toy: kept some; the fraction [\d.]+ is left out, more than data\.max_left_out = [\d.]+;"
        ):
            CorpusSummary("toy", read, kept - 1, "kept some").check(limit)
    with pytest.raises(DataError, match=r"^toy: no pair of sentences can be used; kept none$"):
        CorpusSummary("toy", read, 0, "kept none").check(1)


def test_a_summary_says_how_many_why_and_where() -> None:
    report = CleaningReport(read=29_000)
    assert report.summary() == "kept 29,000 of 29,000 pairs"
    for line in range(1, 8):
        report.leave_out("empty source", line)
    report.leave_out("longer than 128 tokens", 9)
    report.leave_out("empty target", 17)
    assert report.summary() == (
        "kept 28,991 of 29,000 pairs; left out: 7 empty source (lines 1, 2, 3, 4, 5, ...),"
        " 1 longer than 128 tokens (line 9), 1 empty target (line 17)"
    )


def test_a_corpus_is_read_as_a_stream(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\n" * 3 + "no tab\n")
    pairs = iter(opened(tmp_path / "a.tsv"))
    assert [next(pairs) for _ in range(3)] == [Pair("a", "b")] * 3

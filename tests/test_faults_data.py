"""Faults of a corpus, each by the id it has in the catalogue: what a user sees, through the doors that users take."""

import errno
import gzip
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from preparing import PAIRS, Lines, fails, prepared, sides, write
from transformer.config import Data
from transformer.data import lines
from transformer.data.checks import survey
from transformer.data.corpus import open_corpus
from transformer.errors import DataError

pytestmark = pytest.mark.mixed_dtypes

SEPARATORS = {
    "U+2028": "\u2028", "U+2029": "\u2029", "U+0085": "\x85", "VT": "\v", "FF": "\f", "FS": "\x1c", "GS": "\x1d",
    "RS": "\x1e", "CR": "\r",
}  # fmt: skip


@pytest.fixture(autouse=True)
def messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "transformer")


# T12: corrupt lines


@pytest.mark.fault("T12")
def test_corrupt_lines_are_left_out_with_their_numbers_by_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = sides()
    source[4], target[6] = b"bad \xff", b"\xc3"
    source[10], target[12] = b"NUL \0", b"bell \a"
    source[20], target[21] = b"a" * 1_000_001, b" \t "
    source[30], target[31] = b"", "honest\u2028white\x85space\tof all\vkinds\f".encode()
    target[40] = b"long. " * 200
    target[50] = b"long. " * 4
    source[50] = b"o"
    found = prepared(tmp_path, write(tmp_path / "train", source, target), max_ratio=6)
    assert len(found.train) == 191
    (told,) = (text for text in caplog.messages if text.startswith("training corpus"))
    assert told.startswith(f"training corpus {tmp_path / 'train'}: kept 191 of 200 pairs; left out: 2 invalid UTF-8")
    for reason in (
        "2 invalid UTF-8 (lines 5, 7)", "1 with NUL (line 11)", "1 with control characters (line 13)",
        "1 longer than 1,000,000 bytes (line 21)", "1 empty target (line 22)", "1 empty source (line 31)",
        "1 longer than 128 tokens (line 41)", "1 one side over 6 times as long as the other (line 51)",
    ):  # fmt: skip
        assert reason in told


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.fault("T12")
def test_a_corpus_that_loses_more_than_the_setting_allows_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    source, target = sides()
    source[:15], target[15:21] = [b""] * 15, [b"\0"] * 6
    name = write(tmp_path / "rotten", source, target)
    other = "builtin:clauses:train:100"
    words = (name, "--data.valid", other) if split == "train" else (other, "--data.valid", name)
    assert fails(capsys, tmp_path, 3, *words) == (
        f"error: {name}: kept 179 of 200 pairs; left out: 15 empty source (lines 1, 2, 3, 4, 5, ...), 6 with NUL"
        " (lines 16, 17, 18, 19, 20, ...); the fraction 0.105 is left out, more than data.max_left_out = 0.1;"
        " fix the corpus, or raise the setting\n"
    )
    assert len(prepared(tmp_path, name, max_left_out=0.105).train) == 179


@pytest.mark.fault("T12")
def test_what_only_the_tokens_tell_counts_too(tmp_path: Path) -> None:
    source, target = sides()
    source[:15], target[15:21] = [b""] * 15, [b"long. " * 200] * 6
    name = write(tmp_path / "rotten", source, target)
    with pytest.raises(DataError, match=r"15 empty source .* 6 longer than 128 tokens \(lines 16, .*max_left_out"):
        prepared(tmp_path, name)


# T25: lines that are no pairs


def rows(form: str, bad: list[bytes], count: int = 90) -> bytes:
    pairs = list(zip(*sides(count), strict=True))
    good = {"tsv": b"%b\t%b", "jsonl": b'{"en": "%b", "de": "%b"}'}[form]
    return b"".join(line + b"\n" for line in [*(good % pair for pair in pairs), *bad])


BAD = {
    "tsv": ([b"no tab", b"", b"a\tb\tc"], ["without a tab (line 91)", "blank line (line 92)", "2 cells (line 93)"]),
    "jsonl": (
        [b'{"en": "x', b'{"en": "x"}', b"null", b""],
        ["JSON (line 91)", "key 'de' (line 92)", "object (line 93)", "blank line (line 94)"],
    ),
}


@pytest.mark.parametrize("form", BAD)
@pytest.mark.fault("T29")
def test_lines_that_are_no_pairs_are_left_out_up_to_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, form: str
) -> None:
    bad, reasons = BAD[form]
    path = tmp_path / f"train.{form}"
    path.write_bytes(rows(form, bad))
    assert len(prepared(tmp_path, str(path)).train) == 90
    (summary,) = (text for text in caplog.messages if text.startswith("training corpus"))
    assert all(reason in summary for reason in (f"kept 90 of {90 + len(bad)}", *reasons))
    path.write_bytes(rows(form, bad * 5))
    (other := tmp_path / "other").mkdir()
    error = fails(capsys, other, 3, str(path))
    assert "data.max_left_out" in error and reasons[0].split(" (")[0] in error


# T13: line counts


@pytest.mark.parametrize("last", [b"", b"\n"], ids=["no last LF", "last LF"])
@pytest.mark.parametrize("difference", [-3, -2, -1, 1, 2, 3])
@pytest.mark.parametrize("side", ["en", "de"])
@pytest.mark.fault("T13")
def test_counts_that_differ_are_named_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], side: str, difference: int, last: bytes
) -> None:
    counts = {"en": 100, "de": 100, side: 100 + difference}
    prefix = write(tmp_path / "train", [b"a"] * counts["en"], [b"b"] * counts["de"], last)
    told = f"{prefix}.en has {counts['en']} lines, {prefix}.de has {counts['de']}: "
    assert told in fails(capsys, tmp_path, 3, prefix)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]


@pytest.mark.parametrize("name", [*SEPARATORS, "CRLF", "no last LF"])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.fault("T13")
def test_what_is_no_line_end_does_not_change_the_count(tmp_path: Path, side: int, name: str) -> None:
    texts = sides(50)
    if name == "CRLF":
        texts[side][:] = [line + b"\r" for line in texts[side]]
    elif name in SEPARATORS:
        mark = SEPARATORS[name].encode()
        texts[side][:] = [line.replace(b" ", mark) for line in texts[side]]
        texts[side][7] = mark + texts[side][7] + mark
    prefix = write(tmp_path / "train", *texts)
    if name == "no last LF":
        path = Path(f"{prefix}.{('en', 'de')[side]}")
        path.write_bytes(path.read_bytes()[:-1])
    corpus = open_corpus(prefix, "en", "de", "train")
    assert [pair[1 - side].encode() for pair in corpus] == texts[1 - side]
    if name in ("CRLF", "no last LF"):
        assert [pair[side].encode() for pair in corpus] == sides(50)[side]


# T14: shifted sides


def shifted(folder: Path) -> str:
    source, target = sides(1000)
    del target[300]
    target.insert(600, b"Eine Zeile zu viel.")
    return write(folder / "shifted", source, target)


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.fault("T14")
def test_shifted_sides_are_told_each_time_and_looked_for_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    name = shifted(tmp_path)
    for time in range(2):
        caplog.clear()
        if time:
            monkeypatch.delattr(survey, "find_shifts")
        prepared(tmp_path, **{"train": "builtin:clauses:train:100"} | {split: name})
        (told,) = (text for text in caplog.messages if text.startswith("warning: ") and "look shifted" in text)
        place = r"lines (\d+)-(\d+) look shifted by -1 \(agreement 0\.\d\d, 0\.\d\d when shifted\)"
        found = re.fullmatch(rf"warning: {re.escape(name)}: {place}; see whether a line .* missing on one side", told)
        assert found
        assert abs(int(found[1]) - 301) <= 40 and abs(int(found[2]) - 600) <= 40


@pytest.mark.fault("T14")
def test_strict_refuses_shifted_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    valid = ("--data.valid", "builtin:clauses:valid:20")
    told = fails(capsys, tmp_path, 3, shifted(tmp_path), *valid, "--data.strict", "true")
    assert "shifted.en" not in told and "shifted: lines 301-600 look shifted by -1" in told
    assert told.endswith("or set data.strict = false\n")


@pytest.mark.fault("T14")
def test_an_aligned_corpus_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepared(tmp_path, write(tmp_path / "train", *sides(1000)), strict=True)
    assert not [text for text in caplog.messages if "shifted" in text]


# T15: nothing there


EMPTY: dict[str, tuple[tuple[Lines, Lines], str]] = {
    "no lines": (([], []), "kept 0 of 0 pairs"),
    "blank lines": (
        ([b" ", b"", b"a"], [b"b", b"", b"\t"]),
        "kept 0 of 3 pairs; left out: 2 empty source (lines 1, 2)",
    ),
    "no text": (([b"\xff"] * 9, [b"a"] * 9), "kept 0 of 9 pairs; left out: 9 invalid UTF-8 (lines 1, 2, 3, 4, 5, ...)"),
}


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.fault("T15")
def test_a_corpus_with_nothing_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, split: str) -> None:
    texts, reason = EMPTY[kind]
    name = write(tmp_path / "empty", *texts, last=b"\n" if texts[0] else b"")
    other = "builtin:clauses:train:100"
    words = (name, "--data.valid", other) if split == "train" else (other, "--data.valid", name)
    told = fails(capsys, tmp_path, 3, *words)
    assert told.startswith(f"error: {name}: no pair of sentences can be used; {reason}")


@pytest.mark.fault("T15")
def test_the_same_pair_over_and_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One pair is a corpus, and so are two pairs, however often each of them stands there."""
    name = write(tmp_path / "same", [b"a"] * 9 + [b""], [b"b"] * 10)
    told = fails(capsys, tmp_path, 3, name)
    assert (
        f"{name}: kept 1 of 10 pairs; left out: 8 the same pair again, 1 empty source (line 10); the fraction 0.9 is"
        " left out" in told
    )
    for sources in ([b"a"], [b"a"] * 5 + [b"c"] * 5):
        other = open_corpus(write(tmp_path / "other", sources, sources), "en", "de", "train")
        survey.survey(tmp_path / "survey", [other], Data())


@pytest.mark.fault("T15")
def test_all_too_long(tmp_path: Path) -> None:
    name = write(tmp_path / "train", *sides())
    with pytest.raises(DataError, match=r"train: no pair .* can be used; kept 0 of 200 pairs; left out: 200 longer"):
        prepared(tmp_path, name, max_length=2, max_left_out=1)


@pytest.mark.fault("T15")
def test_no_validation_corpus_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "data.valid: missing" in fails(capsys, tmp_path, 2, "builtin:clauses:train:100", "--data.valid")


# T16: too long


@pytest.mark.fault("T16")
def test_too_long_pairs_are_left_out_whole_and_the_limit_that_would_do_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = sides()
    for place in range(12):
        source[place] = b"a " * (200 + 10 * place)
    name = write(tmp_path / "train", source, target)
    found = prepared(tmp_path, name, max_ratio=1000)
    assert len(found.train) == 188
    assert found.train.lengths.max() <= 128
    (told,) = (text for text in caplog.messages if text.startswith("warning: ") and "longer" in text)
    assert told.startswith(f"warning: {name}: 6.0% of the pairs are longer than data.max_length = 128 tokens")
    most, nearly, limit = map(
        int, re.findall(r"have at most (\d+), 99% at most (\d+): data.max_length = (\d+)", told)[0]
    )
    assert most == 200 + 10 + 1  # the 190th of 200: two of twelve are no longer
    assert nearly == limit == 200 + 90 + 1
    caplog.clear()
    assert len(prepared(tmp_path, name, max_ratio=1000, max_length=limit).train) == 198
    assert not [text for text in caplog.messages if text.startswith("warning: ") and "longer" in text]


# T17: files that cannot be read


def cut(folder: Path) -> tuple[str, str]:
    name = write(folder / "train", *sides(1000))
    packed = gzip.compress(Path(f"{name}.de").read_bytes())
    Path(f"{name}.de").unlink()
    Path(f"{name}.de.gz").write_bytes(packed[: len(packed) // 2])
    return name, r"train\.de\.gz: cannot be read to its end, only its first \d+,\d+ bytes, decompressed: "


def cut_table(folder: Path) -> tuple[str, str]:
    packed = gzip.compress(b"\n".join(b"\t".join(pair) for pair in PAIRS))
    (folder / "train.tsv.gz").write_bytes(packed[:-9])
    return str(folder / "train.tsv.gz"), r"train\.tsv\.gz: cannot be read to its end, only its first \d+,\d+ bytes"


def missing(folder: Path) -> tuple[str, str]:
    name = write(folder / "train", *sides())
    Path(f"{name}.de").unlink()
    return name, r"train\.de: no such file"


def directory(folder: Path) -> tuple[str, str]:
    name = write(folder / "train", *sides())
    Path(f"{name}.de").unlink()
    Path(f"{name}.de").mkdir()
    return name, r"train\.de: is a directory"


def not_to_be_opened(folder: Path) -> tuple[str, str]:
    os.symlink("circle.tsv", folder / "circle.tsv")  # as a file without permission, but for the superuser too
    return str(folder / "circle.tsv"), r"circle\.tsv: cannot be read: "


@pytest.mark.parametrize("fault", [cut, cut_table, missing, directory, not_to_be_opened])
@pytest.mark.fault("T17")
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Callable[[Path], tuple[str, str]]
) -> None:
    name, expected = fault(tmp_path)
    assert re.search(expected, fails(capsys, tmp_path, 3, name))


@pytest.mark.fault("T17")
def test_no_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path, mode: str) -> None:  # the superuser, as whom tests may run, can open everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(lines, "open", closed, raising=False)
    name = write(tmp_path / "train", *sides())
    assert "train.en: cannot be read: Permission denied" in fails(capsys, tmp_path, 3, name)

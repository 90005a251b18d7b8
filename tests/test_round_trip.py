"""`prepare` counts target lines that do not come back, tokens that are bytes, and pairs that are also trained on."""

import logging
from pathlib import Path

import pytest

from preparing import prepared, write
from transformer.cli.main import run
from transformer.config import Tokenizer as Settings
from transformer.data.checks.overlap import Overlap, find_overlaps
from transformer.data.checks.round_trip import RoundTrip
from transformer.data.clauses import clauses
from transformer.data.corpus import Corpus, Pair
from transformer.data.tokenizer import Tokenizers
from transformer.data.tokenizer_training import train_tokenizers

PAIRS = [Pair(*pair) for pair in clauses("train", 300)]
SETTINGS = {"vocab_size": 400}


def trained(**settings: object) -> Tokenizers:
    sides = ([pair[side] for pair in PAIRS] for side in (0, 1))
    return train_tokenizers(*sides, Settings.model_validate(SETTINGS | settings))


def counted(tokenizers: Tokenizers, pairs: list[Pair]) -> RoundTrip:
    found = RoundTrip("toy", tokenizers)
    sources, targets = (
        side.encode([pair[number] for pair in pairs])
        for number, side in enumerate((tokenizers.source, tokenizers.target))
    )
    found.add(list(enumerate(pairs, 1)), sources, targets)
    return found


ODD = [Pair("x", text) for text in ("۳ خانه‌ها", "5 µg…", "三。", "e\u0301 \u0928\u093c", "a  b", "ÅÄÖ")]


@pytest.mark.fault("T25")
@pytest.mark.parametrize(
    ("settings", "changed", "first", "remedy"),
    [
        ({}, 0, "", ""),
        ({"normalization": "nmt_nfkc"}, 2, "line 301: ", "tokenizer.normalization"),
        ({"normalization": "nfkc"}, 1, "line 302: ", "tokenizer.normalization"),
        ({"byte_fallback": False, "character_coverage": 1.0}, 5, "line 301: ", "tokenizer.byte_fallback"),
    ],
    ids=str,
)
def test_target_lines_that_do_not_come_back_are_counted(
    settings: dict[str, object], changed: int, first: str, remedy: str
) -> None:
    found = counted(trained(**settings), [*PAIRS, *ODD])
    assert (found.lines, found.changed) == (306, changed) and found.example.startswith(first)
    assert found.summary().startswith(f"{changed} of 306 target lines")
    many = counted(trained(**settings), [*PAIRS[:100], *ODD])
    assert len(many.warnings()) == bool(changed) or changed == 1
    assert all(remedy in warning and "line 10" in warning for warning in many.warnings() if changed > 1)


@pytest.mark.fault("T25")
def test_prepare_reports_them_once_and_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "transformer")
    name = write(tmp_path / "train", *([pair[side].encode() for pair in PAIRS] for side in (0, 1)))
    for _ in range(2):
        caplog.clear()
        prepared(tmp_path, name)  # without byte_fallback, and with a tokenizer of few lines
        (report,) = (text for text in caplog.messages if text.startswith("training corpus"))
        assert "target lines change" in report and "of the tokens of the target are bytes or unknown" in report
        assert any(text.startswith(f"warning: {name}: ") and "byte_fallback" in text for text in caplog.messages)


@pytest.mark.fault("T27")
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_side_that_is_mostly_bytes_is_named(side: str) -> None:
    tokenizers = trained()
    foreign = ["გამარჯობა მსოფლიო", "ሰላም ለዓለም", "வணக்கம் உலகம்"]
    pairs = [Pair(text, "Hund") if side == "source" else Pair("dog", text) for text in foreign]
    (warning,) = counted(tokenizers, pairs).warnings()
    assert f"tokens of the {side}" in warning and "train.init_from" in warning
    assert not counted(tokenizers, PAIRS).warnings()


def corpus(name: str, *pairs: tuple[str, str]) -> Corpus:
    return Corpus(name, lambda: iter([Pair(*pair) for pair in pairs]))


@pytest.mark.fault("T28")
def test_pairs_and_sources_that_are_trained_on_are_counted() -> None:
    train = [corpus("a", ("kot", "cat"), ("pies", "dog")), corpus("b", ("дом", "house"), ("", "left out"))]
    valid = corpus("v", (" kot ", "cat"), ("pies", "hound"), ("ryba", "fish"), ("kot", "cat"))
    test = corpus("t", ("дом", "house"), ("дом", "home"), ("", "x"))
    assert find_overlaps(train, [valid, test]) == [Overlap("v", 4, 2, 3), Overlap("t", 2, 1, 2)]
    assert find_overlaps(train, [corpus("none")]) == [Overlap("none", 0, 0, 0)]


@pytest.mark.fault("T28")
def test_prepare_counts_them_for_validation_and_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [[pair[side].encode() for pair in PAIRS] for side in (0, 1)]
    names = [write(tmp_path / name, *(side[start:] for side in lines)) for name, start in (("train", 0), ("one", 290))]
    other = write(tmp_path / "two", [*lines[0][:3], b"Iki"], [b"Eins", *lines[1][1:3], b"Zwei"])
    (tmp_path / "c.toml").write_text(
        f'run_dir = "{tmp_path / "run"}"\n[data]\nsource = "en"\ntarget = "de"\ntrain = ["{names[0]}"]\n'
        f'valid = ["{names[1]}"]\n[tokenizer]\nvocab_size = 400\n',
        encoding="utf8",
    )
    assert run("prepare", [str(tmp_path / "c.toml"), "--test", other, "--test", names[1]]) == 0
    report = capsys.readouterr().out
    assert f"{names[1]}: 10 of 10 pairs (100.0%)" in report and report.count(f"{names[1]}: ") == 2
    assert f"{other}: 2 of 4 pairs (50.0%) also stand in training, 3 with their source" in report
    assert run("prepare", [str(tmp_path / "c.toml"), "--test", str(tmp_path / "missing")]) == 3
    assert "missing.en" in capsys.readouterr().err

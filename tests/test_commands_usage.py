"""Commands that need no trained model: wrong use gets one line and an exit code, and a corpus becomes two files."""

from pathlib import Path

import pytest

from calling import CONFIG, Caller
from transformer.cli import main as door


def test_wrong_use_of_train_and_prepare(call: Caller, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.format(run=tmp_path / "run"), encoding="utf8")
    for name in ("train", "prepare"):
        assert "none.toml: no such config file" in call.fails(2, name, tmp_path / "none.toml")
        assert "did you mean --train.steps?" in call.fails(2, name, config, "--train.stepz", 3)
        assert "train.schedule = 'x': input should be 'inverse_sqrt'" in call.fails(
            2, name, config, "--train.schedule=x"
        )
        assert f"{tmp_path / 'x'}.en: no such file" in call.fails(3, name, config, "--data.train", tmp_path / "x")
    config.write_text("run_dir = ", encoding="utf8")
    assert "run.toml: not valid TOML" in call.fails(2, "train", config)
    config.write_text(CONFIG.format(run="r") + "beamsize = 2\n", encoding="utf8")
    assert "unknown key decode.beamsize; did you mean decode.beam_size?" in call.fails(2, "train", config)


def test_an_unequal_corpus_is_told_with_both_counts(call: Caller, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.format(run=tmp_path / "run"), encoding="utf8")
    (tmp_path / "x.en").write_text("a\nb\n")
    (tmp_path / "x.de").write_text("a\nb\nc\n")
    text = call.fails(3, "train", config, "--data.train", tmp_path / "x")
    assert "x.en has 2 lines" in text and "x.de has 3" in text


def test_a_run_directory_that_cannot_be(call: Caller, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.format(run=tmp_path / "run.toml" / "run"), encoding="utf8")
    for name in ("train", "prepare"):
        assert str(tmp_path / "run.toml") in call.fails(2, name, config)


def test_commands_that_are_none(call: Caller) -> None:
    assert "trian: no such command; did you mean train?" in call.fails(2, "trian")
    assert call().code == 2
    shown = call("--help")
    assert shown.code == 0
    assert all(f"  {name}" in shown.out.decode() for name in door.COMMANDS)


@pytest.mark.parametrize("name", door.COMMANDS)
def test_every_command_explains_itself(call: Caller, name: str) -> None:
    with pytest.raises(SystemExit) as end:
        call(name, "--help")
    assert not end.value.code


def test_out_of_memory_is_no_bug(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer.commands import corpus

    def failing(problem: Exception) -> None:
        def main(words: list[str]) -> None:
            raise problem

        monkeypatch.setattr(corpus, "main", main)

    for problem in (MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nMore")):
        failing(problem)
        assert "error: out of memory\n" in call.fails(4, "corpus")
    failing(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        call("corpus")


# A corpus as two files


def test_corpus_writes_two_files(call: Caller, tmp_path: Path) -> None:
    assert call("corpus", "builtin:clauses:test:7", tmp_path / "a" / "x", "--source", "en", "--target", "de").code == 0
    assert [(tmp_path / "a" / f"x.{code}").read_bytes().count(b"\n") for code in ("en", "de")] == [7, 7]
    table = tmp_path / "t.jsonl"
    table.write_text('{"en": "a\\nb", "de": "c\\u2028\\rd"}\n{"en": "e", "de": "f"}\n')
    assert call("corpus", table, tmp_path / "y", "--source", "en", "--target", "de").code == 0
    assert (tmp_path / "y.en").read_bytes() == b"a b\ne\n"
    assert (tmp_path / "y.de").read_bytes() == b"c  d\nf\n"


def test_corpus_refuses_what_it_cannot_do(call: Caller, tmp_path: Path) -> None:
    for code in ("en", "de"):
        (tmp_path / f"x.{code}").write_text("a\n \n")
    prefix = tmp_path / "x"
    assert "an input" in call.fails(2, "corpus", prefix, prefix, "--source", "en", "--target", "de")
    assert "source language too" in call.fails(2, "corpus", prefix, tmp_path / "y", "--source", "en", "--target", "en")
    assert str(tmp_path / "x.en") in call.fails(
        4, "corpus", "builtin:clauses", tmp_path / "x.en" / "y", "--source", "en", "--target", "de"
    )
    assert (tmp_path / "x.en").read_text() == "a\n \n"

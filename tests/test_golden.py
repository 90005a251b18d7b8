"""Runs and models of earlier versions (tests/golden/README.md) are resumed, translated with, scored and exported.

Everything goes through the commands, which are the contract, so that these tests hold for any version of the code.
"""

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.mixed_dtypes

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text(encoding="utf8"))
MODELS = ("run", "model", "imported")
LINES = (0, 9, 11)  # of few lengths: each compiles a program


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the golden run was trained: its config names its corpora from here."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The LINES of the golden sentences, as sentences.en and sentences.de."""
    directory = tmp_path_factory.mktemp("sentences")
    for name in ("sentences.en", "sentences.de"):
        lines = (GOLDEN / name).read_text(encoding="utf8").splitlines(keepends=True)
        (directory / name).write_text("".join(lines[number] for number in LINES), encoding="utf8")
    return directory


def command(name: str, *words: str | Path) -> None:
    """`python -m transformer NAME ...`, in this process. Fails where its exit code is not 0."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["transformer", name, *map(str, words)])
        runpy.run_module("transformer", run_name="__main__")
    assert end.value.code == 0


@pytest.mark.optimized
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_golden_models_translate_as_they_did(model: str, search: str, sentences: Path, tmp_path: Path) -> None:
    beam = ["--beam-size", "1"] if search == "greedy" else []
    output = tmp_path / "out.jsonl"
    words = ["--model", GOLDEN / model, "-i", sentences / "sentences.en", "-o", output, "--format", "jsonl", *beam]
    command("translate", *words)
    found = [json.loads(line) for line in output.read_text(encoding="utf8").splitlines()]
    expected = [EXPECTED[model][search][number] for number in LINES]
    assert [one["translation"] for one in found] == [one["translation"] for one in expected]
    assert [one["flags"] for one in found] == [one["flags"] for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], abs=1e-4)


@pytest.mark.optimized
@pytest.mark.parametrize("model", MODELS)
def test_golden_models_score_as_they_did(model: str, tmp_path: Path) -> None:
    output = tmp_path / "scores"
    words = ["--source", GOLDEN / "sentences.en", "--target", GOLDEN / "sentences.de", "-o", output]
    command("score", "--model", GOLDEN / model, *words)
    assert [float(line) for line in output.read_text().splitlines()] == pytest.approx(
        EXPECTED[model]["scores"], abs=1e-3
    )


def test_a_golden_run_is_resumed_and_ends_as_it_would_have(tmp_path: Path) -> None:
    """Where its config has other paths by now, too: the numbers are those of the version that wrote it."""
    run = Path(shutil.copytree(GOLDEN / "run", tmp_path / "run"))
    command("train", GOLDEN / "run.toml", "--run-dir", run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf8").splitlines()]
    assert [line["step"] for line in lines if line["step"] <= 20] == [7, 10, 14, 20]
    found = [line for line in lines if line["step"] > 20]
    assert len(found) == len(EXPECTED["resumed"])
    for line, expected in zip(found, EXPECTED["resumed"], strict=True):
        assert {name: line[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert (run / "model" / "manifest.json").exists() and (run / "checkpoints" / "40").is_dir()


def test_golden_checkpoints_are_averaged(tmp_path: Path) -> None:
    """The mean of two checkpoints of unequal weights is a model of its own."""
    for count in ("1", "2"):
        command("average", GOLDEN / "run", tmp_path / count, "--last", count)
    one, two = (load_file(tmp_path / count / "model.safetensors") for count in ("1", "2"))
    assert one.keys() == two.keys() and all((one[name] != two[name]).any() for name in one)


@pytest.mark.parametrize("model", MODELS)
def test_golden_models_are_exported_and_say_the_same(
    model: str, sentences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--model", GOLDEN / model, "--to", "ctranslate2", "--check", sentences / "sentences.en"]
    with caplog.at_level("INFO", logger="transformer"):
        command("export", tmp_path / "out", *words)
    assert "checked against CTranslate2" in caplog.text and "of 0 tokens" not in caplog.text
    assert (tmp_path / "out" / "model.bin").exists()


def test_a_golden_model_goes_back_to_the_program_it_came_from(tmp_path: Path) -> None:
    """And the folder that it was imported from gives the same model, byte for byte but for the versions."""
    command("export", tmp_path / "marian", "--model", GOLDEN / "imported", "--to", "marian")
    command("import", GOLDEN / "marian", tmp_path / "imported", "--from", "marian")
    command("import", tmp_path / "marian", tmp_path / "again", "--from", "marian")
    for place in (tmp_path / "imported", tmp_path / "again"):
        for file in (GOLDEN / "imported").iterdir():
            if file.name != "manifest.json":
                assert (place / file.name).read_bytes() == file.read_bytes(), file.name

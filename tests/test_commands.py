"""The commands, through the doors that users take: exit codes, one line for a failure, formats to the letter."""

import gzip
import json
import os
import re
import select
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

from calling import CONFIG, Caller
from transformer.cli import main as door
from transformer.translation.model_dir import load_model
from translating import Result

pytestmark = pytest.mark.mixed_dtypes

ROOT = Path(__file__).parents[1]
NASTY = b"A dog.\r\n\xff\xfe dog\n\nA \xe2\x80\xa8 B \xc2\x85 C\x0c\x00D\n  \n\tx ||| y\nThe man sleeps"
COUNT = NASTY.count(b"\n") + 1


@pytest.fixture(scope="module", autouse=True)
def cache_stays_where_it_is() -> None:
    assert jax.config.jax_compilation_cache_dir, "the tests' own, not the user's"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four updates."""
    run = tmp_path_factory.mktemp("runs") / "small"
    config = run.parent / "small.toml"
    config.write_text(CONFIG.format(run=run), encoding="utf8")
    assert door.main(["train", str(config)]) == 0
    return run


# What a run leaves


def test_a_run_leaves_what_it_should(run_dir: Path) -> None:
    assert {path.name for path in run_dir.iterdir()} >= {
        "config.toml",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "model",
    }
    assert any((run_dir / "tensorboard").iterdir())
    assert {"2", "4"} <= {path.name for path in (run_dir / "checkpoints").iterdir()}
    assert {path.name for path in (run_dir / "model").iterdir()} == {
        "config.json", "model.safetensors", "source.spm", "target.spm", "manifest.json"
    }  # fmt: skip
    load_model(run_dir)


def test_metrics_have_each_step_once(run_dir: Path) -> None:
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in metrics if "loss" in entry] == [1, 2, 3, 4]
    assert [entry["step"] for entry in metrics if "valid_nll" in entry] == [2, 4]
    assert {"nll", "learning_rate", "tokens_per_second"} <= metrics[0].keys()


def test_a_finished_run_stays_as_it_is_when_called_again(run_dir: Path, call: Caller) -> None:
    """With its own resolved config."""
    before = (run_dir / "metrics.jsonl").read_bytes(), (run_dir / "config.toml").read_bytes()
    assert call("train", run_dir / "config.toml").code == 0
    assert ((run_dir / "metrics.jsonl").read_bytes(), (run_dir / "config.toml").read_bytes()) == before


# Translate


def translated(call: Caller, run_dir: Path, *flags: object, stdin: bytes = NASTY) -> bytes:
    result = call("translate", "--model", run_dir, "--quiet", *flags, stdin=stdin)
    assert (result.code, result.err) == (0, "")
    return result.out


@pytest.mark.parametrize("form", ["text", "jsonl", "nbest"])
def test_nasty_lines_in_as_many_lines_out(call: Caller, run_dir: Path, form: str) -> None:
    out = translated(call, run_dir, "--format", form)
    assert out.count(b"\n") == COUNT == len(out.decode().splitlines())
    assert out.endswith(b"\n")
    assert translated(call, run_dir, "--format", form, stdin=NASTY + b"\n") == out
    assert translated(call, run_dir, "--format", form, stdin=b"") == b""


def test_the_formats_say_the_same_to_the_letter(call: Caller, run_dir: Path) -> None:
    texts = translated(call, run_dir).decode().splitlines()
    objects = [json.loads(line) for line in translated(call, run_dir, "--format", "jsonl").splitlines()]
    assert [sorted(entry) for entry in objects] == [["flags", "line", "score", "source", "translation"]] * COUNT
    assert [entry["line"] for entry in objects] == list(range(1, COUNT + 1))
    assert [entry["translation"] for entry in objects] == texts
    assert objects[3]["source"] == "A \u2028 B \x85 C\x0c\0D"
    assert [entry["flags"] for entry in objects if not entry["translation"]][:2] == [["empty"], ["empty"]]
    marian = re.compile(r"(\d+) \|\|\| (.*) \|\|\| F0= (-?[\d.e-]+) \|\|\| (-?[\d.e-]+)")
    found = [marian.fullmatch(line) for line in translated(call, run_dir, "--format", "nbest").decode().splitlines()]
    assert [int(match[1]) for match in found] == list(range(COUNT))
    assert [match[2] for match in found] == texts
    assert [float(match[4]) for match in found] == pytest.approx([entry["score"] for entry in objects], rel=1e-5)


def test_n_best_gives_n_a_line_best_first(call: Caller, run_dir: Path) -> None:
    lines = translated(call, run_dir, "--format", "nbest", "--n-best", 2).decode().splitlines()
    assert [line.split(" ||| ")[0] for line in lines] == [str(n // 2) for n in range(2 * COUNT)]
    assert len(translated(call, run_dir, "--n-best", 2).splitlines()) == 2 * COUNT
    for line in translated(call, run_dir, "--format", "jsonl", "--n-best", 2).splitlines():
        entry = json.loads(line)
        assert len(entry["n_best"]) == 2
        assert entry["n_best"][0] == {"translation": entry["translation"], "score": entry["score"]}
        assert entry["n_best"][0]["score"] >= entry["n_best"][1]["score"]


def test_sampling_follows_the_seed(call: Caller, run_dir: Path) -> None:
    one, same, other = (translated(call, run_dir, "--sample", "--seed", seed) for seed in (1, 1, 2))
    assert one == same != other


def test_files_in_and_out_are_as_streams(call: Caller, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(NASTY)
    out = translated(call, run_dir, "-i", tmp_path / "in", "-o", tmp_path / "out", stdin=b"")
    assert out == b""
    assert (tmp_path / "out").read_bytes() == translated(call, run_dir)


def test_after_a_failure_there_is_no_output(call: Caller, run_dir: Path, tmp_path: Path) -> None:
    packed = tmp_path / "in.gz"
    packed.write_bytes(gzip.compress(NASTY * 300)[:-20])
    assert "in.gz: cannot be read to its end" in call.fails(
        3, "translate", "--model", run_dir, "-i", packed, "-o", tmp_path / "out", "--beam-size", 1
    )
    assert os.listdir(tmp_path) == ["in.gz"]


# Failures


def test_wrong_use_of_translate(call: Caller, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(NASTY)
    model = ["translate", "--model", run_dir]
    assert f"{tmp_path}: no model here" in call.fails(2, "translate", "--model", tmp_path)
    assert "--model" in call.fails(2, "translate")
    assert "did you mean --beam-size?" in call.fails(2, *model, "--beam-sise", 3)
    assert "'text', 'jsonl', 'nbest'" in call.fails(2, *model, "--format", "xml")
    assert "decode.beam_size = '0'" in call.fails(2, *model, "--beam-size", 0)
    assert "top_p = '0': " in call.fails(2, *model, "--sample", "--top-p", 0)
    assert "need --sample" in call.fails(2, *model, "--top-k", 3)
    assert "need --sample" in call.fails(2, *model, "--seed", 1)
    assert "decode.batch_tokens = '0'" in call.fails(2, *model, "--batch-tokens", 0)
    assert "n_best = 3: a beam of 2" in call.fails(2, *model, "--n-best", 3)
    assert "whose files belong to the model" in call.fails(2, *model, "-o", run_dir / "model" / "model.safetensors")
    assert "in2: no such file" in call.fails(3, *model, "-i", tmp_path / "in2")
    assert "the output and an input" in call.fails(2, *model, "-i", tmp_path / "in", "-o", tmp_path / "in")
    missing = tmp_path / "none" / "out"
    assert f"{missing}: cannot be written: No such file" in call.fails(4, *model, "-i", tmp_path / "in", "-o", missing)
    assert (tmp_path / "in").read_bytes() == NASTY


# The other commands


@pytest.fixture
def pairs(tmp_path: Path, call: Caller) -> tuple[Path, Path]:
    """The test sentences, source and target."""
    assert call("corpus", "builtin:clauses:test:12", tmp_path / "t", "--source", "en", "--target", "de").code == 0
    return tmp_path / "t.en", tmp_path / "t.de"


def test_score_prints_a_number_a_line(call: Caller, run_dir: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["score", "--model", run_dir, "--source", pairs[0], "--target", pairs[1]]
    numbers = [float(line) for line in call(*words).out.splitlines()]
    assert len(numbers) == 12 and max(numbers) < 0
    objects = [json.loads(line) for line in call(*words, "--format", "jsonl").out.splitlines()]
    assert [entry["line"] for entry in objects] == list(range(1, 13))
    assert [entry["score"] for entry in objects] == pytest.approx(numbers, abs=1e-5)
    for entry in objects:
        assert entry["tokens"][-1] == "</s>" and len(entry["tokens"]) == len(entry["token_scores"])
        assert sum(entry["token_scores"]) == pytest.approx(entry["score"])
    assert call(*words, "-o", tmp_path / "scores").out == b""
    assert (tmp_path / "scores").read_text().count("\n") == 12
    assert "an input" in call.fails(2, *words, "-o", pairs[1])
    (tmp_path / "short").write_text("a\n")
    assert "t.en has 12 lines" in call.fails(3, *words[:5], "--target", tmp_path / "short")


def test_score_takes_pipes(call: Caller, run_dir: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["score", "--model", run_dir, "--source"]
    expected = call(*words, pairs[0], "--target", pairs[1]).out
    assert call(*words, "-", "--target", pairs[1], stdin=pairs[0].read_bytes()).out == expected
    assert "only one" in call.fails(2, *words, "-", "--target", "-")
    assert "- has 1 lines, " in call.fails(3, *words, "-", "--target", pairs[1], stdin=b"a\n")
    assert call(*words, "-", "--target", os.devnull) == Result(0, b"", "")
    pipes = [tmp_path / "source", tmp_path / "target"]
    with ThreadPoolExecutor() as pool:
        for pipe, path in zip(pipes, pairs, strict=True):
            os.mkfifo(pipe)
            pool.submit(pipe.write_bytes, path.read_bytes())
        assert call(*words, pipes[0], "--target", pipes[1]).out == expected


def test_evaluate_scores_a_file_or_a_model(
    call: Caller, run_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    translated(call, run_dir, "-i", pairs[0], "-o", tmp_path / "hyp")
    by_file = call("evaluate", "--hypothesis", tmp_path / "hyp", "--reference", pairs[1])
    by_model = call("evaluate", "--model", run_dir, "--source", pairs[0], "--reference", pairs[1])
    assert by_file.out == by_model.out
    lines = by_file.out.decode().splitlines()
    assert [re.fullmatch(r"(\w+) [\d.]+", line)[1] for line in lines[:3]] == ["BLEU", "chrF", "TER"]
    assert all("version:" in line for line in lines[3:])
    perfect = call("evaluate", "--hypothesis", pairs[1], "--reference", pairs[1], "--format", "json")
    assert json.loads(perfect.out)["BLEU"]["score"] == pytest.approx(100)


def test_evaluate_refuses_what_it_cannot_score(
    call: Caller, run_dir: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "short").write_text("a\n")
    reference = ["--reference", pairs[1]]
    text = call.fails(3, "evaluate", "--hypothesis", tmp_path / "short", *reference)
    assert "short has 1 lines" in text and "t.de has 12" in text
    assert "short has 1 lines" in call.fails(
        3, "evaluate", "--model", run_dir, "--source", tmp_path / "short", *reference
    )
    assert "give either" in call.fails(2, "evaluate", *reference)
    assert "needs --source" in call.fails(2, "evaluate", "--model", run_dir, *reference)
    assert "no such file" in call.fails(3, "evaluate", "--hypothesis", tmp_path / "none", *reference)
    beam = call.fails(2, "evaluate", "--model", run_dir, "--source", pairs[0], *reference, "--beam-size", 0)
    assert "decode.beam_size = 0" in beam
    for flags in (["--beam-size", 2], ["--source", pairs[0]]):
        assert "go with --model" in call.fails(2, "evaluate", "--hypothesis", pairs[1], *reference, *flags)


def test_evaluate_needs_a_stdout(pairs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert door.main(["evaluate", "--hypothesis", str(pairs[1]), "--reference", str(pairs[1])]) == 4


def test_prepare_reports_the_corpus(call: Caller, run_dir: Path, tmp_path: Path) -> None:
    result = call("prepare", run_dir / "config.toml", "--run-dir", tmp_path / "run")
    assert result.code == 0
    assert b"300 pairs" in result.out and b"the first pair in pieces" in result.out
    assert (tmp_path / "run" / "data" / "tokenizer" / "source.spm").exists()
    assert not (tmp_path / "run" / "model").exists()


# Through a real pipe


def test_a_line_is_answered_before_the_next_is_written_and_a_reader_may_leave(run_dir: Path) -> None:
    command = [sys.executable, str(ROOT / "translate.py"), "--model", str(run_dir), "--quiet"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, cwd=ROOT) as process:
        for line in (b"A dog sleeps.\n", b"\n", b"The man sleeps.\n"):
            process.stdin.write(line)
            assert select.select([process.stdout], [], [], 120)[0], "no answer"
            assert process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        process.stdin.write(b"A cat sleeps.\n" * 3)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141

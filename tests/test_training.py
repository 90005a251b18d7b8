"""A run as a whole: killed and resumed, stopped by a signal, and learning what it is shown."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from runs import ROOT, all_but_speed, ended, metrics, model_bytes, start, wait_for

pytestmark = pytest.mark.mixed_dtypes


@pytest.fixture(scope="module")
def seconds() -> list[float]:
    """How long the uninterrupted run took, filled in by it: the scale of the moments at which others are stopped."""
    return []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, seconds: list[float]) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    began = time.monotonic()
    code, told = ended(start(run_dir))
    assert code == 0, told
    seconds.append(time.monotonic() - began)
    return run_dir


@pytest.mark.fault("T01")
def test_a_killed_run_ends_with_the_same_bits(uninterrupted: Path, tmp_path: Path) -> None:
    """Killed twice, with dropout on. The rest of it runs under other names of everything: T23."""
    run_dir = tmp_path / "run"
    for step in (10, 40):
        process = start(run_dir)
        wait_for((run_dir / "checkpoints" / str(step)).exists, process)
        process.kill()
        process.communicate()
    elsewhere = os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C", "HOME": str(tmp_path), "TZ": "Asia/Tokyo"}
    code, told = ended(start(run_dir, env=elsewhere, cwd=tmp_path))
    assert code == 0, told
    assert "resumed from step" in told
    assert model_bytes(run_dir) == model_bytes(uninterrupted)
    assert all_but_speed(run_dir) == all_but_speed(uninterrupted)


@pytest.mark.fault("T02")
def test_sigterm_saves_and_asks_to_be_run_again(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = start(run_dir)
    wait_for((run_dir / "checkpoints" / "10").exists, process)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code, told = ended(process)
    assert time.monotonic() - began < 10
    assert code == 75
    assert told.splitlines()[-1].startswith("error: stopped by a signal at step ")
    step = told.splitlines()[-1].split(" at step ")[1].split()[0]
    assert (run_dir / "checkpoints" / step).exists()


@pytest.mark.fault("T08")
def test_a_run_cannot_go_on_as_another(uninterrupted: Path) -> None:
    code, told = ended(start(uninterrupted, "--model.d-model", "32"))
    assert code == 2
    assert told.startswith(f"error: {uninterrupted}: ") and told.count("\n") == 1
    assert "model.d_model: 16 -> 32" in told and "--allow-config-change" not in told


@pytest.mark.long
@pytest.mark.fault("T01")
def test_two_hundred_kills(uninterrupted: Path, seconds: list[float], tmp_path: Path) -> None:
    """At random moments of one run after another, the whole group of processes each time."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments, kills, runs = random.Random(seed), 0, 0
    while kills < 200:
        run_dir = tmp_path / f"run{runs}"
        while True:
            process = start(run_dir, start_new_session=True)
            try:
                code, told = process.wait(moments.uniform(0, seconds[0])), ""
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                kills += 1
                continue
            _, told = process.communicate()
            assert code == 0, told
            break
        assert model_bytes(run_dir) == model_bytes(uninterrupted)
        assert all_but_speed(run_dir) == all_but_speed(uninterrupted)
        shutil.rmtree(run_dir)
        runs += 1
    print(f"{kills} kills in {runs} runs")


@pytest.mark.long
@pytest.mark.fault("T02")
def test_fifty_signals(uninterrupted: Path, seconds: list[float], tmp_path: Path) -> None:
    """At random moments, each answered within ten seconds by exit code 75, or the end of the run."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments, signals, slowest = random.Random(seed), 0, 0.0
    while signals < 50:
        run_dir = tmp_path / f"run{signals}"
        while True:
            (run_dir / "lock").unlink(missing_ok=True)
            process = start(run_dir)
            wait_for((run_dir / "lock").exists, process)  # from now on it listens
            time.sleep(moments.uniform(0, seconds[0]))
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            code, told = ended(process)
            slowest = max(slowest, time.monotonic() - began)
            is_done = "finished: the best model" in told  # and the signal came while Python was ending
            assert code == 75 or is_done, told
            signals += code == 75
            if is_done:
                break
        assert slowest < 10
        assert model_bytes(run_dir) == model_bytes(uninterrupted)
        assert all_but_speed(run_dir) == all_but_speed(uninterrupted)
        shutil.rmtree(run_dir)
    print(f"{signals} signals, the slowest answer after {slowest:.1f} s")


def test_the_loss_falls_and_weights_are_finite(uninterrupted: Path) -> None:
    losses = [line["loss"] for line in metrics(uninterrupted) if "loss" in line]
    assert len(losses) == 9  # of 60 updates, a line every seven
    assert losses[-1] < losses[0] - 1
    assert all(np.isfinite(value).all() for value in load_file(uninterrupted / "model" / "model.safetensors").values())


def test_nothing_of_the_machine_is_in_a_model(uninterrupted: Path) -> None:
    for name, content in model_bytes(uninterrupted).items():
        assert str(uninterrupted.parent).encode() not in content, name
        assert os.path.expanduser("~").encode() not in content, name


REVERSE = """
[data]
source = "forward"
target = "backward"
train = ["{0}/train"]
valid = ["{0}/valid"]
buckets = 1

[tokenizer]
vocab_size = 32
byte_fallback = false

[model]
d_model = 32
d_ff = 64
num_heads = 4
encoder_layers = 2
decoder_layers = 2
dropout = 0.0

[train]
steps = 300
batch_tokens = 512
learning_rate = 5e-3
warmup_steps = 30
schedule = "cosine"
label_smoothing = 0.0
ema_decay = 0.9
eval_every = 300

[decode]
batch_tokens = 512
"""


def test_reversing_is_learnt(tmp_path: Path) -> None:
    """The whole way: files, training, the translate command, exact match on unseen sentences."""
    draws = np.random.default_rng(1)
    for split, count in (("train", 3000), ("valid", 40)):
        lines = [" ".join(draws.choice(list("abcdefg"), draws.integers(2, 7))) for _ in range(count)]
        (tmp_path / f"{split}.forward").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / f"{split}.backward").write_text("".join(f"{line[::-1]}\n" for line in lines))
    (tmp_path / "config.toml").write_text(REVERSE.format(tmp_path), encoding="utf8")
    run_dir, output = tmp_path / "run", tmp_path / "out"
    for command in (
        ["train.py", str(tmp_path / "config.toml"), "--run-dir", str(run_dir)],
        ["translate.py", "--model", str(run_dir), "-i", str(tmp_path / "valid.forward"), "-o", str(output)],
    ):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
    expected = (tmp_path / "valid.backward").read_text().splitlines()
    right = sum(a == b for a, b in zip(output.read_text().splitlines(), expected, strict=True))
    assert right >= 38, f"{right} of 40"

"""A run as a whole: killed and resumed, stopped by a signal, and learning what it is shown."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]

CONFIG = """
[data]
source = "en"
target = "de"
train = ["builtin:clauses:train:300"]
valid = ["builtin:clauses:valid:20"]
buckets = 2

[tokenizer]
vocab_size = 400

[model]
d_model = 16
d_ff = 32
num_heads = 2
encoder_layers = 1
decoder_layers = 1
dropout = 0.1

[train]
steps = 60
batch_tokens = 512
learning_rate = 1e-2
warmup_steps = 10
log_every = 10
eval_every = 30
save_every = 10
"""


def train(run_dir: Path, *flags: str, **options) -> subprocess.Popen:
    config = run_dir.parent / "config.toml"
    config.write_text(CONFIG, encoding="utf8")
    command = [sys.executable, str(ROOT / "train.py"), str(config), "--run-dir", str(run_dir), *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options)


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def model_bytes(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run_dir / "model").iterdir())}


def metrics(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    process = train(run_dir)
    _, told = process.communicate(timeout=280)
    assert process.returncode == 0, told
    return run_dir


def test_a_killed_run_ends_with_the_same_bits(uninterrupted: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    for step in (10, 40):  # killed twice, dropout on
        process = train(run_dir)
        wait_for((run_dir / "checkpoints" / str(step) / "commit_success.txt").exists, process)
        process.kill()
        process.communicate()
    process = train(run_dir)
    _, told = process.communicate(timeout=280)
    assert process.returncode == 0, told
    assert "resumed from step" in told
    assert model_bytes(run_dir) == model_bytes(uninterrupted)
    steps = [(line["step"], "valid_bleu" in line) for line in metrics(run_dir)]
    assert steps == [(line["step"], "valid_bleu" in line) for line in metrics(uninterrupted)]


def test_sigterm_saves_and_asks_to_be_run_again(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = train(run_dir)
    wait_for((run_dir / "checkpoints" / "10" / "commit_success.txt").exists, process)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75
    assert told.splitlines()[-1].startswith("error: stopped by a signal at step ")
    step = int(told.splitlines()[-1].split(" at step ")[1].split()[0])
    assert (run_dir / "checkpoints" / str(step) / "commit_success.txt").exists()


def test_a_run_cannot_go_on_as_another(uninterrupted: Path) -> None:
    process = train(uninterrupted, "--model.d-model", "32")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    told_once = "model.d_model was 16 in this run and is 32 now; set it back, or choose another run_dir"
    assert told == f"error: {uninterrupted}: {told_once}\n"


def test_the_loss_falls_and_weights_are_finite(uninterrupted: Path) -> None:
    losses = [line["loss"] for line in metrics(uninterrupted) if "loss" in line]
    assert len(losses) == 6
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
steps = 600
batch_tokens = 1024
learning_rate = 5e-3
warmup_steps = 60
schedule = "cosine"
label_smoothing = 0.0
ema_decay = 0.9
eval_every = 600
"""


def test_reversing_is_learnt(tmp_path: Path) -> None:
    """The whole way: files, training, the translate command, exact match on unseen sentences."""
    random = np.random.default_rng(1)
    for split, count in (("train", 3000), ("valid", 40)):
        words = [[" ".join(random.choice(list("abcdefg"), random.integers(2, 7)))] for _ in range(count)]
        lines = [line for (line,) in words]
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

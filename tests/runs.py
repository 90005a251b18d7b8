"""Runs so small that a test can make one, in this process or in one of its own."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from transformer.config import Config, loading
from transformer.files.manifest import seal, unseal
from transformer.run.hooks import RunHooks

ROOT = Path(__file__).parents[1]

SMALL = """
[data]
source = "en"
target = "de"
train = ["builtin:clauses:train:300"]
valid = ["builtin:clauses:valid:20"]
buckets = 1

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
log_every = 7
eval_every = 30
save_every = 10

[decode]
max_ratio = 1.0
max_extra = 4
batch_tokens = 512
"""


def small(run_dir: Path, **changes: Any) -> Config:
    """The config of a small run; `changes` by their dotted keys, with two underscores for the dot."""
    file = run_dir.parent / "config.toml"
    file.write_text(SMALL, encoding="utf8")
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return loading.load(file, {"run_dir": str(run_dir), **overrides})


def start(run_dir: Path, *flags: str, **options: Any) -> subprocess.Popen[str]:
    """The training of a small run as a process of its own."""
    file = run_dir.parent / "config.toml"
    file.write_text(SMALL, encoding="utf8")
    command = [sys.executable, str(ROOT / "train.py"), str(file), "--run-dir", str(run_dir), *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **{"cwd": ROOT} | options)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until the condition holds. Fails where the process ends before that."""
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was told on stderr."""
    _, told = process.communicate(timeout=280)
    return process.returncode, told


def model_bytes(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run_dir / "model").iterdir())}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a disk that is full: no file grows beyond `size` bytes. Python ignores the signal that comes with it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def flushes_and_names(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """To be filled: the files that are flushed to the disk, and what `os.NAME` renames, in their order."""
    done: list[str] = []
    fsync, rename = os.fsync, getattr(os, name)

    def flushed(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def renamed(source: Path, place: Path) -> None:
        done.append(f"{source.name} -> {place.name}")
        rename(source, place)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, name, renamed)
    return done


def rewrite(checkpoint: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Another manifest for a checkpoint, seal as a version of this package would."""
    path = checkpoint / "manifest.json"
    path.write_text(seal(change(unseal(path.read_text(encoding="utf8")))), encoding="utf8")


def as_format_1(manifest: dict[str, Any], measure: str) -> dict[str, Any]:
    """A manifest as versions before format 2 wrote it: numbers of an update and axes of the mesh in an order."""
    progress = dict(manifest["progress"])
    del progress["pending"], progress["pending_seconds"]
    progress |= {"measure": measure, "untold": [[6.0, 7.0, 8.0, 0.5, 0.1, 0.0]], "untold_seconds": 0.7}
    tokenizers = {name: content for name, content in manifest["origin"].items() if name == "tokenizers"}
    environment = {**manifest["environment"], "mesh": [-1, 2, 1], **tokenizers}
    return {"step": manifest["step"], "progress": progress, "environment": environment, "files": manifest["files"]}


class Death(BaseException):
    """Stands for the death of the process: nothing catches it."""


def dying_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Makes trainings in this process die when everything is done that is due after the update `step`."""
    after = RunHooks.after_update

    def dying(self: RunHooks, reached: int, state: Any) -> bool:
        ends_early = after(self, reached, state)
        if reached == step:
            raise Death
        return ends_early

    monkeypatch.setattr(RunHooks, "after_update", dying)


def metrics(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf8").splitlines()]


def all_but_speed(run_dir: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl; the speed alone may differ."""
    return [{**line, "tokens_per_second": 0} for line in metrics(run_dir)]

"""What a run tells: lines on stderr, metrics.jsonl, TensorBoard, and a bar on a terminal."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from transformer.errors import Diverged
from transformer.training.state import Metrics

log = logging.getLogger(__name__)


class Journal:
    """The numbers of a run, step by step. Each kind of line stands once a step, interruptions or not."""

    def __init__(self, run_dir: Path, step: int, steps: int):
        """Goes on after `step` of `steps`: lines of later steps, from a run that was cut off, are dropped."""
        path = run_dir / "metrics.jsonl"
        kept = [line for line in _complete_lines(path) if json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf8")
        self._exit = ExitStack()
        self._file = self._exit.enter_context(path.open("a", encoding="utf8"))
        self._tensorboard = self._exit.enter_context(SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1))
        self._bar: tuple[Progress, Any] | None = None
        if sys.stderr.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            bar = self._exit.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            self._bar = bar, bar.add_task("", total=steps, completed=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exit.close()

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=step)

    def write(self, step: int, **numbers: float) -> None:
        """One line of metrics.jsonl, and the same numbers for TensorBoard."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, value, step)


def _complete_lines(path: Path) -> list[str]:
    """The lines of a file of JSON lines, without a last one that was cut off."""
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf8").split("\n")
    return [line for line in whole if line]


class Meter:
    """Gathers the metrics of updates, which stay on the device meanwhile, and tells their means now and then."""

    def __init__(self, journal: Journal, steps: int, every: int, padding: float):
        self.journal, self.steps, self.every, self.padding = journal, steps, every, padding
        self._gathered: list[Metrics] = []
        self._seconds = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside does not count as time of training."""
        self._seconds += time.perf_counter() - self._since
        yield
        self._since = time.perf_counter()

    def add(self, step: int, metrics: Metrics) -> None:
        """Of the update `step`. Raises Diverged, after telling, when the loss is no number."""
        if self._gathered:
            jax.block_until_ready(self._gathered[-1])  # at most one update ahead of the device
        self._gathered.append(metrics)
        self.journal.advance(step)
        if step % self.every == 0 or step == self.steps:
            self._tell(step)

    def _tell(self, step: int) -> None:
        gathered: list[Metrics] = jax.device_get(self._gathered)
        seconds = self._seconds + time.perf_counter() - self._since
        self._gathered, self._seconds, self._since = [], 0.0, time.perf_counter()
        tokens = sum(float(metrics.losses.tokens) for metrics in gathered)
        loss = sum(float(metrics.losses.kl) for metrics in gathered) / tokens
        nll = sum(float(metrics.losses.nll) for metrics in gathered) / tokens
        norm = sum(float(metrics.gradient_norm) for metrics in gathered) / len(gathered)
        rate = float(gathered[-1].learning_rate)
        speed = tokens / seconds
        log.info(
            "step %d/%d  loss %.4f  nll %.4f  ppl %.2f  rate %.3g  gradient %.2f  %s target tokens/s",
            step, self.steps, loss, nll, math.exp(min(nll, 700)), rate, norm, f"{speed:,.0f}",
        )  # fmt: skip
        self.journal.write(
            step, loss=loss, nll=nll, learning_rate=rate, gradient_norm=norm, tokens_per_second=speed,
            padding=self.padding,
        )  # fmt: skip
        if not math.isfinite(loss):
            raise Diverged(f"step {step}: the loss is {loss}; lower train.learning_rate or train.clip_norm")

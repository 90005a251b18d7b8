"""What a run tells: lines on stderr, metrics.jsonl, TensorBoard, and a bar on a terminal."""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from transformer.config import Train
from transformer.errors import SystemProblem
from transformer.training.board import Board
from transformer.training.state import Metrics
from transformer.training.watch import Watch

log = logging.getLogger(__name__)


class Journal:
    """The numbers of a run, step by step. Each kind of line stands once a step, interruptions or not."""

    def __init__(self, run_dir: Path, step: int, steps: int, validated: int):
        """Goes on after `step` of `steps`, and after the validation of the step `validated`.

        What a run that was cut off has told of later ones is dropped.
        """
        self.path, unfinished = run_dir / "metrics.jsonl", run_dir / "metrics.jsonl.unfinished"
        lines = list(_whole_lines(self.path))
        self.lost = max([step, *(at for at, _, _ in lines)]) - step  # to be done again, as far as lines tell
        kept = [line for at, is_validation, line in lines if at <= (validated if is_validation else step)]
        unfinished.write_text("".join(kept), encoding="utf8")
        os.replace(unfinished, self.path)
        self._waiting = b""  # lines for which the disk has had no room yet
        self._exit = ExitStack()
        self._file = self._exit.enter_context(self.path.open("ab", buffering=0))
        self._board = self._exit.enter_context(closing(Board(run_dir / "tensorboard", step)))
        self._bar: tuple[Progress, Any] | None = None
        if sys.stderr.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            bar = self._exit.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            self._bar = bar, bar.add_task("", total=steps, completed=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._write_what_waits()
        self._exit.close()

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=step)

    def flush(self) -> None:
        """Waits until the disk has the lines, so that no checkpoint outlives those before it. Raises SystemProblem."""
        try:
            self._write_what_waits()
            os.fsync(self._file.fileno())
        except OSError as problem:
            why = f"{problem.strerror}; make room, and run the same command again"
            raise SystemProblem(f"{self.path}: its lines cannot be written: {why}") from problem
        self._board.flush()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, and the same for TensorBoard. What is not finite is null there, as JSON has it."""
        finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
        self._waiting += (json.dumps({"step": step, **dict.fromkeys(numbers), **finite}) + "\n").encode()
        with suppress(OSError):  # told when it is to be flushed, if it lasts until then
            self._write_what_waits()
        self._board.write(step, finite)

    def _write_what_waits(self) -> None:
        while self._waiting:
            self._waiting = self._waiting[self._file.write(self._waiting) :]


def _whole_lines(path: Path) -> Iterator[tuple[int, bool, str]]:
    """Step, whether of a validation, and text of each line, but for what a killed process has cut off."""
    if path.exists():
        for line in path.read_text(encoding="utf8", errors="replace").splitlines(keepends=True):
            with suppress(ValueError, KeyError, TypeError):
                numbers = json.loads(line)
                if line.endswith("\n"):
                    yield int(numbers["step"]), "valid_nll" in numbers, line


METRICS = ("kl", "nll", "tokens", "gradient_norm", "learning_rate")  # of an update, which a line needs


class Meter:
    """Collects the metrics of updates on the device, and logs their means every `train.log_every` steps."""

    def __init__(
        self, journal: Journal, settings: Train, padding: float, pending: Sequence[dict[str, float]], seconds: float
    ):
        """`pending` and `seconds` are those of a run that was stopped between two lines: see the method `pending`.

        Another version may have written other metrics. Missing ones are NaN here, and null in the next line of the log.
        """
        self.journal, self.steps, self.every, self.padding = journal, settings.steps, settings.log_every, padding
        self._watch = Watch()
        self._before = [dict.fromkeys(METRICS, math.nan) | {"skipped": 0.0} | metrics for metrics in pending]
        self._gathered: list[Metrics] = []
        self._seconds = seconds
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside does not count as time of training."""
        self._seconds += time.perf_counter() - self._since
        yield
        self._since = time.perf_counter()

    def add(self, step: int, metrics: Metrics) -> None:
        """Of the update `step`. Raises Diverged when too many updates in a row had no finite loss."""
        if self._gathered:
            jax.block_until_ready(self._gathered[-1])  # at most one update ahead of the device
        self._gathered.append(metrics)
        self.journal.advance(step)
        if step % self.every == 0 or step == self.steps:
            self._tell(step)

    def pending(self) -> tuple[list[dict[str, float]], float]:
        """The metrics of each update since the last line, by name, and the seconds that they took up to a pause."""
        gathered = [metrics.by_name() for metrics in jax.device_get(self._gathered)]
        return self._before + gathered, self._seconds

    def _tell(self, step: int) -> None:
        pending, seconds = self.pending()
        seconds += time.perf_counter() - self._since
        self._before, self._gathered, self._seconds, self._since = [], [], 0.0, time.perf_counter()
        for at, metrics in enumerate(pending, step + 1 - len(pending)):
            loss = metrics["kl"] / metrics["tokens"]
            if metrics["skipped"] or not math.isnan(loss):
                self._watch.see(at, loss, int(metrics["skipped"]))
        made = [metrics for metrics in pending if not metrics["skipped"]]
        if not made:
            return
        tokens = sum(metrics["tokens"] for metrics in made)
        loss = sum(metrics["kl"] for metrics in made) / tokens
        nll = sum(metrics["nll"] for metrics in made) / tokens
        norm = sum(metrics["gradient_norm"] for metrics in made) / len(made)
        rate = made[-1]["learning_rate"]
        speed = tokens / seconds
        log.info(
            "step %d/%d  loss %.4f  nll %.4f  ppl %.2f  rate %.3g  gradient %.2f  %s target tokens/s",
            step, self.steps, loss, nll, math.exp(min(nll, 700)), rate, norm, f"{speed:,.0f}",
        )  # fmt: skip
        self.journal.write(
            step,
            {
                "loss": loss,
                "nll": nll,
                "learning_rate": rate,
                "gradient_norm": norm,
                "tokens_per_second": speed,
                "padding": self.padding,
                "skipped": len(pending) - len(made),
            },
        )

"""The metrics of a run: lines on stderr, metrics.jsonl, TensorBoard, and a progress bar on a terminal."""

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
from transformer.data.batches import Batch
from transformer.errors import cannot_write
from transformer.files.atomic import write_file
from transformer.run.loss_monitor import LossMonitor
from transformer.run.run_dir import read_metrics
from transformer.run.tensorboard import TensorBoardWriter
from transformer.training.update import TrainState, Update, UpdateMetrics

log = logging.getLogger(__name__)

METRICS = ("kl", "nll", "tokens", "gradient_norm", "learning_rate")  # of an update, which a line of the log needs


class MetricsWriter:
    """Writes metrics.jsonl and the metrics of TensorBoard. Interruptions leave no gap and no step twice."""

    def __init__(self, run_dir: Path, step: int, steps: int, validated: int):
        """Continues after `step` of `steps`, and after the validation of step `validated`.

        Removes the lines of later steps, which an interrupted run may have written.
        """
        self.path = run_dir / "metrics.jsonl"
        lines = list(read_metrics(self.path))
        self.lost = (
            max([step, *(metrics["step"] for metrics, _ in lines)]) - step
        )  # to be repeated, as far as lines show
        kept = [line for metrics, line in lines if metrics["step"] <= (validated if "valid_nll" in metrics else step)]
        write_file(self.path, "".join(kept))
        self._pending = b""  # lines that the disk had no space for yet
        self._exit = ExitStack()
        self._file = self._exit.enter_context(self.path.open("ab", buffering=0))
        self._tensorboard = self._exit.enter_context(closing(TensorBoardWriter(run_dir / "tensorboard", step)))
        self._bar: tuple[Progress, Any] | None = None
        if sys.stderr.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            bar = self._exit.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            self._bar = bar, bar.add_task("", total=steps, completed=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._write_pending()
        self._exit.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=step)

    def flush(self) -> None:
        """Waits until the disk has all lines, so that a checkpoint never has later steps. Raises ResourceError."""
        try:
            self._write_pending()
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise cannot_write(self.path, problem) from problem
        self._tensorboard.flush()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes one line of metrics.jsonl, and the same for TensorBoard. NaN and infinite values are null in JSON."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._pending += (json.dumps({"step": step, **dict.fromkeys(metrics), **finite}) + "\n").encode()
        with suppress(OSError):  # `flush` reports it, if the disk is still full then
            self._write_pending()
        self._tensorboard.write(step, finite)

    def _write_pending(self) -> None:
        while self._pending:
            self._pending = self._pending[self._file.write(self._pending) :]


class MetricsAccumulator:
    """Collects the metrics of updates on the device, and logs their means every `train.log_every` steps."""

    def __init__(
        self,
        writer: MetricsWriter,
        settings: Train,
        padding: float,
        pending: Sequence[dict[str, float]],
        seconds: float,
    ):
        """`pending` and `seconds`: metrics that were not logged yet when the run stopped, and the time they took.

        Another version may have written other metrics. Missing ones are NaN here, and null in metrics.jsonl.
        """
        self._writer, self._steps, self._log_every, self._padding = writer, settings.steps, settings.log_every, padding
        self._monitor = LossMonitor()
        self._before = [dict.fromkeys(METRICS, math.nan) | {"skipped": 0.0} | metrics for metrics in pending]
        self._on_device: list[UpdateMetrics] = []
        self._seconds = seconds
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Does not count the time inside as training time."""
        self._seconds += time.perf_counter() - self._since
        yield
        self._since = time.perf_counter()

    def add(self, step: int, metrics: UpdateMetrics) -> None:
        """Adds the metrics of an update. Raises DivergenceError, when a line is logged, after many skipped updates."""
        if self._on_device:
            jax.block_until_ready(self._on_device[-1])  # the host is at most one update ahead of the device
        self._on_device.append(metrics)
        self._writer.advance(step)
        if step % self._log_every == 0 or step == self._steps:
            self._log(step)

    def pending(self) -> tuple[list[dict[str, float]], float]:
        """Returns the metrics of each update since the last line, by name, and the seconds that the updates took."""
        received = [metrics.by_name() for metrics in jax.device_get(self._on_device)]
        return self._before + received, self._seconds

    def _log(self, step: int) -> None:
        pending, seconds = self.pending()
        seconds += time.perf_counter() - self._since
        self._before, self._on_device, self._seconds, self._since = [], [], 0.0, time.perf_counter()
        for at, metrics in enumerate(pending, step + 1 - len(pending)):
            loss = metrics["kl"] / metrics["tokens"]
            if metrics["skipped"] or not math.isnan(loss):
                self._monitor.add(at, loss, int(metrics["skipped"]))
        updates = [metrics for metrics in pending if not metrics["skipped"]]
        if not updates:
            return
        tokens = sum(metrics["tokens"] for metrics in updates)
        means = {
            "loss": sum(metrics["kl"] for metrics in updates) / tokens,
            "nll": sum(metrics["nll"] for metrics in updates) / tokens,
            "learning_rate": updates[-1]["learning_rate"],
            "gradient_norm": sum(metrics["gradient_norm"] for metrics in updates) / len(updates),
            "tokens_per_second": tokens / seconds,
            "padding": self._padding,
            "skipped": len(pending) - len(updates),
        }
        log.info(
            "step %d/%d  loss %.4f  nll %.4f  ppl %.2f  rate %.3g  gradient %.2f  %s target tokens/s",
            step,
            self._steps,
            means["loss"],
            means["nll"],
            math.exp(min(means["nll"], 700)),
            means["learning_rate"],
            means["gradient_norm"],
            f"{means['tokens_per_second']:,.0f}",
        )
        self._writer.write(step, means)


def short_names(corpora: Sequence[str]) -> list[str]:
    """Returns a unique name for each corpus: the last part of its path, else the whole path, else with a number."""
    ends = [Path(corpus).name for corpus in corpora]
    names = ends if len(set(ends)) == len(ends) else list(corpora)
    if len(set(names)) == len(names):
        return names
    return [f"{number}:{name}" for number, name in enumerate(names, 1)]


def log_compilations(update: Update) -> Update:
    """Returns the update, which then logs the time of the first call for each shape of batches."""
    seen: set[tuple[int, ...]] = set()

    def update_and_log(state: TrainState, batch: Batch) -> tuple[TrainState, UpdateMetrics]:
        began = time.perf_counter()
        result = update(state, batch)  # returns when it is compiled, before it is computed
        if batch.source.shape not in seen:
            seen.add(batch.source.shape)
            rows, length = batch.source.shape
            log.info("compiled the update for batches of %dx%d in %.1f s", rows, length, time.perf_counter() - began)
        return result

    return update_and_log

"""The metrics of a run: lines and warnings on stderr, metrics.jsonl, TensorBoard, and a progress bar on a terminal."""

import json
import logging
import math
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Self

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from transformer.config import Train
from transformer.errors import DivergenceError, cannot_write
from transformer.files.atomic import write_file
from transformer.run.run_dir import read_metrics
from transformer.run.tensorboard import TensorBoardWriter
from transformer.training.update import UpdateMetrics

log = logging.getLogger(__name__)

METRICS = ("kl", "nll", "tokens", "gradient_norm", "learning_rate")  # of an update; a line of the log needs them
LINE = (
    "loss {loss:.4f}  nll {nll:.4f}  ppl {perplexity:.2f}  rate {learning_rate:.3g}  gradient {gradient_norm:.2f}"
    "  {tokens_per_second:,.0f} target tokens/s"
)

SKIPPED_IN_A_ROW = 20  # consecutive updates without a finite loss after which training ends
RECENT = 10  # latest updates, whose mean loss is compared with that of earlier updates
MIN_HISTORY = 100  # earlier updates that are needed for the comparison
DECAY = 0.99  # of the exponential mean of earlier losses
DEVIATIONS = 5  # standard deviations above the earlier mean that count as a jump


class MetricsWriter:
    """Writes the metrics to metrics.jsonl and for TensorBoard. A resumed run omits no step and writes none twice."""

    def __init__(self, run_dir: Path, step: int, steps: int, validated: int):
        """Continues the files of a run that is at `step` of `steps`; `validated` is the step of its last validation.

        Removes the lines of later steps, which an interrupted run may have written.
        """
        self.path = run_dir / "metrics.jsonl"
        lines = list(read_metrics(self.path))
        latest = max([step, *(metrics["step"] for metrics, _ in lines)])
        self.lost = latest - step  # number of steps that have lines, but are after the checkpoint and so repeated
        kept = [line for metrics, line in lines if metrics["step"] <= (validated if "valid_nll" in metrics else step)]
        write_file(self.path, "".join(kept))
        self._pending = b""  # lines that could not be written yet because the disk was full
        self._exit = ExitStack()
        self._file = self._exit.enter_context(self.path.open("ab", buffering=0))
        self._tensorboard = self._exit.enter_context(closing(TensorBoardWriter(run_dir / "tensorboard", step)))
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._bar = self._exit.enter_context(bar)
        self._task = bar.add_task("", total=steps, completed=step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._write_pending()
        self._exit.close()

    def advance(self, step: int) -> None:
        self._bar.update(self._task, completed=step)

    def flush(self) -> None:
        """Flushes all lines to the disk, so that a checkpoint never has later steps than metrics.jsonl.

        Raises ResourceError if that fails.
        """
        try:
            self._write_pending()
            os.fsync(self._file.fileno())
        except OSError as problem:
            raise cannot_write(self.path, problem) from problem
        self._tensorboard.flush()

    def write(self, step: int, metrics: Mapping[str, float], texts: Mapping[str, str] = MappingProxyType({})) -> None:
        """Writes a line of metrics.jsonl, with null for NaN and infinity, and the finite values for TensorBoard.

        The texts are written to metrics.jsonl only.
        """
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._pending += (json.dumps({"step": step, **dict.fromkeys(metrics), **finite, **texts}) + "\n").encode()
        with suppress(OSError):  # `flush` raises the error if the disk is still full
            self._write_pending()
        self._tensorboard.write(step, finite)

    def _write_pending(self) -> None:
        while self._pending:
            self._pending = self._pending[self._file.write(self._pending) :]


class MetricsAccumulator:
    """Collects the metrics of updates on the device, and logs their means every `train.log_every` steps."""

    def __init__(
        self, writer: MetricsWriter, settings: Train, padding: float, pending: list[dict[str, float]], seconds: float
    ):
        """`pending`: metrics of updates that were not logged yet when the run stopped. `seconds`: the time they took.

        Metrics that the version which stored `pending` did not have are NaN here, and null in metrics.jsonl.
        """
        self._writer, self._steps, self._log_every, self._padding = writer, settings.steps, settings.log_every, padding
        self._monitor = LossMonitor()
        self._before = [dict.fromkeys(METRICS, math.nan) | {"skipped": 0.0} | metrics for metrics in pending]
        self._on_device: list[UpdateMetrics] = []
        self._seconds = seconds
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time of the `with` block from the training time."""
        self._seconds += time.perf_counter() - self._since
        yield
        self._since = time.perf_counter()

    def add(self, step: int, metrics: UpdateMetrics) -> None:
        """Adds the metrics of an update, and logs a line if one is due.

        When it logs a line, raises DivergenceError if many consecutive updates were skipped.
        """
        if self._on_device:
            jax.block_until_ready(self._on_device[-1])  # the host is at most one update ahead of the device
        self._on_device.append(metrics)
        self._writer.advance(step)
        if step % self._log_every == 0 or step == self._steps:
            self._log(step)

    def pending(self) -> tuple[list[dict[str, float]], float]:
        """Returns the metrics of each update since the last logged line, by name, and the seconds that these took."""
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
        perplexity = math.exp(min(means["nll"], 700))
        log.info("step %d/%d  %s", step, self._steps, LINE.format(**means, perplexity=perplexity))
        self._writer.write(step, means)


class LossMonitor:
    """Warns if an update is skipped, or if the mean loss of the latest updates is far above that of earlier ones."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._history, self._mean, self._variance = 0, 0.0, 0.0
        self._is_high = False

    def add(self, step: int, loss: float, skipped: int) -> None:
        """Adds the loss of an update, in nats per token.

        `skipped` is the number of consecutive skipped updates, this one included; 0: it was not skipped. Raises
        DivergenceError if that number reaches SKIPPED_IN_A_ROW.
        """
        if skipped:
            log.warning("warning: step %d: the loss or its gradient is NaN or infinite; this update is skipped", step)
            if skipped >= SKIPPED_IN_A_ROW:
                raise DivergenceError(
                    f"step {step}: {skipped} updates in a row without a finite loss; the checkpoints before them are"
                    " kept; lower train.learning_rate or train.clip_norm (--allow-config-change, or a new run_dir)"
                )
            return
        if len(self._recent) == RECENT:
            # the mean and variance of earlier losses, weighted exponentially (Finch 2009, "Incremental calculation of
            # weighted mean and variance")
            rate = max(1 - DECAY, 1 / (self._history + 1))
            difference = self._recent.popleft() - self._mean
            self._mean += rate * difference
            self._variance = (1 - rate) * (self._variance + rate * difference**2)
            self._history += 1
        self._recent.append(loss)
        level = math.fsum(self._recent) / len(self._recent)
        was_high = self._is_high
        self._is_high = self._history >= MIN_HISTORY and level > self._mean + DEVIATIONS * math.sqrt(self._variance)
        if self._is_high and not was_high:
            log.warning("warning: step %d: the loss has jumped from %.3f to %.3f", step, self._mean, level)

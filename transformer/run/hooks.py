"""The work between the updates of a run: metrics, validation, the best model, checkpoints, early stopping.

A run that is stopped at any moment loses few updates, and ends with the same bits as an uninterrupted one.
"""

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax import Array

from transformer.config import Config
from transformer.data.batches import Batch
from transformer.errors import DivergenceError, Interrupted, Preempted, ResourceError, UsageError
from transformer.run.checkpoints import Checkpoints, TrainingProgress
from transformer.run.metrics import MetricsAccumulator, MetricsWriter, short_names
from transformer.run.signals import StopRequest, handling
from transformer.training.loop import Setup
from transformer.training.sharding import put_batch
from transformer.training.update import TrainState, UpdateMetrics, all_finite
from transformer.training.validation import quality, validate
from transformer.translation.model_config import ModelConfig
from transformer.translation.model_dir import load_model, read_model_config, save_model
from transformer.translation.translator import Translator

log = logging.getLogger(__name__)

MAX_FAILED_SAVES = 3  # in a row, after which training ends


class WorkInterrupted(BaseException):
    """A signal has interrupted work that can be repeated. Like KeyboardInterrupt, no `except Exception` catches it."""


@dataclass
class RunHooks:
    """The `Hooks` of a run."""

    setup: Setup
    origin: dict[str, str]  # see resume.origin
    measure: str  # see resume.measure
    checkpoints: Checkpoints
    writer: MetricsWriter
    metrics: MetricsAccumulator
    stop: StopRequest
    environment: dict[str, Any]
    progress: TrainingProgress
    failed_saves: int = 0  # since the last save that succeeded

    def before_first_update(self, step: int, state: TrainState) -> None:
        """Repeats a validation that a signal interrupted, or validates the model that training starts from."""
        if step or self.progress.validated < 0:
            self.after_update(step, state)

    def should_stop(self, step: int, state: TrainState) -> bool:
        """Whether the last train.patience validations found no better model. If so, saves. Raises ResourceError."""
        if not 0 < self.setup.config.train.patience <= self.progress.without_better:
            return False
        log.info("no better model in %d validations: training ends", self.progress.without_better)
        if step not in self.checkpoints.steps:
            self._save(step, state, must_succeed=True)
        return True

    @contextmanager
    def guard(self, batch: Batch[Any]) -> Iterator[None]:
        """Raises ResourceError if the device has too little memory for this update, or for the one before it."""
        try:
            yield
        except jax.errors.JaxRuntimeError as problem:
            if "RESOURCE_EXHAUSTED" not in str(problem):
                raise
            (rows, length), settings = batch.target.shape, self.setup.config.train
            raise ResourceError(
                f"out of memory in an update of {rows} x {length} target positions; lower train.batch_tokens"
                f" ({settings.batch_tokens}), or raise train.accumulate ({settings.accumulate})"
            ) from problem

    def record(self, step: int, metrics: UpdateMetrics) -> None:
        """Adds the metrics of an update. Raises DivergenceError."""
        self.metrics.add(step, metrics)

    def after_update(self, step: int, state: TrainState) -> None:
        """Validates and saves if that is due after this step.

        Raises Preempted or Interrupted after saving, if a signal has asked to stop; DivergenceError; ResourceError.
        """
        with self.metrics.paused():
            self._after_update(step, state)

    def _after_update(self, step: int, state: TrainState) -> None:
        settings = self.setup.config.train
        is_last = step == settings.steps
        to_validate = (is_last or step % settings.eval_every == 0) and self.progress.validated < step
        if to_validate:
            self._check_finite(step, state)
            try:
                self._validate(step, state)
            except WorkInterrupted:
                log.info("the validation of step %d is postponed", step)
        is_asked = self.stop.signal is not None  # a signal that comes later is for the next update
        to_save = step % settings.save_every == 0 and step not in self.checkpoints.steps
        if to_validate or to_save or is_asked:
            self._save(step, state, must_succeed=is_last or is_asked)
        if is_asked and not (is_last and self.progress.validated == step):
            raise stop_error(self.stop, step, settings.steps)

    def _validate(self, step: int, state: TrainState) -> None:
        """Evaluates the model, and writes it to RUN/model if it is the best so far. Raises WorkInterrupted."""
        config, data, before = self.setup.config, self.setup.data, self.progress
        model = state.model if state.average is None else state.average
        model_config = ModelConfig.from_config(config, data.tokenizers)
        began = time.perf_counter()
        with self.stop.interruptible(True):
            translator = Translator(model, data.tokenizers, model_config)
            names = short_names(config.data.valid)
            result = validate(model, data.valid, self._valid_batches, translator, config.train.best_corpus, names)
        value = quality(result.metrics, config.train)
        is_best = value > (-math.inf if before.best is None or before.measure != self.measure else before.best)
        seconds = time.perf_counter() - began
        best = "  best so far" if is_best else ""
        scores = "nll %(nll).4f  BLEU %(bleu).2f  chrF %(chrf).2f"
        log.info("step %d  valid %s%s  (%.1f s)  %s", step, scores % result.decisive, best, seconds, result.example)
        if len(result.corpora) > 1:
            for name, metrics in result.corpora.items():
                log.info("step %d  valid %s  of %s", step, scores % metrics, name)
        if is_best:
            save_model(config.directory / "model", model, data.tokenizers, model_config)
            self.progress = TrainingProgress(best=value, best_step=step, measure=self.measure, validated=step)
        else:
            self.progress = replace(before, without_better=before.without_better + 1, validated=step)
        self.writer.write(step, result.metrics)

    def _valid_batches(self, corpus: int) -> Iterator[Batch[Array]]:
        return (put_batch(batch, self.setup.mesh) for batch in self.setup.valid[corpus].in_order())

    def _check_finite(self, step: int, state: TrainState) -> None:
        if not all_finite(state):
            raise DivergenceError(
                f"step {step}: a weight is NaN or infinite; the last checkpoint before that is in"
                f" {self.checkpoints.directory}; lower train.learning_rate"
            )

    def _save(self, step: int, state: TrainState, *, must_succeed: bool) -> None:
        self._check_finite(step, state)
        if state.skipped and not must_succeed:
            return  # so that a run that diverges can be resumed from before the skipped updates, with a lower rate
        pending, seconds = self.metrics.pending()
        progress = replace(self.progress, pending=pending, pending_seconds=seconds)
        try:
            self.writer.flush()
            self.checkpoints.save(step, state, progress, self.environment, self.origin)
        except ResourceError as problem:
            self.failed_saves += 1
            if must_succeed or self.failed_saves == MAX_FAILED_SAVES:
                raise
            log.warning("warning: %s; training continues", problem)
        else:
            self.failed_saves = 0


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """SIGTERM and Ctrl-C ask the training inside to save and stop; a second signal ends the process."""
    stop = StopRequest(lambda number: WorkInterrupted(), interruptible=False, message="saving, then stopping")
    with handling(stop):
        yield stop


def stop_error(stop: StopRequest, step: int, steps: int) -> Preempted:
    """Returns the error, with its exit code, for a run that a signal has stopped."""
    kind = Interrupted if stop.signal == signal.SIGINT else Preempted
    if step == 0:
        return kind("stopped by a signal before the first update; the same command starts again")
    return kind(f"stopped by a signal at step {step} of {steps}, saved; the same command resumes from there")


def update_about(config: Config) -> None:
    """Updates [about] in RUN/model, which may have been saved with an older one."""
    place = config.directory / "model"
    if not (place / "config.json").exists():
        return
    try:
        if read_model_config(place / "config.json").about == config.about:
            return
        model, tokenizers, model_config = load_model(place)
    except UsageError as problem:  # the next best model replaces it
        log.warning("warning: %s", problem)
        return
    save_model(place, model, tokenizers, model_config.model_copy(update={"about": config.about}))

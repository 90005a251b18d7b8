"""The updates of a run, and the work between them: metrics, validation, the best model, checkpoints, early stopping.

A run can be stopped at any moment. It then loses only the updates since its last checkpoint, and when it is resumed, it
ends with the same bits as a run that was not stopped.
"""

import logging
import math
import signal
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from transformer.config import Config
from transformer.data.batches import Batch
from transformer.errors import DivergenceError, Interrupted, Preempted, ResourceError, UsageError
from transformer.evaluation.bleu_tokenizer import bleu_tokenizer
from transformer.run.checkpoints import Checkpoints, TrainingProgress
from transformer.run.low_bleu import low_bleu_reason
from transformer.run.metrics import MetricsAccumulator, MetricsWriter
from transformer.run.run_dir import read_metrics
from transformer.run.signals import StopRequest, handling
from transformer.training.loop import Setup
from transformer.training.update import TrainState, Update, all_finite
from transformer.training.validation import quality, validate
from transformer.translation.model_config import ModelConfig
from transformer.translation.model_dir import load_model, read_model_config, save_model

log = logging.getLogger(__name__)

MAX_FAILED_SAVES = 3  # consecutive failed saves after which training ends


class WorkInterrupted(BaseException):
    """A signal has interrupted work that can be repeated. Like KeyboardInterrupt, it is not a subclass of Exception."""


@dataclass
class RunHooks:
    """Makes the updates of a run, and does the work that follows each of them."""

    setup: Setup
    jitted_update: Update
    origin: dict[str, str]  # see resume.origin
    measure: str  # see resume.measure
    checkpoints: Checkpoints
    writer: MetricsWriter
    metrics: MetricsAccumulator
    stop: StopRequest
    environment: dict[str, Any]
    progress: TrainingProgress
    failed_saves: int = 0  # since the last save that succeeded
    compiled: set[tuple[int, int]] = field(default_factory=set)  # shapes of batches for which the update is compiled

    def update(self, step: int, state: TrainState, batch: Batch[Any]) -> TrainState:
        """Makes an update, and records its metrics. Logs how long each new shape of batches took to compile.

        Raises DivergenceError after many consecutive skipped updates, and ResourceError if the device has too little
        memory for this update or the one before it.
        """
        (rows, length), settings, began = batch.target.shape, self.setup.config.train, time.perf_counter()
        try:
            state, metrics = self.jitted_update(state, batch)  # returns when the update is compiled, not yet computed
            if (rows, length) not in self.compiled:
                self.compiled.add((rows, length))
                seconds = time.perf_counter() - began
                log.info("compiled the update for batches of %dx%d in %.1f s", rows, length, seconds)
            self.metrics.add(step, metrics)
        except jax.errors.JaxRuntimeError as problem:
            if "RESOURCE_EXHAUSTED" not in str(problem):
                raise
            raise ResourceError(
                f"out of memory in an update of {rows} x {length} target positions; lower train.batch_tokens"
                f" ({settings.batch_tokens}), or raise train.accumulate ({settings.accumulate})"
            ) from problem
        return state

    def after_update(self, step: int, state: TrainState) -> bool:
        """Validates and saves if that is due after this step, and was not done before the run was resumed.

        Returns whether training ends early because the last train.patience validations found no better model. Raises
        Preempted or Interrupted, after saving, if a signal has asked to stop; DivergenceError if a weight is NaN or
        infinite; ResourceError if a file cannot be written.
        """
        settings = self.setup.config.train
        if step == 0 and self.progress.validated == 0:  # only the model of train.init_from (-1) is validated first
            return False
        is_last = step == settings.steps
        with self.metrics.paused():
            to_validate = (is_last or step % settings.eval_every == 0) and self.progress.validated < step
            if to_validate:
                self._check_finite(step, state)
                try:
                    self._validate(step, state)
                except WorkInterrupted:
                    log.info("the validation of step %d is postponed", step)
            is_asked = self.stop.signal is not None  # a later signal is handled after the next update
            ends_early = not is_last and 0 < settings.patience <= self.progress.without_better
            to_save = step % settings.save_every == 0 and step not in self.checkpoints.steps
            if to_validate or to_save or is_asked:
                self._save(step, state, must_succeed=is_last or is_asked or ends_early)
        if is_asked and not (is_last and self.progress.validated == step):
            raise stop_error(self.stop, step, settings.steps)
        if ends_early:
            log.info("no better model in %d validations: training ends", self.progress.without_better)
        return ends_early

    def _validate(self, step: int, state: TrainState) -> None:
        """Evaluates the model, and writes it to RUN/model if it is the best so far.

        Raises WorkInterrupted if a signal arrives during the evaluation.
        """
        config, data, before = self.setup.config, self.setup.data, self.progress
        model = state.model if state.average is None else state.average
        model_config = ModelConfig.from_config(config, data.tokenizers)
        began = time.perf_counter()
        with self.stop.interruptible(True):
            result = validate(self.setup, model, model_config)
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
        self.writer.write(step, result.metrics, {"valid_bleu_signature": result.bleu_signature})
        history = [metrics for metrics, _ in read_metrics(self.writer.path) if "valid_nll" in metrics]
        if reason := low_bleu_reason(history, result.few_tokens):
            tokenizer = bleu_tokenizer(config.data.target, config.train.bleu_tokenizer)
            log.warning("warning: BLEU is near 0 with the tokenizer %s, although nll falls: %s", tokenizer, reason)

    def _check_finite(self, step: int, state: TrainState) -> None:
        if not all_finite(state):
            raise DivergenceError(
                f"step {step}: a weight is NaN or infinite; the last checkpoint before that is in"
                f" {self.checkpoints.directory}; lower train.learning_rate"
            )

    def _save(self, step: int, state: TrainState, *, must_succeed: bool) -> None:
        self._check_finite(step, state)
        if state.skipped and not must_succeed:
            # This keeps the last checkpoint before the skipped updates: a run that diverges can be resumed from it with
            # a lower learning rate.
            return
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


def stop_on_signal() -> AbstractContextManager[StopRequest]:
    """In the `with` block, SIGTERM and Ctrl-C ask the training to save and stop. A second signal ends the process."""
    return handling(StopRequest(lambda number: WorkInterrupted(), interruptible=False, message="saving, then stopping"))


def stop_error(stop: StopRequest, step: int, steps: int) -> Preempted:
    """Returns the error, with its exit code, for a run that a signal has stopped."""
    kind = Interrupted if stop.signal == signal.SIGINT else Preempted
    if step == 0:
        return kind("stopped by a signal before the first update; the same command starts again")
    return kind(f"stopped by a signal at step {step} of {steps}, saved; the same command resumes from there")


def update_about(config: Config) -> None:
    """Updates [about] in RUN/model to that of the config, which may have changed since the model was saved."""
    place = config.directory / "model"
    try:
        if (place / "config.json").exists() and read_model_config(place / "config.json").about != config.about:
            model, tokenizers, model_config = load_model(place)
            save_model(place, model, tokenizers, model_config.model_copy(update={"about": config.about}))
    except UsageError as problem:  # the model is damaged; the next best model will replace it
        log.warning("warning: %s", problem)

"""What is due after an update: to validate, to keep the best model, to save what resuming needs."""

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jax.sharding import Mesh
from safetensors import SafetensorError

from transformer.config import Config
from transformer.data.batches import Batches
from transformer.data.prepare import Prepared
from transformer.errors import Diverged, SystemProblem
from transformer.model.transformer import Transformer
from transformer.model_dir import Card, save_model
from transformer.training.checkpoint import Checkpoints, Progress
from transformer.training.log import Journal, Meter
from transformer.training.sharding import put_batch
from transformer.training.signals import Abandoned, Stop
from transformer.training.state import TrainState, all_finite
from transformer.training.validation import quality, validate
from transformer.translator import Translator

log = logging.getLogger(__name__)

FAILED_SAVES = 3  # in a row, after which a training ends


class Run(NamedTuple):
    """What stays the same from the first update to the last."""

    config: Config
    corpus: Prepared
    batches: Batches
    valid: Batches
    mesh: Mesh
    origin: dict[str, str]  # of what its checkpoints are

    @property
    def card(self) -> Card:
        """What its models are."""
        tokenizers, settings = self.corpus.tokenizers, self.config.data
        return Card(
            source=settings.source,
            target=settings.target,
            source_vocabulary=tokenizers.source.vocab_size,
            target_vocabulary=tokenizers.target.vocab_size,
            max_length=settings.max_length,
            model=self.config.model,
            decode=self.config.decode,
        )


@dataclass
class Keeper:
    """Sees to it that a run which is stopped, at whatever moment, loses little and ends as if it had not been."""

    run: Run
    checkpoints: Checkpoints
    journal: Journal
    meter: Meter
    stop: Stop
    environment: dict[str, Any]
    progress: Progress
    failures: list[SystemProblem] = field(default_factory=list)  # of saving, since it last went well

    def after(self, step: int, state: TrainState) -> None:
        """What is due after the update `step`, also where a signal cut it off the last time.

        Raises Preempted when a signal asks to stop, once all is saved; Diverged; SystemProblem for a full disk.
        """
        settings = self.run.config.train
        last = step == settings.steps
        to_validate = (last or step % settings.eval_every == 0) and self.progress.validated < step
        if to_validate:
            self._check_finite(step, state)
            try:
                self._validate(step, state)
            except Abandoned:
                log.info("the validation of step %d is left for later", step)
        to_save = step % settings.save_every == 0 and step not in self.checkpoints.steps
        if to_validate or to_save or self.stop.is_asked:
            self._save(step, state, must_succeed=last or self.stop.is_asked)
        if self.stop.is_asked and not (last and self.progress.validated == step):
            raise self.stop.error(step, settings.steps)

    def _validate(self, step: int, state: TrainState) -> None:
        """Scores the model, and keeps it in RUN/model if it is the best so far. Raises Abandoned."""
        run, before = self.run, self.progress
        model = state.model if state.average is None else state.average
        began = time.perf_counter()
        with self.stop.may_cut():
            batches = (put_batch(batch, run.mesh) for batch in run.valid.in_order())
            translator = Translator(model, run.corpus.tokenizers, run.card)
            metrics, example = validate(model, batches, translator, run.corpus.valid_pairs)
        value = quality(metrics, run.config.train)
        measure = f"{run.config.train.best_metric} of {', '.join(run.config.data.valid)}"
        is_best = value > (-math.inf if before.best is None or before.measure != measure else before.best)
        log.info(
            "step %d  valid nll %.4f  BLEU %.2f  chrF %.2f%s  (%.1f s)  %s",
            step, metrics["valid_nll"], metrics["valid_bleu"], metrics["valid_chrf"],
            "  best so far" if is_best else "", time.perf_counter() - began, example,
        )  # fmt: skip
        if is_best:
            self._keep(step, model)
            self.progress = Progress(best=value, best_step=step, measure=measure, validated=step)
        else:
            self.progress = before._replace(without_better=before.without_better + 1, validated=step)
        self.journal.write(step, **metrics)

    def _keep(self, step: int, model: Transformer) -> None:
        place = self.run.config.directory / "model"
        try:
            save_model(place, model, self.run.corpus.tokenizers, self.run.card)
        except (OSError, SafetensorError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else problem
            raise SystemProblem(
                f"the model of step {step} cannot be saved in {place}: {reason}; make room, and run the same command"
                " again: it goes on from the checkpoint before"
            ) from problem

    def end(self, step: int, state: TrainState) -> None:
        """What is due when a run ends before its last step. Raises SystemProblem for a full disk."""
        if step not in self.checkpoints.steps:
            self._save(step, state, must_succeed=True)

    def _check_finite(self, step: int, state: TrainState) -> None:
        if not all_finite(state):
            raise Diverged(
                f"step {step}: a weight is not finite any more; the last good checkpoint is in"
                f" {self.checkpoints.directory}; lower train.learning_rate"
            )

    def _save(self, step: int, state: TrainState, *, must_succeed: bool) -> None:
        self._check_finite(step, state)
        if state.skipped and not must_succeed:
            return  # who lowers the learning rate of a run that diverges goes on from before
        untold, seconds = self.meter.untold()
        progress = self.progress._replace(untold=untold, untold_seconds=seconds)
        try:
            self.journal.flush()
            self.checkpoints.save(step, state, progress, self.environment)
        except SystemProblem as problem:
            self.failures.append(problem)
            if must_succeed or len(self.failures) == FAILED_SAVES:
                raise
            log.warning("%s; training goes on", problem)
        else:
            self.failures.clear()

"""What is due after an update: to validate, to keep the best model, to save what resuming needs."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from jax import Array
from jax.sharding import Mesh
from safetensors import SafetensorError

from transformer.config import ALL, Config
from transformer.data.batches import Batch, Batches
from transformer.data.prepare import Corpora, Prepared
from transformer.data.tokenizer import Tokenizers
from transformer.errors import Diverged, SystemProblem, UsageError
from transformer.model.transformer import Transformer
from transformer.model_dir import Card, load_model, read_card, save_model
from transformer.training.checkpoint import Checkpoint, Checkpoints, Progress
from transformer.training.log import Journal, Meter
from transformer.training.resume import origin
from transformer.training.run_dir import CorpusRecord, DataRecord, same_contents
from transformer.training.sharding import put_batch
from transformer.training.signals import Abandoned, Stop
from transformer.training.state import TrainState, all_finite
from transformer.training.validation import measure, quality, validate
from transformer.translator import Translator

log = logging.getLogger(__name__)

FAILED_SAVES = 3  # in a row, after which a training ends


class Run(NamedTuple):
    """What stays the same from the first update to the last."""

    config: Config
    corpora: Corpora
    corpus: Prepared
    batches: Batches
    valid: list[Batches]  # of each validation corpus
    mesh: Mesh
    recorded: DataRecord | None  # what the run recorded before it was resumed

    @property
    def origin(self) -> dict[str, str]:
        """The sha256 digests of the tokenizers and training corpora that the weights are trained with."""
        return origin(self.corpora, self.corpus.tokenizers)

    @property
    def measure(self) -> str:
        """Identifies how models are compared: the metric and the validation corpora."""
        return measure(self.config, self.corpora.valid)

    def comparable(self, checkpoint: Checkpoint) -> Progress:
        """The progress of a checkpoint, without its best score if that cannot be compared with those of this run.

        Format 1 recorded the validation corpora by their paths. Its scores can be compared if the content is the same.
        """
        progress, settings = checkpoint.progress, self.config.train
        if checkpoint.format == 1:
            metric, _, _ = progress.measure.partition(" of ")
            is_of_all = settings.best_corpus == ALL or len(self.corpora.valid) == 1
            if metric == settings.best_metric and is_of_all and same_contents(self.old_valid, self.corpora.valid):
                progress = replace(progress, measure=self.measure)
        if progress.best is None or progress.measure == self.measure:
            return progress
        log.info("the validation corpora or the metric have changed: step %d is validated again", checkpoint.step)
        return replace(progress, best=None, without_better=0, validated=min(progress.validated, checkpoint.step - 1))

    @property
    def old_valid(self) -> list[CorpusRecord]:
        """The validation corpora of the scores in checkpoints of format 1."""
        return [] if self.recorded is None else self.recorded.valid_of_format_1

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
            about=self.config.about,
        )


def update_about(config: Config) -> None:
    """Gives the model of a run the [about] of its config, which may have changed since the model was saved."""
    place = config.directory / "model"
    if not (place / "config.json").exists():
        return
    try:
        if read_card(place / "config.json").about == config.about:
            return
        model, tokenizers, card = load_model(place)
    except UsageError as problem:  # the next best model replaces it
        log.warning("warning: %s", problem)
        return
    card = card.model_copy(update={"about": config.about})
    _save_model("the model with its new [about]", place, model, tokenizers, card)


def _save_model(what: str, place: Path, model: Transformer, tokenizers: Tokenizers, card: Card) -> None:
    """Raises SystemProblem for a full disk."""
    try:
        save_model(place, model, tokenizers, card)
    except (OSError, SafetensorError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise SystemProblem(
            f"{what} cannot be saved in {place}: {reason}; make room, and run the same command again: it resumes from"
            " the last checkpoint"
        ) from problem


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
            translator = Translator(model, run.corpus.tokenizers, run.card)
            found = validate(model, run.corpus.valid, self._valid_batches, translator, run.config.train.best_corpus)
        value = quality(found.metrics, run.config.train)
        is_best = value > (-math.inf if before.best is None or before.measure != run.measure else before.best)
        scores = "nll %(nll).4f  BLEU %(bleu).2f  chrF %(chrf).2f"
        seconds = time.perf_counter() - began
        log.info(
            "step %d  valid %s%s  (%.1f s)  %s",
            step, scores % found.decisive, "  best so far" if is_best else "", seconds, found.example,
        )  # fmt: skip
        if len(found.corpora) > 1:
            for name, metrics in found.corpora.items():
                log.info("step %d  valid %s  of %s", step, scores % metrics, name)
        if is_best:
            place = run.config.directory / "model"
            _save_model(f"the model of step {step}", place, model, run.corpus.tokenizers, run.card)
            self.progress = Progress(best=value, best_step=step, measure=run.measure, validated=step)
        else:
            self.progress = replace(before, without_better=before.without_better + 1, validated=step)
        self.journal.write(step, found.metrics)

    def _valid_batches(self, corpus: int) -> Iterator[Batch[Array]]:
        return (put_batch(batch, self.run.mesh) for batch in self.run.valid[corpus].in_order())

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
        pending, seconds = self.meter.pending()
        progress = replace(self.progress, pending=pending, pending_seconds=seconds)
        try:
            self.journal.flush()
            self.checkpoints.save(step, state, progress, self.environment, self.run.origin)
        except SystemProblem as problem:
            self.failures.append(problem)
            if must_succeed or len(self.failures) == FAILED_SAVES:
                raise
            log.warning("%s; training goes on", problem)
        else:
            self.failures.clear()

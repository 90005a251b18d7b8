"""Starts or resumes the run of a config: checks it, prepares data and state, and runs the loop (training/loop.py)."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from transformer.config import Config
from transformer.config.train import ALL
from transformer.data.prepare import Corpora, given_tokenizers, open_all, prepare
from transformer.errors import reporting_full_disk
from transformer.evaluation.bleu_tokenizer import bleu_tokenizer, check_bleu_tokenizer
from transformer.files.model_files import clear_leftovers
from transformer.model.parameter_count import parameter_table
from transformer.run import initial_model, resume, run_dir
from transformer.run.checkpoints import Checkpoint, Checkpoints, TrainingProgress, newest_manifest, recover
from transformer.run.environment import environment, record_environment, report_differences
from transformer.run.hooks import RunHooks, WorkInterrupted, stop_error, stop_on_signal, update_about
from transformer.run.metrics import MetricsAccumulator, MetricsWriter
from transformer.run.resume import measure
from transformer.run.run_dir import CorpusRecord, DataRecord, same_contents
from transformer.run.signals import StopRequest
from transformer.training.loop import Setup, jit_update, make_initial_state, make_setup, run_updates, state_shapes
from transformer.training.sharding import make_mesh
from transformer.training.update import TrainState

log = logging.getLogger(__name__)


def train(config: Config, *, allow_changes: bool = False) -> None:
    """Trains the run of a config, or resumes it from its newest checkpoint.

    With `allow_changes`, settings that affect the result (`Effect.CHANGES_RESULT`) may differ from those that the run
    started with. Raises the errors of errors.py; among them Preempted or Interrupted, after saving, if a signal has
    asked to stop.
    """
    with reporting_full_disk(config.directory), stop_on_signal() as stop, run_dir.lock(config.directory):
        try:
            with stop.interruptible(True):
                setup, corpora, recorded = _prepare(config, allow_changes=allow_changes)
        except WorkInterrupted:
            saved = run_dir.checkpoint_steps(config.directory / "checkpoints")
            raise stop_error(stop, max(saved, default=0), config.train.steps) from None
        progress = _train(setup, corpora, recorded, stop)
    log.info("finished: the best model, of step %d, is in %s", progress.best_step, config.directory / "model")


def _prepare(config: Config, *, allow_changes: bool) -> tuple[Setup, Corpora, DataRecord | None]:
    """Checks the run and prepares its data. This work can be interrupted and repeated."""
    checkpoints = config.directory / "checkpoints"
    recover(checkpoints)
    config = resume.with_record(config)
    mesh = make_mesh(config.mesh)
    config, tokenizers = initial_model.complete(config)
    # These checks come before any file of an existing run is replaced, so that a run that is refused is not changed.
    resume.check_settings(config, allow_changes=allow_changes)
    tokenizer = bleu_tokenizer(config.data.target, config.train.bleu_tokenizer)
    check_bleu_tokenizer(tokenizer, "--train.bleu-tokenizer", config.train.bleu_tokenizer)
    recorded = run_dir.read_data_record(config.directory)
    corpora = open_all(config)
    resume.check_corpora(config, recorded, corpora, allow_changes=allow_changes)
    tokenizers = given_tokenizers(config) or tokenizers
    resume.check_checkpoint(config, newest_manifest(checkpoints), corpora, tokenizers)
    clear_leftovers(config.directory / "model")
    data = prepare(config, corpora, config.directory / "data", tokenizers)
    log.info("BLEU of the validations: tokenizer %s of sacreBLEU (train.bleu_tokenizer)", tokenizer)
    return make_setup(config, data, mesh), corpora, recorded


def _train(setup: Setup, corpora: Corpora, recorded: DataRecord | None, stop: StopRequest) -> TrainingProgress:
    """Trains from the initial state, or from the newest checkpoint, to the end."""
    config, tokenizers = setup.config, setup.data.tokenizers
    shapes = state_shapes(setup)
    log.info("%s", parameter_table(shapes.model))
    checkpoints = Checkpoints(config.directory / "checkpoints", config.train.keep)
    now = environment(config.mesh)
    old_valid: Sequence[CorpusRecord] = ()
    if restored := checkpoints.restore(shapes):
        state, checkpoint = restored
        resume.check_checkpoint(config, checkpoint, corpora, tokenizers)
        report_differences(checkpoint.environment, now)
        if checkpoint.format == 1 and recorded is not None:
            old_valid = recorded.valid_of_format_1
        progress = comparable_progress(config, corpora, old_valid, checkpoint)
    else:
        state, progress = _initial(setup, shapes)
    run_dir.write_records(config, corpora, old_valid)
    update_about(config)
    step, settings = int(state.step), config.train
    record_environment(config.directory, step, now)
    with MetricsWriter(config.directory, step, settings.steps, progress.validated) as writer:
        if step:
            log.info("resumed from step %d (%d lost steps are repeated)", step, writer.lost)
        elif writer.lost:
            log.warning("warning: no checkpoint: the run starts again (%d lost steps are repeated)", writer.lost)
        metrics = MetricsAccumulator(
            writer, settings, setup.batches.padding(), progress.pending, progress.pending_seconds
        )
        origin, measured = resume.origin(corpora, tokenizers), measure(config, corpora.valid)
        update = jit_update(setup, shapes)
        hooks = RunHooks(setup, update, origin, measured, checkpoints, writer, metrics, stop, now, progress)
        run_updates(setup, state, hooks.update, hooks.after_update)
    return hooks.progress


def _initial(setup: Setup, shapes: TrainState) -> tuple[TrainState, TrainingProgress]:
    """Returns the state before the first update. The model of train.init_from is validated before that update."""
    if setup.config.train.init_from:
        weights = initial_model.weights(setup.config.directory, shapes.model)
        return make_initial_state(setup, shapes, weights), TrainingProgress(validated=-1)
    return make_initial_state(setup, shapes), TrainingProgress()


def comparable_progress(
    config: Config, corpora: Corpora, old_valid: Sequence[CorpusRecord], checkpoint: Checkpoint
) -> TrainingProgress:
    """Returns the progress of a checkpoint, without its best score if later scores are not comparable with it.

    Format 1 recorded the validation corpora by their paths. Its scores can be compared if the content is the same.
    """
    progress, settings, now = checkpoint.progress, config.train, measure(config, corpora.valid)
    if checkpoint.format == 1:
        metrics = [one.partition(" of ")[0] for one in (progress.measure, now)]
        is_of_all = settings.best_corpus == ALL or len(corpora.valid) == 1
        if metrics[0] == metrics[1] and is_of_all and same_contents(old_valid, corpora.valid):
            progress = replace(progress, measure=now)
    if progress.best is None or progress.measure == now:
        return progress
    log.info(
        "the validation corpora or the metric have changed: the best model is chosen again from step %d",
        checkpoint.step,
    )
    return replace(progress, best=None, without_better=0, validated=min(progress.validated, checkpoint.step - 1))

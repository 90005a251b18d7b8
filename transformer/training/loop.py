"""A run of training, in the order in which it happens."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from transformer.config import Config
from transformer.data.batches import Batch, Batches, choose_buckets, prefetch, row_multiple
from transformer.data.prepare import Corpora, Prepared, open_all, prepare
from transformer.data.tokenizer import load_tokenizers
from transformer.errors import SystemProblem, room_for
from transformer.model.table import parameter_table
from transformer.model_dir import clear_leftovers
from transformer.training import initial, resume, run_dir
from transformer.training.checkpoint import Checkpoints, Progress, newest_manifest, recover
from transformer.training.environment import environment, record_environment, report_differences
from transformer.training.keeper import Keeper, Run, update_about
from transformer.training.log import Journal, Meter
from transformer.training.sharding import make_mesh, put_batch, shardings
from transformer.training.signals import Abandoned, Stop, stop_on_signal
from transformer.training.state import Metrics, TrainState, Update, initial_state, make_update

log = logging.getLogger(__name__)


def train(config: Config, *, allow_changes: bool = False) -> None:
    """Trains the run of the config, or resumes it where it stopped.

    With `allow_changes`, also with changed settings that affect the result (`resume.CHANGING`). Raises the errors of
    errors.py; Preempted or Interrupted, after saving, when a signal asked to stop.
    """
    with room_for(config.directory), stop_on_signal() as stop, run_dir.hold(config.directory):
        try:
            with stop.may_cut():
                run = _begin(config, allow_changes=allow_changes)
        except Abandoned:
            saved = run_dir.steps_in(config.directory / "checkpoints")
            raise stop.error(max(saved, default=0), config.train.steps) from None
        progress = _train(run, stop)
    log.info("done: the best model, of step %d, is in %s", progress.best_step, config.directory / "model")


def _begin(config: Config, *, allow_changes: bool) -> Run:
    """Everything before the first update, all of which can be done again."""
    recover(config.directory / "checkpoints")
    config = resume.resumed(config)
    mesh = make_mesh(config.mesh)
    config, tokenizers = initial.complete(config)
    resume.check_settings(config, allow_changes=allow_changes)
    recorded = run_dir.read_data_record(config.directory)
    corpora = open_all(config)
    resume.check_corpora(config, recorded, corpora, allow_changes=allow_changes)
    if config.tokenizer.models:
        tokenizers = load_tokenizers(config.tokenizer.models)
    # Before any file is written, so that a refused run stays as it is; again when the tokenizers of a corpus are known.
    resume.check_checkpoint(config, newest_manifest(config.directory / "checkpoints"), corpora, tokenizers)
    clear_leftovers(config.directory / "model")
    corpus = prepare(config, corpora, config.directory / "data", tokenizers)
    return _plan(config, corpora, corpus, mesh, recorded)


def _train(run: Run, stop: Stop) -> Progress:
    """From the first state, or from that of the newest checkpoint, to the end."""
    make, shapes = _plan_state(run)
    log.info("%s", parameter_table(shapes.model))
    checkpoints = Checkpoints(run.config.directory / "checkpoints", run.config.train.keep)
    now, old_valid = environment(run.config.mesh), []
    if restored := checkpoints.restore(shapes):
        state, checkpoint = restored
        resume.check_checkpoint(run.config, checkpoint, run.corpora, run.corpus.tokenizers)
        report_differences(checkpoint.environment, now)
        progress = run.comparable(checkpoint)
        old_valid = run.old_valid if checkpoint.format == 1 else []
    else:
        state, progress = _first(run, make, shapes)
    run_dir.write_run(run.config, run.corpora, run.corpus.tokenizers, old_valid)
    update_about(run.config)
    update = _jitted_update(run, shapes)
    step, settings = int(state.step), run.config.train
    record_environment(run.config.directory, step, now)
    with Journal(run.config.directory, step, settings.steps, progress.validated) as journal:
        if step:
            log.info("resumed from step %d (lost %d steps)", step, journal.lost)
        elif journal.lost:
            log.warning("no checkpoint: the run begins again (lost %d steps)", journal.lost)
        meter = Meter(journal, settings, run.batches.padding(), progress.pending, progress.pending_seconds)
        keeper = Keeper(run, checkpoints, journal, meter, stop, now, progress)
        _update_all(run, state, update, keeper)
    return keeper.progress


def _plan(config: Config, corpora: Corpora, corpus: Prepared, mesh: Mesh, recorded: run_dir.DataRecord | None) -> Run:
    """Chooses the shapes of the batches, and says how full they will be."""
    multiple = row_multiple(mesh.shape["data"] * mesh.shape["fsdp"], config.train.accumulate)
    shapes = partial(
        choose_buckets, count=config.data.buckets, batch_tokens=config.train.batch_tokens, multiple=multiple
    )
    batches = Batches(corpus.train, shapes(corpus.train.lengths), config.seed)
    buckets = shapes(np.concatenate([part.examples.lengths for part in corpus.valid]))
    valid = [Batches(part.examples, buckets, config.seed) for part in corpus.valid]
    described = ", ".join(f"{bucket.rows}x{bucket.target}" for bucket in batches.buckets)
    log.info(
        "%d updates an epoch, batches of %s (rows x tokens), padding %.1f%%",
        batches.per_epoch, described, 100 * batches.padding(),
    )  # fmt: skip
    return Run(config, corpora, corpus, batches, valid, mesh, recorded)


def _plan_state(run: Run) -> tuple[Callable[..., TrainState], TrainState]:
    """What makes the first state, and the shapes of a state, each with its place on the mesh."""
    config, sides = run.config, run.corpus.tokenizers
    sizes = sides.source.vocab_size, sides.target.vocab_size
    make = _initial_state_function(config.model, config.train, config.seed, *sizes)
    shapes = jax.eval_shape(make)
    places = shardings(shapes, run.mesh)
    return make, jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places)


@cache  # as make_update: JAX traces and compiles a function once
def _initial_state_function(*settings: Any) -> Callable[..., TrainState]:
    return partial(initial_state, *settings)


def _first(run: Run, make: Callable[..., TrainState], shapes: TrainState) -> tuple[TrainState, Progress]:
    """The state before any update, spread over the mesh. That of a model to start from is still to be validated."""
    make = jax.jit(make, out_shardings=_places(shapes))
    if run.config.train.init_from:
        return make(weights=initial.weights(run.config.directory, shapes.model)), Progress(validated=-1)
    return make(), Progress()


def _jitted_update(run: Run, shapes: TrainState) -> Update:
    """The update, which keeps a state where it is."""
    update = jax.jit(
        make_update(run.config.train, run.config.seed), donate_argnums=0, out_shardings=(_places(shapes), None)
    )
    return _telling_compilations(update)


def _places(shapes: TrainState) -> TrainState:
    return jax.tree.map(lambda x: x.sharding, shapes)


def _telling_compilations(update: Update) -> Update:
    """Logs what the first batch of each shape costs: a call returns when it is compiled, before it is computed."""
    seen: set[tuple[int, ...]] = set()

    def call(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        began = time.perf_counter()
        result = update(state, batch)
        shape = batch.source.shape
        if shape not in seen:
            seen.add(shape)
            log.info("compiled the update for batches of %dx%d in %.1f s", *shape, time.perf_counter() - began)
        return result

    return call


def _update_all(run: Run, state: TrainState, update: Update, keeper: Keeper) -> None:
    """Every update that is left, each with what is due after it."""
    settings, first, meter = run.config.train, int(state.step), keeper.meter
    if first or keeper.progress.validated < 0:
        with meter.paused():
            keeper.after(first, state)  # a validation that a signal cut off, or that of a model to start from
    ahead = prefetch(lambda step: put_batch(run.batches(step), run.mesh), range(first, settings.steps))
    for step, batch in enumerate(ahead, first + 1):
        if 0 < settings.patience <= keeper.progress.without_better:
            log.info("no better model in %d validations: the training ends", keeper.progress.without_better)
            keeper.end(step - 1, state)
            break
        with _memory_for(batch, run.config):
            state, metrics = update(state, batch)
            meter.add(step, metrics)
        with meter.paused():
            keeper.after(step, state)


@contextmanager
def _memory_for(batch: Batch, config: Config) -> Iterator[None]:
    """Raises SystemProblem where an update of this batch, or of the one before, takes more memory than there is."""
    try:
        yield
    except jax.errors.JaxRuntimeError as problem:
        if "RESOURCE_EXHAUSTED" not in str(problem):
            raise
        rows, length = batch.target.shape
        raise SystemProblem(
            f"out of memory in an update of {rows} x {length} target positions; lower train.batch_tokens"
            f" ({config.train.batch_tokens}), or raise train.accumulate ({config.train.accumulate})"
        ) from problem

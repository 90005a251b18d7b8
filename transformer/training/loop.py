"""A run of training, in the order in which it happens."""

import logging
import time
from functools import partial
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from transformer.config import Config
from transformer.data.batches import Batch, Batches, choose_buckets, prefetch, row_multiple
from transformer.data.prepare import Prepared, prepare
from transformer.model.table import parameter_table
from transformer.model_dir import Card, save_model
from transformer.training.checkpoint import Checkpoints, Progress
from transformer.training.log import Journal, Meter
from transformer.training.run_dir import check_run, write_config
from transformer.training.sharding import make_mesh, put_batch, shardings
from transformer.training.signals import Stop, stop_on_signal
from transformer.training.state import Metrics, TrainState, Update, initial_state, make_update
from transformer.training.validation import quality, validate
from transformer.translator import Translator

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """What stays the same from the first update to the last."""

    config: Config
    corpus: Prepared
    batches: Batches
    valid: Batches
    mesh: Mesh


def train(config: Config) -> None:
    """Trains the run of the config, or goes on where it stopped.

    Raises the errors of errors.py; Preempted or Interrupted, after saving, when a signal asked to stop.
    """
    mesh = make_mesh(config.mesh)
    check_run(config)
    corpus = prepare(config, config.directory / "data")
    write_config(config)
    run = _plan(config, corpus, mesh)
    state, update = _start(run)
    log.info("%s", parameter_table(state.model))
    with (
        stop_on_signal() as stop,
        Checkpoints(config.directory / "checkpoints", config.train.keep) as checkpoints,
    ):
        state, progress = checkpoints.restore(state) or (state, Progress())
        if int(state.step):
            log.info("resumed from step %d", int(state.step))
        with Journal(config.directory, int(state.step), config.train.steps) as journal:
            progress = _update_all(run, state, update, progress, checkpoints, journal, stop)
    log.info("done: the best model, of step %d, is in %s", progress.best_step, config.directory / "model")


def _plan(config: Config, corpus: Prepared, mesh: Mesh) -> Run:
    """Chooses the shapes of the batches, and says how full they will be."""
    multiple = row_multiple(mesh.shape["data"] * mesh.shape["fsdp"], config.train.accumulate)
    shapes = partial(
        choose_buckets, count=config.data.buckets, batch_tokens=config.train.batch_tokens, multiple=multiple
    )
    batches = Batches(corpus.train, shapes(corpus.train.lengths), config.seed)
    valid = Batches(corpus.valid, shapes(corpus.valid.lengths), config.seed)
    described = ", ".join(f"{bucket.rows}x{bucket.target}" for bucket in batches.buckets)
    log.info(
        "%d updates an epoch, batches of %s (rows x tokens), padding %.1f%%",
        batches.per_epoch, described, 100 * batches.padding(),
    )  # fmt: skip
    return Run(config, corpus, batches, valid, mesh)


def _start(run: Run) -> tuple[TrainState, Update]:
    """The first state, spread over the mesh, and the update, which keeps it so."""
    tokenizers = run.corpus.tokenizers
    make = partial(initial_state, run.config, tokenizers.source.vocab_size, tokenizers.target.vocab_size)
    places = shardings(jax.eval_shape(make), run.mesh)
    update = jax.jit(make_update(run.config), donate_argnums=0, out_shardings=(places, None))
    return jax.jit(make, out_shardings=places)(), _telling_compilations(update)


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


def _update_all(
    run: Run,
    state: TrainState,
    update: Update,
    progress: Progress,
    checkpoints: Checkpoints,
    journal: Journal,
    stop: Stop,
) -> Progress:
    """Every update that is left, with its validations and checkpoints."""
    settings, first = run.config.train, int(state.step)
    meter = Meter(journal, settings.steps, settings.log_every, run.batches.padding())
    ahead = prefetch(lambda step: put_batch(run.batches(step), run.mesh), range(first, settings.steps))
    for step, batch in enumerate(ahead, first + 1):
        if 0 < settings.patience <= progress.without_better:
            log.info("no better model in %d validations: the training ends", progress.without_better)
            break
        state, metrics = update(state, batch)
        meter.add(step, metrics)
        last = step == settings.steps
        value = None
        with meter.paused():
            if last or step % settings.eval_every == 0:
                progress, value = _validate(run, state, step, progress, journal)
            if last or value is not None or stop.is_asked or step % settings.save_every == 0:
                checkpoints.save(step, state, progress, value)
        if stop.is_asked and not last:
            raise stop.error(step, settings.steps)
    return progress


def _validate(run: Run, state: TrainState, step: int, progress: Progress, journal: Journal) -> tuple[Progress, float]:
    """Scores the model, and keeps it in RUN/model if it is the best so far."""
    model = state.model if state.average is None else state.average
    tokenizers = run.corpus.tokenizers
    card = Card(
        source=run.config.data.source,
        target=run.config.data.target,
        source_vocabulary=tokenizers.source.vocab_size,
        target_vocabulary=tokenizers.target.vocab_size,
        max_length=run.config.data.max_length,
        model=run.config.model,
        decode=run.config.decode,
    )
    began = time.perf_counter()
    batches = (put_batch(batch, run.mesh) for batch in run.valid.in_order())
    metrics, first = validate(model, batches, Translator(model, tokenizers, card), run.corpus.valid_pairs)
    value = quality(metrics, run.config.train)
    is_best = progress.best is None or value > progress.best
    log.info(
        "step %d  valid nll %.4f  BLEU %.2f  chrF %.2f%s  (%.1f s)  %s",
        step, metrics["valid_nll"], metrics["valid_bleu"], metrics["valid_chrf"], "  best so far" if is_best else "",
        time.perf_counter() - began, first,
    )  # fmt: skip
    journal.write(step, **metrics)
    if not is_best:
        return progress._replace(without_better=progress.without_better + 1), value
    save_model(run.config.directory / "model", model, tokenizers, card)
    return Progress(best=value, best_step=step), value

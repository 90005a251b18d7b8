"""A run of training, in the order in which it happens."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from transformer import config_file
from transformer.config import Config
from transformer.data.batches import Batch, Batches, choose_buckets, prefetch, row_multiple
from transformer.data.prepare import Prepared, prepare
from transformer.errors import UsageError
from transformer.model.table import parameter_table
from transformer.model.transformer import Transformer
from transformer.model_dir import Card, save_model
from transformer.training.checkpoint import Checkpoints, Progress
from transformer.training.log import Journal, Meter
from transformer.training.sharding import make_mesh, put_batch, shardings
from transformer.training.signals import stop_on_signal
from transformer.training.state import TrainState, Update, initial_state, make_update
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
    _open_directory(config)
    run = _plan(config, prepare(config, config.directory / "data"), mesh)
    state, update = _start(run)
    log.info("%s", parameter_table(state.model))
    with (
        stop_on_signal() as stop,
        Checkpoints(config.directory / "checkpoints", config.train.keep) as checkpoints,
    ):
        state, progress = checkpoints.restore(state) or (state, Progress())
        first, steps = int(state.step), config.train.steps
        if first:
            log.info("resumed from step %d", first)
        with Journal(config.directory, first, steps) as journal:
            meter = Meter(journal, steps, config.train.log_every, run.batches.padding())
            ahead = prefetch(lambda step: put_batch(run.batches(step), mesh), range(first, steps))
            for step, batch in enumerate(ahead, first + 1):
                if 0 < config.train.patience <= progress.without_better:
                    log.info("no better model in %d validations: the training ends", progress.without_better)
                    break
                state, metrics = update(state, batch)
                meter.add(step, metrics)
                validates = step % config.train.eval_every == 0 or step == steps
                saves = step % config.train.save_every == 0 or step == steps or stop.is_asked
                with meter.paused():
                    if validates:
                        progress, value = _validate(run, state, step, progress, journal)
                    if saves or validates:
                        checkpoints.save(step, state, progress, value if validates else None)
                if stop.is_asked and step < steps:
                    raise stop.error(step, steps)
    log.info("done: the best model, of step %d, is in %s", progress.best_step, config.directory / "model")


def _open_directory(config: Config) -> None:
    """Makes the run directory, or sees to it that it is of a run that this config can continue."""
    path = config.directory / "config.toml"
    if path.exists():
        before = config_file.load(path)
        for name in ("seed", "data", "tokenizer", "model"):
            old, new = ({name: c.model_dump()[name]} if name == "seed" else c.model_dump()[name] for c in (before, config))
            for key in old:
                if old[key] != new[key]:
                    full = name if name == "seed" else f"{name}.{key}"
                    raise UsageError(
                        f"{config.run_dir}: {full} was {old[key]!r} and is {new[key]!r} now: a run cannot change it;"
                        " choose another run_dir"
                    )
    try:
        config.directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"run_dir = {config.run_dir}: cannot be made: {problem.strerror}") from None
    path.write_text(config.to_toml(), encoding="utf8")


def _plan(config: Config, corpus: Prepared, mesh: Mesh) -> Run:
    """Chooses the shapes of the batches, and says how full they will be."""
    multiple = row_multiple(mesh.shape["data"] * mesh.shape["fsdp"], config.train.accumulate)
    shapes = partial(
        choose_buckets, count=config.data.buckets, batch_tokens=config.train.batch_tokens, multiple=multiple
    )
    batches = Batches(corpus.train, shapes(corpus.train.lengths), config.seed)
    valid = Batches(corpus.valid, shapes(corpus.valid.lengths), config.seed)
    log.info(
        "%d updates an epoch in %d shapes (rows x tokens): %s; padding %.1f%%",
        batches.per_epoch,
        len(batches.buckets),
        ", ".join(f"{bucket.rows}x{bucket.target}" for bucket in batches.buckets),
        100 * batches.padding(),
    )
    return Run(config, corpus, batches, valid, mesh)


def _start(run: Run) -> tuple[TrainState, Update]:
    """The first state, spread over the mesh, and the compiled update that keeps it so."""
    tokenizers = run.corpus.tokenizers
    make = partial(initial_state, run.config, tokenizers.source.vocab_size, tokenizers.target.vocab_size)
    places = shardings(jax.eval_shape(make), run.mesh)
    update = jax.jit(make_update(run.config), donate_argnums=0, out_shardings=(places, None))
    return jax.jit(make, out_shardings=places)(), _telling_compilations(update)


def _telling_compilations(update: Update) -> Update:
    """Logs what the first batch of each shape costs: a call returns once it is compiled, before it is computed."""
    seen: set[tuple[int, ...]] = set()

    def call(state: TrainState, batch: Batch):  # noqa: ANN202
        began = time.perf_counter()
        result = update(state, batch)
        if batch.source.shape not in seen:
            seen.add(batch.source.shape)
            shape = "x".join(map(str, batch.source.shape))
            log.info("compiled the update for batches of %s in %.1f s", shape, time.perf_counter() - began)
        return result

    return call


def _validate(
    run: Run, state: TrainState, step: int, progress: Progress, journal: Journal
) -> tuple[Progress, float]:
    """Scores the model, and keeps it in RUN/model if it is the best so far."""
    model = state.model if state.average is None else state.average
    card = Card(
        source=run.config.data.source,
        target=run.config.data.target,
        source_vocabulary=run.corpus.tokenizers.source.vocab_size,
        target_vocabulary=run.corpus.tokenizers.target.vocab_size,
        max_length=run.config.data.max_length,
        model=run.config.model,
        decode=run.config.decode,
    )
    began = time.perf_counter()
    batches = (put_batch(batch, run.mesh) for batch in run.valid.in_order())
    metrics, hypotheses = validate(model, batches, Translator(model, run.corpus.tokenizers, card), run.corpus.valid_pairs)
    value = quality(metrics, run.config.train)
    better = progress.best is None or value > progress.best
    log.info(
        "step %d  valid nll %.4f  BLEU %.2f  chrF %.2f%s  (%.1f s)  %s",
        step, metrics["valid_nll"], metrics["valid_bleu"], metrics["valid_chrf"], "  best so far" if better else "",
        time.perf_counter() - began, hypotheses[0],
    )  # fmt: skip
    journal.write(step, **metrics)
    if not better:
        return progress._replace(without_better=progress.without_better + 1), value
    save_model(run.config.directory / "model", model, run.corpus.tokenizers, card)
    return Progress(best=value, best_step=step), value

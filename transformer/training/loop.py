"""The training loop: batches, updates, and a call after each update.

Everything that uses the run directory (checkpoints, metrics, validation) is passed to the loop as functions: see
run/hooks.py.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from transformer.config import Config, Model, Train
from transformer.data.batches import Batch, Batches, choose_buckets, prefetch, row_multiple
from transformer.data.prepare import Prepared
from transformer.training.sharding import put_batch, shardings
from transformer.training.update import TrainState, Update, initial_state, make_update

log = logging.getLogger(__name__)


class Setup(NamedTuple):
    """The parts of a run that do not change during training."""

    config: Config
    data: Prepared
    batches: Batches
    valid: list[Batches]  # one for each validation corpus
    mesh: Mesh


def make_setup(config: Config, data: Prepared, mesh: Mesh) -> Setup:
    """Chooses the shapes of the batches, logs them with the fraction of padding, and returns the setup."""
    multiple = row_multiple(mesh.shape["data"] * mesh.shape["fsdp"], config.train.accumulate)
    shapes = partial(
        choose_buckets, count=config.data.buckets, batch_tokens=config.train.batch_tokens, multiple=multiple
    )
    batches = Batches(data.train, shapes(data.train.lengths), config.seed)
    buckets = shapes(np.concatenate([corpus.examples.lengths for corpus in data.valid]))
    valid = [Batches(corpus.examples, buckets, config.seed) for corpus in data.valid]
    log.info(
        "%d updates per epoch, batches of %s (rows x tokens), padding %.1f%%",
        batches.per_epoch,
        ", ".join(f"{bucket.rows}x{bucket.target}" for bucket in batches.buckets),
        100 * batches.padding(),
    )
    return Setup(config, data, batches, valid, mesh)


def state_shapes(setup: Setup) -> TrainState:
    """Returns the shape, dtype and sharding of each array of the state."""
    arguments = _initial_arguments(setup)
    # jit caches the trace, so that make_initial_state and later runs in this process do not trace again.
    shapes = jax.jit(initial_state, static_argnums=range(len(arguments))).eval_shape(*arguments, None)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        shardings(shapes, setup.mesh),
    )


def make_initial_state(setup: Setup, shapes: TrainState, weights: dict[str, Any] | None = None) -> TrainState:
    """Returns the state before the first update, with the given weights (by name) or, if None, random ones."""
    arguments = _initial_arguments(setup)
    make = jax.jit(initial_state, static_argnums=range(len(arguments)), out_shardings=_shardings_of(shapes))
    return make(*arguments, weights)


def _initial_arguments(setup: Setup) -> tuple[Model, Train, int, int, int]:
    config, tokenizers = setup.config, setup.data.tokenizers
    sizes = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    return config.model, config.train, config.seed, *sizes


def jit_update(setup: Setup, shapes: TrainState) -> Update:
    """Returns the jitted update, whose new state has the same sharding as the old one."""
    return jax.jit(
        make_update(setup.config.train, setup.config.seed),
        donate_argnums=0,
        out_shardings=(_shardings_of(shapes), None),
    )


def _shardings_of(shapes: TrainState) -> TrainState:
    return jax.tree.map(lambda x: x.sharding, shapes)


def run_updates(
    setup: Setup,
    state: TrainState,
    update: Callable[[int, TrainState, Batch], TrainState],
    after_update: Callable[[int, TrainState], bool],
) -> None:
    """Runs the remaining updates. `update` and `after_update` get the number of the update, counted from 1.

    `after_update` returns whether training ends early. It is also called once before the first of these updates, with
    the number of updates that `state` has had.
    """
    first, last = int(state.step), setup.config.train.steps
    if after_update(first, state):
        return
    batches = prefetch(lambda step: put_batch(setup.batches(step), setup.mesh), range(first, last))
    for step, batch in enumerate(batches, first + 1):
        state = update(step, state, batch)
        if after_update(step, state):
            break

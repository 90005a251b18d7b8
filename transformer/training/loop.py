"""The training loop: batches, updates, and what follows each update.

What the run directory needs (validation, checkpoints, metrics) is given to the loop as `Hooks`: see run/hooks.py.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from transformer.config import Config
from transformer.data.batches import Batch, Batches, choose_buckets, prefetch, row_multiple
from transformer.data.prepare import Prepared
from transformer.training.sharding import put_batch, shardings
from transformer.training.update import TrainState, Update, UpdateMetrics, initial_state, make_update

log = logging.getLogger(__name__)


class Setup(NamedTuple):
    """The parts of a run that do not change during training."""

    config: Config
    data: Prepared
    batches: Batches
    valid: list[Batches]  # of each validation corpus
    mesh: Mesh


class Hooks(Protocol):
    """The functions that the loop calls before and after updates."""

    def before_first_update(self, step: int, state: TrainState) -> None: ...

    def should_stop(self, step: int, state: TrainState) -> bool:
        """Whether training ends early, after the update `step`."""
        ...

    def guard(self, batch: Batch) -> AbstractContextManager[None]:
        """Returns a context manager for an update that reports its errors."""
        ...

    def record(self, step: int, metrics: UpdateMetrics) -> None: ...

    def after_update(self, step: int, state: TrainState) -> None: ...


def make_setup(config: Config, data: Prepared, mesh: Mesh) -> Setup:
    """Chooses the shapes of the batches, and logs how much of them is padding."""
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
    shapes = jax.eval_shape(_initial_state_function(setup))
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        shardings(shapes, setup.mesh),
    )


def make_initial_state(setup: Setup, shapes: TrainState, weights: dict[str, Any] | None = None) -> TrainState:
    """Returns the state before the first update, with the given weights by name or random ones."""
    make = jax.jit(_initial_state_function(setup), out_shardings=_shardings_of(shapes))
    return make() if weights is None else make(weights=weights)


def _initial_state_function(setup: Setup) -> Callable[..., TrainState]:
    config, tokenizers = setup.config, setup.data.tokenizers
    sizes = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    return _cached_partial(initial_state, config.model, config.train, config.seed, *sizes)


@cache  # as for make_update
def _cached_partial(function: Callable[..., TrainState], *arguments: Any) -> Callable[..., TrainState]:
    return partial(function, *arguments)


def jit_update(setup: Setup, shapes: TrainState) -> Update:
    """Returns the jitted update, whose new state has the same sharding as the old one."""
    return jax.jit(
        make_update(setup.config.train, setup.config.seed),
        donate_argnums=0,
        out_shardings=(_shardings_of(shapes), None),
    )


def _shardings_of(shapes: TrainState) -> TrainState:
    return jax.tree.map(lambda x: x.sharding, shapes)


def run_updates(setup: Setup, state: TrainState, update: Update, hooks: Hooks) -> None:
    """Makes the remaining updates, until a hook stops the training."""
    first, last = int(state.step), setup.config.train.steps
    hooks.before_first_update(first, state)
    batches = prefetch(lambda step: put_batch(setup.batches(step), setup.mesh), range(first, last))
    for step, batch in enumerate(batches, first + 1):
        if hooks.should_stop(step - 1, state):
            break
        with hooks.guard(batch):
            state, metrics = update(state, batch)
            hooks.record(step, metrics)
        hooks.after_update(step, state)

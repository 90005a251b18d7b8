"""The state of training, and one update of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from transformer import config
from transformer.data.batches import Batch
from transformer.model.parameters import with_values
from transformer.model.stack import split
from transformer.model.transformer import Transformer
from transformer.training.objective import Losses, smoothed_loss
from transformer.training.optimizer import learning_rate, optimizer


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that updates change. Batches and dropout are functions of the seed and `step`."""

    step: Array  # number of updates
    model: Transformer
    average: Transformer | None  # moving average of the weights; None if train.ema_decay is 0
    optimizer: optax.OptState
    skipped: Array  # number of consecutive skipped updates up to now


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class UpdateMetrics:
    """The metrics of one update, on the device."""

    losses: Losses
    gradient_norm: Array  # before clipping
    learning_rate: Array
    skipped: Array  # number of consecutive skipped updates, this one included; 0 if it was not skipped

    def by_name(self) -> dict[str, float]:
        """Returns the metrics as numbers, under their keys in checkpoints. Waits until the device has computed them."""
        others = {name: getattr(self, name) for name in ("gradient_norm", "learning_rate", "skipped")}
        return {name: float(number) for name, number in (vars(self.losses) | others).items()}


Update = Callable[[TrainState, Batch[Array]], tuple[TrainState, UpdateMetrics]]
Sums = tuple[Transformer, Losses]  # gradients and losses


def initial_state(
    settings: config.Model,
    training: config.Train,
    seed: int,
    source_vocabulary: int,
    target_vocabulary: int,
    weights: dict[str, Any] | None = None,
) -> TrainState:
    """Returns the state before the first update, with the given weights by name, or with random ones from the seed."""
    model = Transformer(settings, source_vocabulary, target_vocabulary, rng=jax.random.key(seed))
    if weights is not None:
        model = with_values(model, weights)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        model=model,
        average=jax.tree.map(jnp.copy, model) if training.ema_decay else None,
        optimizer=optimizer(training).init(model),
        skipped=jnp.zeros((), jnp.int32),
    )


@cache  # runs with equal settings in one process get the same function, which JAX compiles only once
def make_update(settings: config.Train, seed: int) -> Update:
    """Returns a function that updates the state from a batch. It is to be jitted, with the state donated.

    If the loss or its gradient is NaN or infinite, the update is skipped: only `step` and `skipped` change.
    """
    transformation = optimizer(settings)
    rate = learning_rate(settings)
    smoothing, decay = settings.label_smoothing, settings.ema_decay

    def update(state: TrainState, batch: Batch[Array]) -> tuple[TrainState, UpdateMetrics]:
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        losses, gradients = _gradients(state.model, batch, rng, smoothing, settings.accumulate)
        norm = optax.tree.norm(gradients)
        is_finite = jnp.isfinite(norm) & jnp.isfinite(losses.kl)
        updates, inner = transformation.update(gradients, state.optimizer, state.model)
        model = optax.apply_updates(state.model, updates)
        average = None if state.average is None else _average(state.average, model, state.step, decay)
        after, before = (model, average, inner), (state.model, state.average, state.optimizer)
        model, average, inner = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), after, before)
        skipped = jnp.where(is_finite, 0, state.skipped + 1)
        new = TrainState(state.step + 1, model, average, inner, skipped)
        return new, UpdateMetrics(losses, norm, rate(state.step), skipped)

    return update


@jax.jit
def all_finite(state: TrainState) -> Array:
    """Whether every number in the state is finite."""
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(state)]))


def batch_losses(model: Transformer, batch: Batch[Array], smoothing: float, rng: Array | None = None) -> Losses:
    """Computes the losses of a batch by teacher forcing."""
    encode_rng, decode_rng = split(rng, 2)
    logits_BTV = model.decode(batch.target, model.encode(batch.source, rng=encode_rng), rng=decode_rng)
    return smoothed_loss(logits_BTV, batch.labels, batch.is_token, smoothing)


def _gradients(
    model: Transformer, batch: Batch[Array], rng: Array, smoothing: float, parts: int
) -> tuple[Losses, Transformer]:
    """Returns the losses of a batch and the gradient of its mean KL, computed in `parts` parts one after another."""
    tokens = batch.is_token.sum().astype(jnp.float32)

    def mean_kl(model: Transformer, part: Batch[Array], rng: Array) -> tuple[Array, Losses]:
        losses = batch_losses(model, part, smoothing, rng)
        return losses.kl / tokens, losses

    gradient = jax.grad(mean_kl, has_aux=True)
    if parts == 1:
        gradients, losses = gradient(model, batch, rng)
        return losses, gradients
    # Row i goes to part i % parts, so that each device of a mesh has rows of every part.
    rows = jax.tree.map(lambda x: x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)

    def add_part(total: Sums, part: tuple[Batch[Array], Array]) -> tuple[Sums, None]:
        return jax.tree.map(jnp.add, total, gradient(model, *part)), None

    zeros = jax.tree.map(jnp.zeros_like, (model, Losses(tokens, tokens, tokens)))
    (gradients, losses), _ = jax.lax.scan(add_part, zeros, (rows, jax.random.split(rng, parts)))
    return losses, gradients


def _average(average: Transformer, model: Transformer, step: Array, decay: float) -> Transformer:
    """Updates the exponential moving average of the weights. The decay is smaller in the first updates: otherwise the
    initial weights would dominate for a thousand updates."""
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, model)

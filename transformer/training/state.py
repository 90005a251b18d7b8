"""What training changes, and one update of it."""

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
from transformer.model.transformer import Transformer
from transformer.training.loss import Losses, smoothed_loss
from transformer.training.optimizer import learning_rate, optimizer


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that a run must remember. Batches and dropout follow from the seed and `step`."""

    step: Array  # updates done
    model: Transformer
    average: Transformer | None  # moving average of the weights; None: not wanted
    optimizer: optax.OptState
    skipped: Array  # updates in a row that were left out, up to now


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Metrics:
    """Of one update, on the device."""

    losses: Losses
    gradient_norm: Array  # before clipping
    learning_rate: Array
    skipped: Array  # updates in a row that were left out, this one included; 0: it was made

    def by_name(self) -> dict[str, float]:
        """Each number by its name, as checkpoints keep them; of metrics that are no longer on the device."""
        numbers = {
            **vars(self.losses),
            "gradient_norm": self.gradient_norm,
            "learning_rate": self.learning_rate,
            "skipped": self.skipped,
        }
        return {name: float(number) for name, number in numbers.items()}


Update = Callable[[TrainState, Batch[Array]], tuple[TrainState, Metrics]]
Sums = tuple[Transformer, Losses]  # gradients and losses


def initial_state(
    settings: config.Model,
    training: config.Train,
    seed: int,
    source_vocabulary: int,
    target_vocabulary: int,
    weights: dict[str, Any] | None = None,
) -> TrainState:
    """The state before the first update: with the weights, by their names, or else with those of the seed."""
    model = Transformer(settings, source_vocabulary, target_vocabulary, key=jax.random.key(seed))
    if weights is not None:
        model = with_values(model, weights)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        model=model,
        average=jax.tree.map(jnp.copy, model) if training.ema_decay else None,
        optimizer=optimizer(training).init(model),
        skipped=jnp.zeros((), jnp.int32),
    )


@cache  # JAX traces and compiles a function once: runs of one process that have equal settings share the update
def make_update(settings: config.Train, seed: int) -> Update:
    """One update of the state from one batch, to be jitted with the state donated.

    Where the loss or its gradient is not finite, only the step advances.
    """
    transformation = optimizer(settings)
    rate = learning_rate(settings)
    smoothing, decay = settings.label_smoothing, settings.ema_decay

    def update(state: TrainState, batch: Batch[Array]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        losses, gradients = _gradients(state.model, batch, key, smoothing, settings.accumulate)
        norm = optax.tree.norm(gradients)
        is_finite = jnp.isfinite(norm) & jnp.isfinite(losses.kl)
        updates, inner = transformation.update(gradients, state.optimizer, state.model)
        model = optax.apply_updates(state.model, updates)
        average = None if state.average is None else _average(state.average, model, state.step, decay)
        made, before = (model, average, inner), (state.model, state.average, state.optimizer)
        model, average, inner = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), made, before)
        skipped = jnp.where(is_finite, 0, state.skipped + 1)
        new = TrainState(state.step + 1, model, average, inner, skipped)
        return new, Metrics(losses, norm, rate(state.step), skipped)

    return update


@jax.jit
def all_finite(state: TrainState) -> Array:
    """Whether no number of the state is infinite or none at all."""
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(state)]))


def batch_losses(model: Transformer, batch: Batch[Array], smoothing: float, key: Array | None = None) -> Losses:
    """The losses of a batch by teacher forcing."""
    encode_key, decode_key = (None, None) if key is None else jax.random.split(key)
    logits_BTV = model.decode(batch.target, model.encode(batch.source, key=encode_key), key=decode_key)
    return smoothed_loss(logits_BTV, batch.labels, batch.is_token, smoothing)


def _gradients(
    model: Transformer, batch: Batch[Array], key: Array, smoothing: float, parts: int
) -> tuple[Losses, Transformer]:
    """The losses of a batch and the gradients of its mean KL, computed in `parts` one after another."""
    tokens = batch.is_token.sum().astype(jnp.float32)

    def mean_kl(model: Transformer, part: Batch[Array], key: Array) -> tuple[Array, Losses]:
        losses = batch_losses(model, part, smoothing, key)
        return losses.kl / tokens, losses

    gradient = jax.grad(mean_kl, has_aux=True)
    if parts == 1:
        gradients, losses = gradient(model, batch, key)
        return losses, gradients
    # Row i goes to part i % parts, so that each device of a mesh holds rows of every part.
    rows = jax.tree.map(lambda x: x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)

    def add_part(total: Sums, part: tuple[Batch[Array], Array]) -> tuple[Sums, None]:
        return jax.tree.map(jnp.add, total, gradient(model, *part)), None

    zeros = jax.tree.map(jnp.zeros_like, (model, Losses(tokens, tokens, tokens)))
    (gradients, losses), _ = jax.lax.scan(add_part, zeros, (rows, jax.random.split(key, parts)))
    return losses, gradients


def _average(average: Transformer, model: Transformer, step: Array, decay: float) -> Transformer:
    """Exponential moving average of the weights, faster at first so that it forgets the start.

    That is random, or a model from whose weights an average over a thousand updates would hardly move in a hundred.
    """
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, model)

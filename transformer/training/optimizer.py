"""Adam, its learning rate, clipping and weight decay, put together from optax."""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from transformer import config


def learning_rate(settings: config.Train) -> optax.Schedule:
    """update (from 0) -> learning rate: a linear warm-up, the chosen course, and a linear cool-down at the end."""
    warmup = max(settings.warmup_steps, 1)

    def course(step: Array) -> Array:
        if settings.schedule == "inverse_sqrt":  # Vaswani et al. 2017, section 5.3, with the peak given
            return jnp.sqrt(warmup / jnp.maximum(step, warmup))
        if settings.schedule == "cosine":  # Loshchilov and Hutter 2017, without restarts
            done = (step - warmup) / max(settings.steps - warmup, 1)
            return (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1))) / 2
        return jnp.ones_like(step)

    def rate(update: Array) -> Array:
        step = jnp.asarray(update, jnp.float32) + 1
        factor = jnp.minimum(step / warmup, 1) * course(step)
        if settings.cooldown_steps:
            factor *= jnp.clip((settings.steps - step + 1) / settings.cooldown_steps, 0, 1)
        return settings.learning_rate * factor

    return rate


def optimizer(settings: config.Train) -> optax.GradientTransformation:
    """Clipping by global norm, Adam (Kingma and Ba 2015), decoupled weight decay (Loshchilov and Hutter 2019)."""
    return optax.chain(
        optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm else optax.identity(),
        optax.scale_by_adam(settings.adam_b1, settings.adam_b2, settings.adam_epsilon),
        optax.add_decayed_weights(settings.weight_decay, mask=_matrices) if settings.weight_decay else optax.identity(),
        optax.scale_by_learning_rate(learning_rate(settings)),
    )


def _matrices(parameters: optax.Params) -> optax.Params:
    """Which parameters decay: the matrices of linear maps and embeddings, not biases and norms."""

    def is_matrix(path: tuple[object, ...], _: Array) -> bool:
        return any(name in jax.tree_util.keystr(path) for name in ("kernel", "table"))

    return jax.tree.map_with_path(is_matrix, parameters)

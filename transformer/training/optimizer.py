"""Adam with its learning rate, clipping and weight decay, built from optax."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array

from transformer import config

# step (from 1), warm-up steps, total steps -> factor of the peak learning rate. During the warm-up the factor is 1,
# because `learning_rate` applies the warm-up itself.
Schedule = Callable[[Array, int, int], Array]


def inverse_sqrt(step: Array, warmup: int, steps: int) -> Array:
    """The schedule of Vaswani et al. 2017, section 5.3, scaled so that the peak is 1."""
    return jnp.sqrt(warmup / jnp.maximum(step, warmup))


def cosine(step: Array, warmup: int, steps: int) -> Array:
    """The schedule of Loshchilov and Hutter 2017, without restarts."""
    progress = (step - warmup) / max(steps - warmup, 1)
    return (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1))) / 2


def constant(step: Array, warmup: int, steps: int) -> Array:
    return jnp.ones_like(step)


SCHEDULES: dict[str, Schedule] = {"inverse_sqrt": inverse_sqrt, "cosine": cosine, "constant": constant}


def learning_rate(settings: config.Train) -> optax.Schedule:
    """Returns the learning rate as a function of the update, from 0: linear warm-up, schedule, linear cool-down."""
    warmup = max(settings.warmup_steps, 1)
    schedule = SCHEDULES[settings.schedule]

    def rate(update: Array) -> Array:
        step = jnp.asarray(update, jnp.float32) + 1
        factor = jnp.minimum(step / warmup, 1) * schedule(step, warmup, settings.steps)
        if settings.cooldown_steps:
            factor *= jnp.clip((settings.steps - step + 1) / settings.cooldown_steps, 0, 1)
        return settings.learning_rate * factor

    return rate


def optimizer(settings: config.Train) -> optax.GradientTransformation:
    """Returns clipping by global norm, then Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return optax.chain(
        optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm else optax.identity(),
        optax.scale_by_adam(settings.adam_b1, settings.adam_b2, settings.adam_epsilon),
        optax.add_decayed_weights(settings.weight_decay, mask=_matrices) if settings.weight_decay else optax.identity(),
        optax.scale_by_learning_rate(learning_rate(settings)),
    )


def _matrices(parameters: optax.Params) -> optax.Params:
    """Returns True for each parameter with weight decay: kernels of linear layers and embedding tables."""
    names = ("kernel", "table")
    return jax.tree.map_with_path(lambda path, _: any(name in jax.tree_util.keystr(path) for name in names), parameters)

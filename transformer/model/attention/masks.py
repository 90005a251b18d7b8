"""Masks: terms of 0 (look) and -inf (do not look) that are added to the attention scores before the softmax.

Masks combine by addition. Each query must be left with at least one position to look at: a row of -inf alone has no
softmax. The callers see to it (a sentence has at least its end-of-sentence token, a target position sees itself).
"""

import jax.numpy as jnp
from jax import Array


def padding_mask(is_token_BS: Array) -> Array:
    """Hides the positions where no token stands. bool [B, S] -> float32 [B, 1, 1, S]."""
    return jnp.where(is_token_BS, 0.0, -jnp.inf)[:, None, None, :]


def causal_mask(length: int) -> Array:
    """Hides the future: position t sees 0 .. t. -> float32 [1, 1, T, T]."""
    return prefix_mask(jnp.arange(length), length)


def prefix_mask(positions_T: Array, length: int) -> Array:
    """Hides what comes after each of the given positions. int [T] -> float32 [1, 1, T, L] with L = length."""
    return jnp.where(positions_T[:, None] >= jnp.arange(length)[None, :], 0.0, -jnp.inf)[None, None]

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
    positions_T = jnp.arange(length)
    return jnp.where(positions_T[:, None] >= positions_T[None, :], 0.0, -jnp.inf)[None, None]


def beam_mask(writers_BKL: Array, position: Array) -> Array:
    """Shows each hypothesis of a beam its own tokens 0 .. `position`, in a store of what all of them have written.

    `writers[b, k, t]` is the place in the beam from which token t of hypothesis k was written, and so where it stands:
    int [B, K, L] -> float32 [B, 1, K, K x L].
    """
    B, K, L = writers_BKL.shape
    is_own_BKKL = writers_BKL[:, :, None, :] == jnp.arange(K)[None, None, :, None]
    is_past_L = jnp.arange(L) <= position
    return jnp.where(is_own_BKKL & is_past_L[None, None, None, :], 0.0, -jnp.inf).reshape(B, 1, K, K * L)

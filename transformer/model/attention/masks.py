"""Masks: 0 (may attend) or -inf (may not attend), added to the attention scores before the softmax.

Masks are combined by addition. Each query must be allowed to attend to at least one position, because the softmax of a
row with only -inf is NaN. This holds: a source has at least one token, and a target position may attend to itself.
"""

import jax.numpy as jnp
from jax import Array


def padding_mask(is_token_BS: Array) -> Array:
    """Hides the positions of padding. bool [B, S] -> float32 [B, 1, 1, S]."""
    return jnp.where(is_token_BS, 0.0, -jnp.inf)[:, None, None, :]


def causal_mask(length: int) -> Array:
    """Hides the future: position t attends to 0 .. t. -> float32 [1, 1, T, T]."""
    positions_T = jnp.arange(length)
    return jnp.where(positions_T[:, None] >= positions_T[None, :], 0.0, -jnp.inf)[None, None]


def beam_mask(beam_indices_BKL: Array, position: Array) -> Array:
    """Lets each hypothesis attend to its own tokens 0 .. `position`, in a cache that all K hypotheses have written to.

    `beam_indices[b, k, t]` is the slot of the beam that wrote token t of hypothesis k.
    int [B, K, L] -> float32 [B, 1, K, K x L].
    """
    B, K, L = beam_indices_BKL.shape
    is_own_BKKL = beam_indices_BKL[:, :, None, :] == jnp.arange(K)[None, None, :, None]
    is_past_L = jnp.arange(L) <= position
    return jnp.where(is_own_BKKL & is_past_L[None, None, None, :], 0.0, -jnp.inf).reshape(B, 1, K, K * L)

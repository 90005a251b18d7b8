"""Attention scores: how well a query matches a key."""

import math

import jax.numpy as jnp
from jax import Array


def scaled_dot(query_BTHC: Array, key_BSHC: Array) -> Array:
    """Computes query . key / sqrt(C) in float32 -> [B, H, T, S] (Vaswani et al. 2017, equation 1)."""
    scale = 1 / math.sqrt(query_BTHC.shape[-1])
    return jnp.einsum("BTHC,BSHC->BHTS", query_BTHC * scale, key_BSHC, preferred_element_type=jnp.float32)

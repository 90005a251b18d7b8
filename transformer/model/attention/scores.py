"""Attention scores: how well a query fits a key."""

import math

import jax.numpy as jnp
from jax import Array


def scaled_dot(query_BTHD: Array, key_BSHD: Array) -> Array:
    """Query times key over the square root of their width, in float32 -> [B, H, T, S] (Vaswani et al. 2017, eq. 1)."""
    scale = 1 / math.sqrt(query_BTHD.shape[-1])
    return jnp.einsum("BTHD,BSHD->BHTS", query_BTHD * scale, key_BSHD, preferred_element_type=jnp.float32)

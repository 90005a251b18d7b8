"""Multi-head attention, one module for its three uses.

    self-attention          queries, keys and values from the same sentence (encoder)
    masked self-attention   the same, with a mask that hides the future (decoder)
    cross-attention         queries from the target, keys and values from the memory of the source

The three uses have the same code, with different arguments: `project` computes the keys and values of a sequence, and a
call attends to them from the same or another sequence. Each head is a slice of the width: D = H x C.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from transformer import config
from transformer.model.layers import Linear, dropout


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeysValues:
    """The keys and values of a sequence."""

    keys: Array  # [B, S, H, C]
    values: Array  # [B, S, H, C]


def scaled_dot(query_BTHC: Array, key_BSHC: Array) -> Array:
    """Computes query . key / sqrt(C) in float32 -> [B, H, T, S] (Vaswani et al. 2017, equation 1)."""
    scale = 1 / math.sqrt(query_BTHC.shape[-1])
    return jnp.einsum("BTHC,BSHC->BHTS", query_BTHC * scale, key_BSHC, preferred_element_type=jnp.float32)


def attend(query_BTHC: Array, sequence: KeysValues, mask: Array, *, dropout_rate: float, rng: Array | None) -> Array:
    """Averages the values for each query, weighted by softmax(scores + mask) -> [B, T, H, C].

    The mask is broadcast to the scores [B, H, T, S], and added to them. If `rng` is not None, the fraction
    `dropout_rate` of the weights is dropped.
    """
    weights_BHTS = jax.nn.softmax(scaled_dot(query_BTHC, sequence.keys) + mask, axis=-1)
    weights_BHTS = dropout(weights_BHTS.astype(query_BTHC.dtype), dropout_rate, rng)
    return jnp.einsum("BHTS,BSHC->BTHC", weights_BHTS, sequence.values)


class Attention(nnx.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, settings: config.Model, *, dtype: jnp.dtype, rng: Array):
        self.num_heads = settings.num_heads
        self.dropout_rate = settings.attention_dropout
        width = settings.d_model
        rngs = jax.random.split(rng, 4)
        self.query = Linear(width, width, dtype=dtype, rng=rngs[0])
        self.key = Linear(width, width, dtype=dtype, rng=rngs[1])
        self.value = Linear(width, width, dtype=dtype, rng=rngs[2])
        self.out = Linear(width, width, dtype=dtype, rng=rngs[3])

    def project(self, x: Array) -> KeysValues:
        """Computes the keys and values of a sequence [B, S, D]."""
        return KeysValues(keys=self._heads(self.key(x)), values=self._heads(self.value(x)))

    def __call__(self, x: Array, sequence: KeysValues, mask: Array, rng: Array | None = None) -> Array:
        """Attends from the positions of x to the sequence: [B, T, D] -> [B, T, D]."""
        heads_BTHC = attend(self._heads(self.query(x)), sequence, mask, dropout_rate=self.dropout_rate, rng=rng)
        return self.out(heads_BTHC.reshape(x.shape))

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.num_heads, -1)

"""Multi-head attention, once for its three uses.

    self-attention          queries, keys and values from the same sentence (encoder)
    masked self-attention   the same, with a mask that hides the future (decoder)
    cross-attention         queries from the target, keys and values from the memory of the source

The three differ in what they are given, not in code: `project` makes keys and values out of one sequence, and calling
the module looks at them from another. A head is a slice of the width: D = H x (width of a head).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from transformer.model.attention.scores import scaled_dot
from transformer.model.layers import Linear, dropout


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KeysValues:
    """What a query can look at."""

    keys: Array  # [B, S, H, D of a head]
    values: Array  # [B, S, H, D of a head]


def attend(query_BTHD: Array, memory: KeysValues, mask: Array, *, rate: float, key: Array | None) -> Array:
    """Each query's average of the values, weighted by the softmax of scores + mask -> [B, T, H, D of a head].

    The mask is added to scores [B, H, T, S] and broadcast where its sizes are 1. `rate` is the share of the weights
    that is dropped when there is a `key`.
    """
    weights_BHTS = jax.nn.softmax(scaled_dot(query_BTHD, memory.keys) + mask, axis=-1)
    weights_BHTS = dropout(weights_BHTS.astype(query_BTHD.dtype), rate, key)
    return jnp.einsum("BHTS,BSHD->BTHD", weights_BHTS, memory.values)


class Attention(nnx.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, width: int, num_heads: int, dropout_rate: float, *, dtype: jnp.dtype, key: Array):
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        keys = jax.random.split(key, 4)
        self.query = Linear(width, width, dtype=dtype, key=keys[0])
        self.key = Linear(width, width, dtype=dtype, key=keys[1])
        self.value = Linear(width, width, dtype=dtype, key=keys[2])
        self.out = Linear(width, width, dtype=dtype, key=keys[3])

    def project(self, x: Array) -> KeysValues:
        """[B, S, D] -> its keys and values."""
        return KeysValues(keys=self._heads(self.key(x)), values=self._heads(self.value(x)))

    def __call__(self, x: Array, memory: KeysValues, mask: Array, key: Array | None = None) -> Array:
        """What the positions of x see in the memory: [B, T, D] -> [B, T, D]."""
        heads_BTHD = attend(self._heads(self.query(x)), memory, mask, rate=self.dropout_rate, key=key)
        return self.out(heads_BTHD.reshape(x.shape))

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.num_heads, -1)

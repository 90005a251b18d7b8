"""The layers of the encoder and the decoder: the order of their sublayers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from transformer import config
from transformer.model.attention.attention import Attention, KeysValues
from transformer.model.layers import FeedForward, Residual
from transformer.model.stack import split


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Memory:
    """An encoded source."""

    states: Array  # [B, S, D]
    mask: Array  # float32 [B, 1, 1, S], hides the padding


class EncoderLayer(nnx.Module):
    """Self-attention, then feed-forward."""

    def __init__(self, settings: config.Model, *, dtype: jnp.dtype, rng: Array):
        rngs = jax.random.split(rng, 2)
        self.attention_residual = Residual(settings)
        self.self_attention = Attention(settings, dtype=dtype, rng=rngs[0])
        self.feed_forward_residual = Residual(settings)
        self.feed_forward = FeedForward(settings, dtype=dtype, rng=rngs[1])

    def __call__(self, x: Array, mask: Array, rng: Array | None) -> Array:
        rngs = split(rng, 3)

        def attend(x: Array) -> Array:
            return self.self_attention(x, self.self_attention.project(x), mask, rngs[0])

        x = self.attention_residual(x, attend, rngs[1])
        return self.feed_forward_residual(x, self.feed_forward, rngs[2])


class DecoderLayer(nnx.Module):
    """Masked self-attention, cross-attention to the memory, then feed-forward."""

    def __init__(self, settings: config.Model, *, dtype: jnp.dtype, rng: Array):
        rngs = jax.random.split(rng, 3)
        self.self_attention_residual = Residual(settings)
        self.self_attention = Attention(settings, dtype=dtype, rng=rngs[0])
        self.cross_attention_residual = Residual(settings)
        self.cross_attention = Attention(settings, dtype=dtype, rng=rngs[1])
        self.feed_forward_residual = Residual(settings)
        self.feed_forward = FeedForward(settings, dtype=dtype, rng=rngs[2])

    def __call__(self, x: Array, mask: Array, memory: Memory, rng: Array | None) -> Array:
        """Computes all target positions at once: [B, T, D] -> [B, T, D]."""
        rngs = split(rng, 5)

        def attend_to_prefix(x: Array) -> Array:
            return self.self_attention(x, self.self_attention.project(x), mask, rngs[0])

        def attend_to_source(x: Array) -> Array:
            return self.cross_attention(x, self.cross_attention.project(memory.states), memory.mask, rngs[1])

        x = self.self_attention_residual(x, attend_to_prefix, rngs[2])
        x = self.cross_attention_residual(x, attend_to_source, rngs[3])
        return self.feed_forward_residual(x, self.feed_forward, rngs[4])

    def step(
        self, x: Array, prefix: KeysValues, mask: Array, source: KeysValues, source_mask: Array, position: Array
    ) -> tuple[Array, KeysValues]:
        """Computes one position of each hypothesis: [B, K, D] -> [B, K, D], and fills it in the prefix.

        The query axis has the K hypotheses of a sentence instead of target positions. They share one copy of the
        source, and one cache of all their tokens. The mask [B, 1, K, K x L] lets each hypothesis attend only to its own
        tokens.
        """

        def attend_to_prefix(x: Array) -> Array:
            nonlocal prefix
            new = self.self_attention.project(x)
            prefix = jax.tree.map(lambda old, entry: old.at[:, :, position].set(entry), prefix, new)
            written = jax.tree.map(lambda entry: entry.reshape(len(x), -1, *entry.shape[3:]), prefix)
            return self.self_attention(x, written, mask)

        def attend_to_source(x: Array) -> Array:
            return self.cross_attention(x, source, source_mask)

        x = self.self_attention_residual(x, attend_to_prefix, None)
        x = self.cross_attention_residual(x, attend_to_source, None)
        return self.feed_forward_residual(x, self.feed_forward, None), prefix

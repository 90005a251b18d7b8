"""The layers of the encoder and of the decoder: which sublayer follows which."""

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
    """A source, read."""

    states: Array  # [B, S, D]
    mask: Array  # [B, 1, 1, S], hides the padding


class EncoderLayer(nnx.Module):
    """Self-attention, then feed-forward."""

    def __init__(self, settings: config.Model, *, dtype: jnp.dtype, key: Array):
        keys = jax.random.split(key, 2)
        self.attention_residual = residual(settings)
        self.self_attention = attention(settings, dtype=dtype, key=keys[0])
        self.feed_forward_residual = residual(settings)
        self.feed_forward = feed_forward(settings, dtype=dtype, key=keys[1])

    def __call__(self, x: Array, mask: Array, key: Array | None) -> Array:
        keys = split(key, 3)

        def look(x: Array) -> Array:
            return self.self_attention(x, self.self_attention.project(x), mask, keys[0])

        x = self.attention_residual(x, look, keys[1])
        return self.feed_forward_residual(x, self.feed_forward, keys[2])


class DecoderLayer(nnx.Module):
    """Masked self-attention, cross-attention to the memory, then feed-forward."""

    def __init__(self, settings: config.Model, *, dtype: jnp.dtype, key: Array):
        keys = jax.random.split(key, 3)
        self.self_attention_residual = residual(settings)
        self.self_attention = attention(settings, dtype=dtype, key=keys[0])
        self.cross_attention_residual = residual(settings)
        self.cross_attention = attention(settings, dtype=dtype, key=keys[1])
        self.feed_forward_residual = residual(settings)
        self.feed_forward = feed_forward(settings, dtype=dtype, key=keys[2])

    def __call__(self, x: Array, mask: Array, memory: Memory, key: Array | None) -> Array:
        """The whole target at once: [B, T, D] -> [B, T, D]."""
        keys = split(key, 5)

        def look_back(x: Array) -> Array:
            return self.self_attention(x, self.self_attention.project(x), mask, keys[0])

        def look_across(x: Array) -> Array:
            return self.cross_attention(x, self.cross_attention.project(memory.states), memory.mask, keys[1])

        x = self.self_attention_residual(x, look_back, keys[2])
        x = self.cross_attention_residual(x, look_across, keys[3])
        return self.feed_forward_residual(x, self.feed_forward, keys[4])

    def step(
        self, x: Array, prefix: KeysValues, mask: Array, memory: KeysValues, memory_mask: Array, position: Array
    ) -> tuple[Array, KeysValues]:
        """One position of each hypothesis: [B, K, D] -> [B, K, D], and the prefix with that position filled in.

        Once encoded, all hypotheses of a sentence look at one memory and at one store of what any of them has written;
        the beam takes the place of the target positions, and the mask [B, 1, K, K x L] shows each its own words.
        """

        def look_back(x: Array) -> Array:
            nonlocal prefix
            new = self.self_attention.project(x)
            prefix = jax.tree.map(lambda old, entry: old.at[:, :, position].set(entry), prefix, new)
            written = jax.tree.map(lambda entry: entry.reshape(len(x), -1, *entry.shape[3:]), prefix)
            return self.self_attention(x, written, mask)

        def look_across(x: Array) -> Array:
            return self.cross_attention(x, memory, memory_mask)

        x = self.self_attention_residual(x, look_back, None)
        x = self.cross_attention_residual(x, look_across, None)
        return self.feed_forward_residual(x, self.feed_forward, None), prefix


def attention(settings: config.Model, *, dtype: jnp.dtype, key: Array) -> Attention:
    return Attention(settings.d_model, settings.num_heads, settings.attention_dropout, dtype=dtype, key=key)


def feed_forward(settings: config.Model, *, dtype: jnp.dtype, key: Array) -> FeedForward:
    return FeedForward(settings.d_model, settings.d_ff, settings.activation, dtype=dtype, key=key)


def residual(settings: config.Model) -> Residual:
    return Residual(settings.d_model, settings.dropout, settings.norm_epsilon, norm_first=settings.norm == "pre")

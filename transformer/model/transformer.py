"""The encoder-decoder Transformer (Vaswani et al. 2017): ids -> scores.

    encode   source ids -> memory
    decode   target ids, memory -> scores of every next token at once (teacher forcing, for training)
    start    source ids -> a cache, with the memory's keys and values projected once
    step     one token a hypothesis, the cache, a position -> scores of the next token, the cache

A model holds parameters and nothing else. What changes from call to call is an argument: the tokens, the cache, the
position, and the key of dropout (`key=None`: no dropout). Layers of one kind are stacked along a first axis N.
"""

from dataclasses import dataclass, replace
from typing import Self

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from transformer import config
from transformer.model.attention.attention import KeysValues
from transformer.model.attention.masks import beam_mask, causal_mask, padding_mask
from transformer.model.blocks import DecoderLayer, EncoderLayer, Memory
from transformer.model.layers import Embedding, Norm, dropout, sinusoids
from transformer.model.stack import run, split, stack, unstack


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """What the decoder remembers between steps, a tuple entry a layer."""

    memory: tuple[KeysValues, ...]  # of the source: [B, S, H, D of a head], shared by the hypotheses of a sentence
    memory_mask: Array  # [B, 1, 1, S]
    prefix: tuple[KeysValues, ...]  # of the target so far: [B, K, L, H, D of a head], filled up to the position
    writers: Array  # int [B, K, L], the place in the beam from which each token of a hypothesis was written

    def reorder(self, parents_BK: Array) -> Self:
        """The cache in which hypothesis k of each sentence continues what was hypothesis parents[k].

        Keys and values stay where they were written, and a mask finds them: to move them took a third of the search.
        """
        return replace(self, writers=jnp.take_along_axis(self.writers, parents_BK[:, :, None], axis=1))


class Transformer(nnx.Module):
    """An encoder-decoder with parameters in float32, computing in `settings.compute_dtype`."""

    def __init__(self, settings: config.Model, source_vocabulary: int, target_vocabulary: int, *, key: Array):
        self.settings = settings
        dtype = compute_dtype(settings.compute_dtype)
        keys = jax.random.split(key, 7)

        def embedding(size: int, key: Array) -> Embedding:
            return Embedding(size, settings.d_model, scaled=settings.scale_embeddings, dtype=dtype, key=key)

        def learned_positions(key: Array) -> nnx.Param[Array]:
            return nnx.Param(jax.random.normal(key, (settings.max_positions, settings.d_model)) * 0.02)

        tied = settings.tie_embeddings
        self.source_embedding = embedding(source_vocabulary, keys[0])
        self.target_embedding = None if tied == "all" else embedding(target_vocabulary, keys[1])
        self.output_embedding = embedding(target_vocabulary, keys[2]) if tied == "none" else None
        self.output_bias = nnx.Param(jnp.zeros((target_vocabulary,))) if settings.output_bias else None
        learned = settings.positions == "learned"
        self.source_positions = learned_positions(keys[3]) if learned else None
        self.target_positions = learned_positions(keys[4]) if learned else None
        self.encoder = stack(lambda key: EncoderLayer(settings, dtype=dtype, key=key), settings.encoder_layers, keys[5])
        self.decoder = stack(lambda key: DecoderLayer(settings, dtype=dtype, key=key), settings.decoder_layers, keys[6])
        # Norms before sublayers leave the sum of the residuals without one.
        before = settings.norm == "pre"
        self.encoder_norm = Norm(settings.d_model, settings.norm_epsilon) if before else None
        self.decoder_norm = Norm(settings.d_model, settings.norm_epsilon) if before else None

    def encode(self, source: Array, *, key: Array | None = None) -> Memory:
        """int [B, S] -> memory. Negative ids are padding; every row holds at least one token."""
        keys = split(key, 2)
        mask = padding_mask(source >= 0)
        x = self._embed(self.source_embedding, source, jnp.arange(source.shape[1]), self.source_positions, keys[0])
        x = run(
            lambda layer, x, key: layer(x, mask, key),
            self.encoder,
            self.settings.encoder_layers,
            x,
            keys[1],
            remat=self.settings.remat,
        )
        return Memory(x if self.encoder_norm is None else self.encoder_norm(x), mask)

    def decode(self, target: Array, memory: Memory, *, key: Array | None = None) -> Array:
        """The target, the start symbol first: int [B, T] -> logits of what follows each position, float32 [B, T, V]."""
        keys = split(key, 2)
        length = target.shape[1]
        mask = causal_mask(length)
        x = self._embed(self._target_table, target, jnp.arange(length), self.target_positions, keys[0])
        x = run(
            lambda layer, x, key: layer(x, mask, memory, key),
            self.decoder,
            self.settings.decoder_layers,
            x,
            keys[1],
            remat=self.settings.remat,
        )
        return self._scores(x)

    def start(self, source: Array, *, beams: int, length: int) -> Cache:
        """int [B, S] -> the cache of an empty prefix, for K = `beams` hypotheses of at most L = `length` tokens."""
        memory = self.encode(source)
        B, _, width = memory.states.shape
        heads = self.settings.num_heads
        empty = jnp.zeros((B, beams, length, heads, width // heads), memory.states.dtype)
        layers = unstack(self.decoder, self.settings.decoder_layers)
        return Cache(
            memory=tuple(layer.cross_attention.project(memory.states) for layer in layers),
            memory_mask=memory.mask,
            prefix=tuple(KeysValues(empty, empty) for _ in layers),
            writers=jnp.zeros((B, beams, length), jnp.int32),
        )

    def step(self, tokens: Array, cache: Cache, position: Array) -> tuple[Array, Cache]:
        """int [B, K] at `position` (int []) -> logits of what follows, float32 [B, K, V], and the cache."""
        x = self._embed(self._target_table, tokens, position[None], self.target_positions, None)
        writers_BKL = cache.writers.at[:, :, position].set(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :])
        mask = beam_mask(writers_BKL, position)
        prefixes = []
        layers = unstack(self.decoder, self.settings.decoder_layers)
        for layer, prefix, memory in zip(layers, cache.prefix, cache.memory, strict=True):
            x, prefix = layer.step(x, prefix, mask, memory, cache.memory_mask, position)
            prefixes.append(prefix)
        return self._scores(x), replace(cache, prefix=tuple(prefixes), writers=writers_BKL)

    def _embed(
        self,
        embedding: Embedding,
        tokens: Array,
        positions_T: Array,
        learned: nnx.Param[Array] | None,
        key: Array | None,
    ) -> Array:
        x = embedding.embed(tokens)
        places_TD = sinusoids(positions_T, x.shape[-1]) if learned is None else learned[...][positions_T]
        return dropout(x + places_TD[None].astype(x.dtype), self.settings.dropout, key)

    def _scores(self, x: Array) -> Array:
        x = x if self.decoder_norm is None else self.decoder_norm(x)
        scores = (self.output_embedding or self._target_table).scores(x)
        return scores if self.output_bias is None else scores + self.output_bias[...][None, None, :]

    @property
    def _target_table(self) -> Embedding:
        return self.target_embedding or self.source_embedding


def compute_dtype(name: str) -> jnp.dtype:
    """The precision of matrix products: `auto` is bfloat16 on accelerators, float32 on CPU."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)

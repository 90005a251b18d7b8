"""The encoder-decoder Transformer (Vaswani et al. 2017): token ids -> logits.

    encode   source ids -> memory
    decode   target ids, memory -> logits of the next token at all positions (teacher forcing, for training)
    start    source ids -> a cache, with the keys and values of the memory projected once
    step     one token per hypothesis, the cache, a position -> logits of the next token, the cache

A model contains parameters and nothing else. Everything that changes between calls is an argument: the tokens, the
cache, the position, and the rng of dropout (`rng=None`: no dropout). Layers of one kind are stacked along a first axis
N. The letters for dimensions are listed in docs/architecture.md.
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
    """The state of the decoder between steps. The tuples have one entry per layer."""

    source: tuple[KeysValues, ...]  # [B, S, H, C], shared by the hypotheses of a sentence
    source_mask: Array  # float32 [B, 1, 1, S]
    prefix: tuple[KeysValues, ...]  # the target so far: [B, K, L, H, C], filled up to the position
    beam_indices: Array  # int32 [B, K, L], the slot of the beam that wrote each token of a hypothesis

    def reorder(self, parents_BK: Array) -> Self:
        """Returns the cache in which hypothesis k of each sentence continues the former hypothesis parents[k].

        Keys and values stay in place, because moving them would take a third of the time of the search. `beam_mask`
        selects those of each hypothesis.
        """
        return replace(self, beam_indices=jnp.take_along_axis(self.beam_indices, parents_BK[:, :, None], axis=1))


class Transformer(nnx.Module):
    """An encoder-decoder model. Its parameters are float32; it computes in `settings.compute_dtype`."""

    def __init__(self, settings: config.Model, source_vocabulary: int, target_vocabulary: int, *, rng: Array):
        self.settings = settings
        dtype = compute_dtype(settings.compute_dtype)
        rngs = jax.random.split(rng, 7)

        def embedding(size: int, rng: Array) -> Embedding:
            return Embedding(size, settings.d_model, scaled=settings.scale_embeddings, dtype=dtype, rng=rng)

        def learned_positions(rng: Array) -> nnx.Param[Array]:
            return nnx.Param(jax.random.normal(rng, (settings.max_positions, settings.d_model)) * 0.02)

        tied = settings.tie_embeddings
        self.source_embedding = embedding(source_vocabulary, rngs[0])
        self.target_embedding = None if tied == "all" else embedding(target_vocabulary, rngs[1])
        self.output_embedding = embedding(target_vocabulary, rngs[2]) if tied == "none" else None
        self.output_bias = nnx.Param(jnp.zeros((target_vocabulary,))) if settings.output_bias else None
        learned = settings.positions == "learned"
        self.source_positions = learned_positions(rngs[3]) if learned else None
        self.target_positions = learned_positions(rngs[4]) if learned else None
        self.encoder = stack(lambda rng: EncoderLayer(settings, dtype=dtype, rng=rng), settings.encoder_layers, rngs[5])
        self.decoder = stack(lambda rng: DecoderLayer(settings, dtype=dtype, rng=rng), settings.decoder_layers, rngs[6])
        # With norms before the sublayers, the output of the last layer still needs a norm.
        is_pre_norm = settings.norm == "pre"
        self.encoder_norm = Norm(settings.d_model, settings.norm_epsilon) if is_pre_norm else None
        self.decoder_norm = Norm(settings.d_model, settings.norm_epsilon) if is_pre_norm else None

    def encode(self, source: Array, *, rng: Array | None = None) -> Memory:
        """Encodes sources: int [B, S] -> memory. Negative ids are padding; every row must have at least one token."""
        rngs = split(rng, 2)
        mask = padding_mask(source >= 0)
        x = self._embed(self.source_embedding, source, jnp.arange(source.shape[1]), self.source_positions, rngs[0])
        x = run(lambda layer, x, rng: layer(x, mask, rng), self.encoder, x, rngs[1], remat=self.settings.remat)
        return Memory(x if self.encoder_norm is None else self.encoder_norm(x), mask)

    def decode(self, target: Array, memory: Memory, *, rng: Array | None = None) -> Array:
        """Computes the logits of the token after each position: int [B, T], start symbol first -> float32 [B, T, V]."""
        rngs = split(rng, 2)
        length = target.shape[1]
        mask = causal_mask(length)
        x = self._embed(self._target_embedding, target, jnp.arange(length), self.target_positions, rngs[0])
        x = run(lambda layer, x, rng: layer(x, mask, memory, rng), self.decoder, x, rngs[1], remat=self.settings.remat)
        return self._logits(x)

    def start(self, source: Array, *, beam_size: int, cache_length: int) -> Cache:
        """Encodes int [B, S] into a new cache, for K = `beam_size` hypotheses of up to L = `cache_length` tokens."""
        memory = self.encode(source)
        B, _, width = memory.states.shape
        heads = self.settings.num_heads
        empty = jnp.zeros((B, beam_size, cache_length, heads, width // heads), memory.states.dtype)
        layers = unstack(self.decoder)
        return Cache(
            source=tuple(layer.cross_attention.project(memory.states) for layer in layers),
            source_mask=memory.mask,
            prefix=tuple(KeysValues(empty, empty) for _ in layers),
            beam_indices=jnp.zeros((B, beam_size, cache_length), jnp.int32),
        )

    def step(self, tokens: Array, cache: Cache, position: Array) -> tuple[Array, Cache]:
        """Decodes one position: `tokens` (int [B, K]) has the token of each hypothesis at `position` (int []).

        Returns the logits of the next token, float32 [B, K, V], and the updated cache.
        """
        x = self._embed(self._target_embedding, tokens, position[None], self.target_positions, None)
        slots_K = jnp.arange(tokens.shape[1], dtype=jnp.int32)
        beam_indices_BKL = cache.beam_indices.at[:, :, position].set(slots_K[None, :])
        mask = beam_mask(beam_indices_BKL, position)
        prefixes = []
        for layer, prefix, source in zip(unstack(self.decoder), cache.prefix, cache.source, strict=True):
            x, prefix = layer.step(x, prefix, mask, source, cache.source_mask, position)
            prefixes.append(prefix)
        return self._logits(x), replace(cache, prefix=tuple(prefixes), beam_indices=beam_indices_BKL)

    def _embed(
        self,
        embedding: Embedding,
        tokens: Array,
        positions_T: Array,
        learned: nnx.Param[Array] | None,
        rng: Array | None,
    ) -> Array:
        x = embedding.embed(tokens)
        positions_TD = sinusoids(positions_T, x.shape[-1]) if learned is None else learned[...][positions_T]
        return dropout(x + positions_TD[None].astype(x.dtype), self.settings.dropout, rng)

    def _logits(self, x: Array) -> Array:
        x = x if self.decoder_norm is None else self.decoder_norm(x)
        logits = (self.output_embedding or self._target_embedding).logits(x)
        return logits if self.output_bias is None else logits + self.output_bias[...][None, None, :]

    @property
    def _target_embedding(self) -> Embedding:
        return self.target_embedding or self.source_embedding


def compute_dtype(name: str) -> jnp.dtype:
    """Returns the dtype of matrix products; `auto` is bfloat16 on accelerators and float32 on CPU."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)

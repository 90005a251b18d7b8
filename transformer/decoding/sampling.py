"""Random choice of tokens from the distribution of a model."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from transformer import config


def segment_keys(seed: Array, lines_B: Array, segments_B: Array) -> Array:
    """Returns a PRNG key per sentence [B], from the seed and the numbers of its line and of its segment in the line.

    The first segment gets the key of the line. Each further segment gets another key, so that equal segments of a line
    get different draws.
    """

    def key(line: Array, segment: Array) -> Array:
        line_key = jax.random.fold_in(jax.random.key(seed), line)
        return jnp.where(segment == 0, line_key, jax.random.fold_in(line_key, segment))

    return jax.vmap(key)(lines_B, segments_B)


@dataclass(frozen=True)
class Sampled:
    """Draws tokens from the distribution of the model, after temperature, top-k and top-p.

    A draw depends on the key of the sentence, the hypothesis and the position, never on the other sentences.
    """

    keys: Array  # PRNG keys [B]
    settings: config.Sampling  # its seed is not used

    def __call__(self, log_probabilities_BKV: Array, position: Array) -> Array:
        temperature, top_k, top_p = self.settings.temperature, self.settings.top_k, self.settings.top_p
        logits_BKV = log_probabilities_BKV / temperature
        ranked_BKV = -jnp.sort(-logits_BKV, axis=-1)
        least_BK = jnp.full(logits_BKV.shape[:2], -jnp.inf)
        if 0 < top_k < logits_BKV.shape[-1]:
            least_BK = jnp.maximum(least_BK, ranked_BKV[..., top_k - 1])
        if top_p < 1:
            probabilities_BKV = jax.nn.softmax(ranked_BKV, axis=-1)
            before_BKV = jnp.cumsum(probabilities_BKV, axis=-1) - probabilities_BKV
            kept_BKV = jnp.where(before_BKV < top_p, ranked_BKV, jnp.inf)
            least_BK = jnp.maximum(least_BK, kept_BKV.min(axis=-1))
        logits_BKV = jnp.where(logits_BKV >= least_BK[..., None], logits_BKV, -jnp.inf)

        def draw(key: Array, logits_KV: Array) -> Array:
            keys = jax.random.split(jax.random.fold_in(key, position), logits_KV.shape[0])
            return jax.vmap(jax.random.categorical)(keys, logits_KV)

        return jax.vmap(draw)(self.keys, logits_BKV)

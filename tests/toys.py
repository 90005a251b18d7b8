"""A model for the tests of search: random, seeing the whole prefix, with nothing of a Transformer in it."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array

CODES = 997  # of prefixes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Toy:
    """A cache that holds a random model: the logits stand in a table at a code of the whole prefix."""

    logits: Array  # [B, CODES, V]
    prefix: Array  # [B, K], the code of each hypothesis' prefix

    def reorder(self, parents_BK: Array) -> "Toy":
        return replace(self, prefix=jnp.take_along_axis(self.prefix, parents_BK, axis=1))


def extended(code: Array | int, token: Array | int) -> Array | int:
    return (code * 31 + token + 5) % CODES


def toy_step(tokens: Array, cache: Toy, position: Array) -> tuple[Array, Toy]:
    prefix = extended(cache.prefix, tokens)
    return jax.vmap(lambda logits, codes: logits[codes])(cache.logits, prefix), replace(cache, prefix=prefix)

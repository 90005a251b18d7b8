"""Layers of one kind, whose parameters are stacked along a first axis N, and which are run by a scan.

A scan compiles one layer, however many there are. It is also faster: with 4 + 4 layers of width 128, an update on two
CPU cores took 0.31 s and 2.9 s to compile; with the layers one after another, 0.36 s and 4.5 s.
"""

import operator
from collections.abc import Callable
from typing import TypeVar

import jax
from jax import Array

Layer = TypeVar("Layer")


def stack(make: Callable[[Array], Layer], size: int, rng: Array) -> Layer:
    """Makes N = `size` layers, each with its own rng, and stacks their parameters."""
    return jax.vmap(make)(jax.random.split(rng, size))


def unstack(layers: Layer) -> list[Layer]:
    """Returns the layers one by one."""
    return [jax.tree.map(operator.itemgetter(i), layers) for i in range(len(jax.tree.leaves(layers)[0]))]


def run(
    apply: Callable[[Layer, Array, Array | None], Array],
    layers: Layer,
    x: Array,
    rng: Array | None,
    *,
    remat: bool,
) -> Array:
    """Applies the layers one after another: x = apply(layer, x, rng), with a different rng for each layer.

    With `remat`, activations are computed again in the backward pass, which saves memory.
    """

    def body(x: Array, layer_and_rng: tuple[Layer, Array | None]) -> tuple[Array, None]:
        layer, rng = layer_and_rng
        return apply(layer, x, rng), None

    rngs = None if rng is None else jax.random.split(rng, len(jax.tree.leaves(layers)[0]))
    return jax.lax.scan(jax.checkpoint(body) if remat else body, x, (layers, rngs))[0]


def split(rng: Array | None, uses: int) -> list[Array | None]:
    """Splits an rng for several uses. If it is None, each use gets None."""
    return [None] * uses if rng is None else list(jax.random.split(rng, uses))

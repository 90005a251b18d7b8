"""Layers of one kind as one: their parameters stacked along a first axis N, run by a scan.

A scan compiles one layer, however many there are. It is also the faster of the two: with 4 + 4 layers of width 128 an
update on two CPU cores took 0.31 s and 2.9 s to compile, with the layers one after another 0.36 s and 4.5 s.
"""

import operator
from collections.abc import Callable
from typing import TypeVar

import jax
from jax import Array

Layer = TypeVar("Layer")


def stack(make: Callable[[Array], Layer], count: int, key: Array) -> Layer:
    """`count` layers, each made with a key of its own, as one."""
    return jax.vmap(make)(jax.random.split(key, count))


def unstack(layers: Layer, count: int) -> list[Layer]:
    """The layers one by one."""
    return [jax.tree.map(operator.itemgetter(i), layers) for i in range(count)]


def run(
    apply: Callable[[Layer, Array, Array | None], Array],
    layers: Layer,
    count: int,
    x: Array,
    key: Array | None,
    *,
    remat: bool,
) -> Array:
    """Passes x through the layers: x = apply(layer, x, a key of its own)."""

    def body(x: Array, layer_and_key: tuple[Layer, Array | None]) -> tuple[Array, None]:
        layer, key = layer_and_key
        return apply(layer, x, key), None

    keys = None if key is None else jax.random.split(key, count)
    return jax.lax.scan(jax.checkpoint(body) if remat else body, x, (layers, keys))[0]


def split(key: Array | None, count: int) -> list[Array | None]:
    """Keys for `count` uses; no key stays no key."""
    return [None] * count if key is None else list(jax.random.split(key, count))

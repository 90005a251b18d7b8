"""Parameters by name: `encoder.self_attention.query.kernel` and so on."""

from typing import Any, TypeVar

import jax
from jax import Array

Tree = TypeVar("Tree")


def name_of(path: tuple[Any, ...]) -> str:
    """Returns the keys of a path in a JAX tree, joined by dots, without the `.value` that Flax adds."""
    names = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path]
    return ".".join(names).removesuffix(".value")


def named(tree: Any) -> dict[str, Array]:
    """Returns every array of a model, or of any tree of arrays, by its name, in a fixed order."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def with_values(tree: Tree, values: dict[str, Any]) -> Tree:
    """Returns the tree with each array replaced by the one that has its name in `values`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: values[name_of(path)], tree)

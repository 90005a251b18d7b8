"""Sharding: a mesh of devices, and a table that assigns axes of the mesh to each parameter by its name.

The code of the model does not depend on sharding. A single device is a mesh of 1 x 1 x 1, and runs the same code.
"""

import re
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from transformer import config
from transformer.data.batches import Batch
from transformer.errors import UsageError
from transformer.model.parameters import name_of

# For arrays whose name ends with the pattern: the mesh axis over which each dimension is sharded. Linear layers into
# heads and hidden units are sharded by columns, and layers out of them by rows (Shoeybi et al. 2019), so that only the
# outputs of the latter are summed over devices.
RULES = (
    (r"table", PartitionSpec("tensor", "fsdp")),
    (r"(query|key|value|up)\.kernel", PartitionSpec("fsdp", "tensor")),
    (r"(query|key|value|up)\.bias", PartitionSpec("tensor")),
    (r"(out|down)\.kernel", PartitionSpec("tensor", "fsdp")),
    (r"output_bias", PartitionSpec("tensor")),
    (r"(out|down|norm|\w+_norm)\.(bias|scale)", PartitionSpec()),
    (r"\w+_positions", PartitionSpec(None, "fsdp")),
    (r"step|count|skipped", PartitionSpec()),
)
STACKED = re.compile(r"(^|\.)(encoder|decoder)\.")  # the first axis is the layer axis, which is never split
BATCH = PartitionSpec(("data", "fsdp"))


def make_mesh(settings: config.Mesh) -> Mesh:
    """Arranges all devices as a grid of data x fsdp x tensor. Raises UsageError if this is not their number."""
    devices = jax.devices()
    per_replica = settings.fsdp * settings.tensor
    data = settings.data if settings.data > 0 else max(len(devices) // per_replica, 1)
    if data * per_replica != len(devices):
        raise UsageError(
            f"mesh.data x mesh.fsdp x mesh.tensor = {data} x {settings.fsdp} x {settings.tensor},"
            f" but the number of devices is {len(devices)}"
        )
    return Mesh(np.array(devices).reshape(data, settings.fsdp, settings.tensor), ("data", "fsdp", "tensor"))


def shardings(tree: Any, mesh: Mesh) -> Any:
    """Returns the tree with a sharding in place of each array, by RULES. Raises ValueError for an unknown name."""

    def sharding(path: tuple[Any, ...], array: jax.ShapeDtypeStruct) -> NamedSharding:
        name = name_of(path)
        rule = next((spec for pattern, spec in RULES if re.search(rf"(^|\.)({pattern})$", name)), None)
        if rule is None:
            raise ValueError(f"no sharding rule for the parameter {name} of shape {array.shape}")
        axes = (None, *rule) if STACKED.search(name) else tuple(rule)
        # An axis, such as that of an odd vocabulary, is not split if the number of devices does not divide its size.
        sizes = zip(axes, array.shape, strict=False)
        fitting = [axis if axis and size % mesh.shape[axis] == 0 else None for axis, size in sizes]
        return NamedSharding(mesh, PartitionSpec(*fitting))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def put_batch(batch: Batch[np.ndarray], mesh: Mesh) -> Batch[Array]:
    """Puts a batch on the devices, split by rows. Every process must have the complete batch as NumPy arrays."""
    sharding = NamedSharding(mesh, BATCH)
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), batch)

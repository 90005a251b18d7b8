"""One device and eight give the same training."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from transformer import config
from transformer.errors import UsageError
from transformer.model.parameters import named
from transformer.training.sharding import make_mesh, shardings
from transformer.training.state import initial_state

SETTINGS = config.Config(
    run_dir="x",
    data=config.Data(source="en", target="de", train=("x",), valid=("x",)),
    model=config.Model(d_model=16, d_ff=32, num_heads=4, encoder_layers=2, decoder_layers=2, dropout=0.1),
    # Adam turns the rounding noise of a gradient that is zero (attention's key bias) into steps of full size.
    train=config.Train(warmup_steps=2, adam_epsilon=1e-3),
)

THREE_UPDATES = """
import sys, jax, numpy as np
from test_sharding import SETTINGS
from transformer import config
from transformer.data.batches import Batch
from transformer.model.parameters import named
from transformer.training.sharding import make_mesh, put_batch, shardings
from transformer.training.state import initial_state, make_update

data, fsdp, tensor = map(int, sys.argv[2:])
mesh = make_mesh(config.Mesh(data=data, fsdp=fsdp, tensor=tensor))
make = lambda: initial_state(SETTINGS.model, SETTINGS.train, SETTINGS.seed, 32, 32)
places = shardings(jax.eval_shape(make), mesh)
state = jax.jit(make, out_shardings=places)()
update = jax.jit(make_update(SETTINGS.train, SETTINGS.seed), out_shardings=(places, None))
random = np.random.default_rng(0)
for _ in range(3):
    ids = random.integers(4, 32, (16, 7), np.int32)
    state, metrics = update(state, put_batch(Batch(ids, ids, ids), mesh))
np.savez(sys.argv[1], loss=metrics.losses.kl, **{name: np.asarray(value) for name, value in named(state.model).items()})
"""


def three_updates(path, devices: int, *axes: int) -> dict[str, np.ndarray]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.path.dirname(__file__)}
    command = [sys.executable, "-c", THREE_UPDATES, str(path), *map(str, axes)]
    subprocess.run(command, check=True, env=environment, timeout=300)
    return dict(np.load(path))


def test_eight_devices_train_as_one(tmp_path) -> None:
    """Batch split, parameters split by rows, heads split: dropout included, the same up to the order of sums."""
    one = three_updates(tmp_path / "one.npz", 1, 1, 1, 1)
    eight = three_updates(tmp_path / "eight.npz", 8, 2, 2, 2)
    assert one.keys() == eight.keys()
    for name, value in one.items():
        np.testing.assert_allclose(eight[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_every_parameter_has_a_place() -> None:
    mesh = make_mesh(config.Mesh())
    for norm, positions, tied in (("pre", "sinusoidal", "all"), ("post", "learned", "none")):
        model = SETTINGS.model.model_copy(update={"norm": norm, "positions": positions, "tie_embeddings": tied})
        settings = SETTINGS.model_copy(update={"model": model})
        shapes = jax.eval_shape(lambda one=settings: initial_state(one.model, one.train, one.seed, 7, 11))
        places = named(shardings(shapes, mesh))
        assert places["step"].spec == PartitionSpec()
        assert places["model.encoder.self_attention.query.kernel"].spec == PartitionSpec(None, "fsdp", "tensor")
        assert places["average.encoder.feed_forward.down.kernel"].spec == PartitionSpec(None, "tensor", "fsdp")


def test_what_no_rule_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="mystery"):
        shardings({"mystery": jnp.zeros(3)}, make_mesh(config.Mesh()))


def test_a_mesh_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mesh\.fsdp.*1 devices"):
        make_mesh(config.Mesh(fsdp=3))

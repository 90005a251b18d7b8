"""One device and eight give the same training."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from runs import ROOT
from three_updates import SETTINGS
from transformer import config
from transformer.errors import UsageError
from transformer.model.parameters import named
from transformer.training.sharding import make_mesh, shardings
from transformer.training.update import initial_state

pytestmark = pytest.mark.mixed_dtypes

XLA_FLAGS = os.environ["XLA_FLAGS"]


def test_eight_devices_train_as_one(tmp_path: Path) -> None:
    """Batch split, parameters split by rows, heads split: dropout included, the same up to the order of sums."""
    processes = []
    for devices, axes in ((1, "111"), (8, "222")):
        environment = os.environ | {"XLA_FLAGS": f"{XLA_FLAGS} --xla_force_host_platform_device_count={devices}"}
        command = [sys.executable, str(Path(__file__).with_name("three_updates.py")), str(tmp_path / axes), *axes]
        processes.append(subprocess.Popen(command, env=environment, cwd=ROOT))
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    one, eight = (dict(np.load(tmp_path / f"{axes}.npz")) for axes in ("111", "222"))
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
    with pytest.raises(UsageError, match=r"mesh\.fsdp.*number of devices is 1"):
        make_mesh(config.Mesh(fsdp=3))

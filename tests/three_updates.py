"""python three_updates.py OUT DATA FSDP TENSOR: three updates of a small model on a mesh of devices."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from transformer import config
from transformer.data.batches import Batch
from transformer.model.parameters import named
from transformer.training.loop import Setup, jit_update, make_initial_state, state_shapes
from transformer.training.sharding import make_mesh, put_batch

SETTINGS = config.Config(
    run_dir="x",
    data=config.Data(source="en", target="de", train=("x",), valid=("x",)),
    model=config.Model(d_model=16, d_ff=32, num_heads=4, encoder_layers=2, decoder_layers=2, dropout=0.1),
    # Adam turns the rounding noise of a gradient that is zero (attention's key bias) into steps of full size.
    train=config.Train(warmup_steps=2, adam_epsilon=1e-3),
)


def three_updates(data: int, fsdp: int, tensor: int) -> dict[str, np.ndarray]:
    """The loss of the third update, and the parameters after it."""
    mesh = make_mesh(config.Mesh(data=data, fsdp=fsdp, tensor=tensor))
    side = SimpleNamespace(vocab_size=32)
    corpora: Any = SimpleNamespace(tokenizers=SimpleNamespace(source=side, target=side))
    batches: Any = None
    setup = Setup(SETTINGS, corpora, batches, [], mesh)
    shapes = state_shapes(setup)
    state, update = make_initial_state(setup, shapes), jit_update(setup, shapes)
    random = np.random.default_rng(0)
    for _ in range(3):
        ids = random.integers(4, 32, (16, 7), np.int32)
        state, metrics = update(state, put_batch(Batch(ids, ids, ids), mesh))
    return {"loss": metrics.losses.kl, **{name: np.asarray(value) for name, value in named(state.model).items()}}


if __name__ == "__main__":
    np.savez(sys.argv[1], **three_updates(*map(int, sys.argv[2:])))

"""The largest of many, as JAX has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.decoding.beam import top_k


@pytest.mark.parametrize("size", [11, 1281, 5000])
def test_as_jax_has_it_also_among_equals(size: int) -> None:
    x = jnp.array(np.random.default_rng(size).integers(0, 50, (7, size)), jnp.float32).at[2].set(-jnp.inf)
    for ours, theirs in zip(top_k(x, 10), jax.lax.top_k(x, 10), strict=True):
        np.testing.assert_array_equal(ours, theirs)

"""The k largest of many numbers, fast inside a loop."""

import jax
import jax.numpy as jnp
from jax import Array

CHUNK = 128


def top_k(x_BN: Array, k: int) -> tuple[Array, Array]:
    """Returns the k largest numbers of each row and their indices, like `jax.lax.top_k`.

    Inside a loop on CPU, `jax.lax.top_k` sorts the whole row: 80 ms for 85 rows of 30,000 (jax 0.10.2). The k largest
    lie in the k chunks with the largest maxima, so two short sorts are enough.
    """
    B, N = x_BN.shape  # N: numbers per row
    if CHUNK * k >= N:
        return jax.lax.top_k(x_BN, k)
    chunks_BCW = jnp.pad(x_BN, ((0, 0), (0, -N % CHUNK)), constant_values=-jnp.inf).reshape(B, -1, CHUNK)
    # Sorted, so that of equal numbers the first is chosen.
    chosen_BK = jnp.sort(jax.lax.top_k(chunks_BCW.max(axis=-1), k)[1], axis=-1)
    few_BM = jnp.take_along_axis(chunks_BCW, chosen_BK[:, :, None], axis=1).reshape(B, -1)
    values, places = jax.lax.top_k(few_BM, k)
    return values, jnp.take_along_axis(chosen_BK, places // CHUNK, axis=1) * CHUNK + places % CHUNK

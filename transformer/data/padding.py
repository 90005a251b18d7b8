"""Padding: rows of different lengths in one array."""

from collections.abc import Sequence

import numpy as np

PADDING = -1  # not a token. The encoder masks negative ids; the causal mask of the decoder hides padding at the end.


def pad(sentences: Sequence[Sequence[int] | np.ndarray], rows: int, length: int, missing: int) -> np.ndarray:
    """Returns the sentences as int32 [rows, length], padded with PADDING. Rows without a sentence start with `missing`.

    In a source, `missing` must be a token, because attention needs at least one in each row.
    """
    padded = np.full((rows, length), PADDING, np.int32)
    padded[len(sentences) :, 0] = missing
    for row, ids in enumerate(sentences):
        padded[row, : len(ids)] = ids
    return padded

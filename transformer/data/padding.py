"""Padding: rows of different lengths in one array."""

from collections.abc import Sequence

import numpy as np

PADDING = -1  # not a token: the encoder masks negative ids, and in the decoder padding comes last


def pad(sentences: Sequence[Sequence[int] | np.ndarray], rows: int, length: int, missing: int) -> np.ndarray:
    """Returns the sentences as int32 [rows, length], padded; each missing row has the single token `missing`.

    So no row of a source is empty: attention needs at least one token.
    """
    padded = np.full((rows, length), PADDING, np.int32)
    padded[len(sentences) :, 0] = missing
    for row, ids in enumerate(sentences):
        padded[row, : len(ids)] = ids
    return padded

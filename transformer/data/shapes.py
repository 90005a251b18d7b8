"""Few, fixed shapes for translating and scoring: a row's shape depends on its own length alone.

So a sentence gets the same numbers whatever its neighbours, and nothing compiles after the first batch of each shape.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from transformer.data.batches import PADDING

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # tokens; beyond them, powers of two


def length_of(tokens: int) -> int:
    """The length up to which a row of so many tokens is filled."""
    return next((length for length in LENGTHS if tokens <= length), 1 << (tokens - 1).bit_length())


def group(tokens: Sequence[int], batch_tokens: int) -> Iterator[tuple[int, int, list[int]]]:
    """Rows of the given numbers of tokens in batches: (length, rows of the batch, indices of those that are there).

    A length has a fixed number of rows, as many as fit into `batch_tokens` positions; the last batch may lack some.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, count in enumerate(tokens):
        members[length_of(count)].append(index)
    for length, indices in sorted(members.items()):
        rows = max(1, batch_tokens // length)
        for start in range(0, len(indices), rows):
            yield length, rows, indices[start : start + rows]


def fill(sentences: Sequence[Sequence[int]], rows: int, length: int, missing: int) -> np.ndarray:
    """The sentences as int32 [rows, length], filled up; a row that is not there holds the one token `missing`."""
    filled = np.full((rows, length), PADDING, np.int32)
    filled[len(sentences) :, 0] = missing
    for row, ids in enumerate(sentences):
        filled[row, : len(ids)] = ids
    return filled


def column(values: Sequence[int], rows: int) -> np.ndarray:
    """int32 [rows], of which those that are missing are 1: the shortest there is."""
    return np.array([*values, *[1] * (rows - len(values))], np.int32)

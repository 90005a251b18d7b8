"""Few, fixed shapes for translating and scoring: the shape of a row depends on its own length alone.

So the result of a sentence does not depend on the other sentences, and each shape is compiled only once.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # tokens; above them, powers of two


def padded_length(tokens: int) -> int:
    """Returns the padded length of a row with `tokens` tokens."""
    return next((length for length in LENGTHS if tokens <= length), 1 << (tokens - 1).bit_length())


def group(tokens: Sequence[int], batch_tokens: int) -> Iterator[tuple[int, int, list[int]]]:
    """Groups sequences with the given numbers of tokens into batches: (padded length, rows, indices of the sequences).

    All batches of one length have the same number of rows: as many as fit into `batch_tokens` positions, but at least
    one. The last batch of a length may have fewer sequences than rows.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, count in enumerate(tokens):
        members[padded_length(count)].append(index)
    for length, indices in sorted(members.items()):
        rows = max(1, batch_tokens // length)
        for start in range(0, len(indices), rows):
            yield length, rows, indices[start : start + rows]


def column(values: Sequence[int], rows: int) -> np.ndarray:
    """Returns the values as int32 [rows]. Rows without a value get 1.

    If the values are length limits, the search for a row without a sentence thus ends after one step.
    """
    return np.array([*values, *[1] * (rows - len(values))], np.int32)

"""The warning about pairs that are longer than data.max_length."""

from collections import Counter

import numpy as np


def length_warning(name: str, too_long: float, lengths: Counter[int], max_length: int) -> str:
    """Returns a warning, with the max_length that keeps 99% of the pairs.

    `too_long` is the fraction of the pairs that are too long. `lengths` counts the pairs by the number of tokens of
    their longer side.
    """
    p95, p99 = np.percentile(list(lengths), [95, 99], method="inverted_cdf", weights=list(lengths.values()))
    return (
        f"{name}: {too_long:.1%} of the pairs are longer than data.max_length = {max_length} tokens, and are left out;"
        f" 95% have at most {p95}, 99% at most {p99}: data.max_length = {p99} keeps 99%"
    )

"""Counts the parameters of a model."""

import math
from collections import defaultdict

from transformer.model.parameters import named
from transformer.model.transformer import Transformer


def parameter_table(model: Transformer) -> str:
    """Returns a table with the number of parameters of each module, and the total number."""
    counts: dict[str, int] = defaultdict(int)
    for name, value in named(model).items():
        counts[".".join(name.split(".")[:2])] += math.prod(value.shape)
    rows = [*counts.items(), ("all parameters", sum(counts.values()))]
    width = max(len(name) for name, _ in rows)
    return "parameters\n" + "\n".join(f"  {name:<{width}}  {count:>13,}" for name, count in rows)

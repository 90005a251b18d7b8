"""The probability of a given translation, by the chain rule: p(y | x) = product of p(y_t | y_<t, x)."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from transformer.data.corpus import Pair
from transformer.data.padding import pad
from transformer.errors import DataError
from transformer.model.transformer import Transformer
from transformer.translation.shapes import group
from transformer.translation.translator import Translator


@dataclass(frozen=True)
class Scored:
    """The log-probability of a target given its source."""

    log_probability: float  # natural logarithm, EOS included
    tokens: tuple[str, ...]  # pieces, EOS last
    token_log_probabilities: tuple[float, ...]


def score(translator: Translator, pairs: Sequence[Pair], *, first_line: int = 0) -> list[Scored]:
    """Scores each pair, in order.

    Raises DataError if a pair has more tokens than the model has learned positions. The message has the number of the
    line: the number of the pair, from 1, plus `first_line`.
    """
    source_end, target_end = translator.tokenizers.source.eos_id, translator.tokenizers.target.eos_id
    sources = [[*ids, source_end] for ids in translator.tokenizers.source.encode([pair.source for pair in pairs])]
    targets = [[*ids, target_end] for ids in translator.tokenizers.target.encode([pair.target for pair in pairs])]
    longer = [max(len(source), len(target)) for source, target in zip(sources, targets, strict=True)]
    settings = translator.config.model
    if settings.positions == "learned":
        for line, tokens in enumerate(longer, first_line + 1):
            if tokens > settings.max_positions:
                raise DataError(
                    f"line {line} has {tokens} tokens, the model has {settings.max_positions} positions; shorten it"
                )
    scored: dict[int, Scored] = {}
    for length, rows, indices in group(longer, translator.config.decode.batch_tokens):
        source = pad([sources[index] for index in indices], rows, length, source_end)
        labels = pad([targets[index] for index in indices], rows, length, target_end)
        start = translator.symbols.start
        given = pad([[start, *targets[index][:-1]] for index in indices], rows, length, start)
        log_probabilities_BT = jax.device_get(_token_log_probabilities(translator.model, source, given, labels))
        for row, index in enumerate(indices):
            values = tuple(float(x) for x in log_probabilities_BT[row, : len(targets[index])])
            pieces = tuple(translator.tokenizers.target.pieces(targets[index]))
            scored[index] = Scored(sum(values), pieces, values)
    return [scored[index] for index in range(len(pairs))]


@jax.jit
def _token_log_probabilities(model: Transformer, source: Array, target: Array, labels: Array) -> Array:
    """Returns the log-probability of each label, given the source and the labels before it: float32 [B, T]."""
    log_probabilities_BTV = jax.nn.log_softmax(model.decode(target, model.encode(source)), axis=-1)
    return jnp.take_along_axis(log_probabilities_BTV, labels[..., None], axis=-1)[..., 0]

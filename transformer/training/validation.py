"""How good a model is on the validation corpus: by its losses, and by what it translates."""

import math
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from jax import Array

from transformer import evaluation
from transformer.config import Train
from transformer.data.batches import Batch
from transformer.data.corpus import Pair
from transformer.model.transformer import Transformer
from transformer.training.state import batch_losses
from transformer.translator import Translator

Metric = dict[str, float]


def validate(
    model: Transformer,
    batches: Iterable[Batch[Array]],
    translator: Translator,
    pairs: Sequence[Pair],
) -> tuple[Metric, str]:
    """`valid_nll` (nats a target token, by teacher forcing), `valid_bleu` and `valid_chrf` of greedy translations.

    Also the first translation, to be looked at.
    """
    sums = [_losses(model, batch) for batch in batches]
    nll, tokens = np.sum(jax.device_get(sums), axis=0)
    found = translator.translate((pair.source for pair in pairs), beam_size=1)
    hypotheses = [translation.text for translation in found]
    references = [pair.target for pair in pairs]
    return {
        "valid_nll": float(nll / tokens),
        "valid_bleu": evaluation.bleu(hypotheses, references).value,
        "valid_chrf": evaluation.chrf(hypotheses, references).value,
    }, hypotheses[0]


def quality(metrics: Metric, settings: Train) -> float:
    """The metric that decides on the best model, turned so that higher is better; -inf where a model has diverged."""
    if not math.isfinite(metrics["valid_nll"]):
        return -math.inf
    value = metrics[f"valid_{settings.best_metric}"]
    return -value if settings.best_metric == "nll" else value


@jax.jit
def _losses(model: Transformer, batch: Batch[Array]) -> tuple[Array, Array]:
    losses = batch_losses(model, batch, smoothing=0.0)
    return losses.nll, losses.tokens

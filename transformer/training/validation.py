"""Evaluates a model on the validation corpora, by its loss and by its translations."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from transformer.config import Train
from transformer.config.train import ALL, MEAN
from transformer.data.batches import Batch
from transformer.data.prepare import ValidCorpus
from transformer.evaluation.metrics import bleu, chrf
from transformer.model.transformer import Transformer
from transformer.training.update import batch_losses
from transformer.translation.translator import Translator

Metrics = dict[str, float]


class Validation(NamedTuple):
    """The result of a validation."""

    decisive: Metrics
    """`nll` (nats per target token, by teacher forcing), `bleu` and `chrf` of greedy translations, of the corpora that
    train.best_corpus names"""
    corpora: dict[str, Metrics]
    """the same metrics of each corpus, by a short name"""
    example: str
    """the first translation, for the log"""

    @property
    def metrics(self) -> Metrics:
        """The metrics by their names in metrics.jsonl: `valid_bleu`, `valid_bleu/NAME` of each of several corpora."""
        named = {f"valid_{name}": value for name, value in self.decisive.items()}
        if len(self.corpora) > 1:
            for corpus, metrics in self.corpora.items():
                named |= {f"valid_{name}/{corpus}": value for name, value in metrics.items()}
        return named


def validate(
    model: Transformer,
    corpora: Sequence[ValidCorpus],
    batches: Callable[[int], Iterable[Batch[Array]]],
    translator: Translator,
    best_corpus: str,
    names: Sequence[str],
) -> Validation:
    """Evaluates the model on every corpus. `batches(i)` returns the batches of corpus i; `names` name them."""
    sums = [_sum_losses(model, batches(number)) for number in range(len(corpora))]
    pairs = [pair for corpus in corpora for pair in corpus.pairs]
    translations = translator.translate((pair.source for pair in pairs), beam_size=1)
    hypotheses, references = [translation.text for translation in translations], [pair.target for pair in pairs]
    bounds = pairwise(accumulate((len(corpus.pairs) for corpus in corpora), initial=0))
    each = [
        _metrics(losses, hypotheses[start:end], references[start:end])
        for losses, (start, end) in zip(sums, bounds, strict=True)
    ]
    if best_corpus == MEAN:
        decisive = {name: math.fsum(one[name] for one in each) / len(each) for name in each[0]}
    elif best_corpus == ALL:
        decisive = each[0] if len(each) == 1 else _metrics(np.sum(sums, axis=0), hypotheses, references)
    else:
        decisive = each[[corpus.name for corpus in corpora].index(best_corpus)]
    return Validation(decisive, dict(zip(names, each, strict=True)), hypotheses[0])


def quality(metrics: Metrics, settings: Train) -> float:
    """Returns the metric that decides which model is the best, negated if lower is better; -inf if the loss is not
    finite. `metrics` are by their names in metrics.jsonl."""
    if not math.isfinite(metrics["valid_nll"]):
        return -math.inf
    value = metrics[f"valid_{settings.best_metric}"]
    return -value if settings.best_metric == "nll" else value


def _metrics(losses: np.ndarray, hypotheses: Sequence[str], references: Sequence[str]) -> Metrics:
    nll, tokens = losses
    return {
        "nll": float(nll / tokens),
        "bleu": bleu(hypotheses, references).value,
        "chrf": chrf(hypotheses, references).value,
    }


def _sum_losses(model: Transformer, batches: Iterable[Batch[Array]]) -> np.ndarray:
    """The sums of nll and tokens over the batches: float [2]."""
    return np.sum(jax.device_get([_losses(model, batch) for batch in batches]), axis=0)


@jax.jit
def _losses(model: Transformer, batch: Batch[Array]) -> tuple[Array, Array]:
    losses = batch_losses(model, batch, smoothing=0.0)
    return losses.nll, losses.tokens

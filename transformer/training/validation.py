"""Evaluates a model on the validation corpora, by its loss and by its translations."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from transformer import evaluation
from transformer.config import ALL, MEAN, Config, Train
from transformer.data.batches import Batch
from transformer.data.corpus import Corpus
from transformer.data.prepare import ValidCorpus
from transformer.model.transformer import Transformer
from transformer.training.state import batch_losses
from transformer.translator import Translator

Metrics = dict[str, float]


class Validation(NamedTuple):
    """The result of a validation."""

    decisive: Metrics
    """`nll` (nats a target token, by teacher forcing), `bleu` and `chrf` of greedy translations: what train.best_corpus
    names"""
    corpora: dict[str, Metrics]
    """the same of each corpus, by a short name"""
    example: str
    """the first translation, to be looked at"""

    @property
    def metrics(self) -> Metrics:
        """The names in metrics.jsonl: `valid_bleu`, and if there are several corpora `valid_bleu/NAME` as well."""
        found = {f"valid_{name}": value for name, value in self.decisive.items()}
        if len(self.corpora) > 1:
            for corpus, metrics in self.corpora.items():
                found |= {f"valid_{name}/{corpus}": value for name, value in metrics.items()}
        return found


def validate(
    model: Transformer,
    corpora: Sequence[ValidCorpus],
    batches: Callable[[int], Iterable[Batch[Array]]],
    translator: Translator,
    best_corpus: str,
) -> Validation:
    """Scores the model on every corpus; `batches` gives those of a corpus by its number."""
    sums = [_sum_losses(model, batches(number)) for number in range(len(corpora))]
    pairs = [pair for corpus in corpora for pair in corpus.pairs]
    found = translator.translate((pair.source for pair in pairs), beam_size=1)
    hypotheses, references = [translation.text for translation in found], [pair.target for pair in pairs]
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
    names = short_names([corpus.name for corpus in corpora])
    return Validation(decisive, dict(zip(names, each, strict=True)), hypotheses[0])


def quality(metrics: Metrics, settings: Train) -> float:
    """The metric that decides on the best model, negated if lower is better; -inf if the model has diverged.

    `metrics` are by their names in metrics.jsonl.
    """
    if not math.isfinite(metrics["valid_nll"]):
        return -math.inf
    value = metrics[f"valid_{settings.best_metric}"]
    return -value if settings.best_metric == "nll" else value


def measure(config: Config, corpora: Sequence[Corpus]) -> str:
    """Identifies the metric and the corpora that decide. Two scores can be compared only if these values are equal."""
    best, names = config.train.best_corpus, config.data.valid
    decisive = corpora[names.index(best) :][:1] if best in names else corpora
    how = MEAN if best == MEAN and len(corpora) > 1 else ALL
    contents = hashlib.sha256("\n".join(corpus.identity for corpus in decisive).encode()).hexdigest()
    return f"{config.train.best_metric} of {how} {contents}"


def short_names(corpora: Sequence[str]) -> list[str]:
    """A unique name for each corpus: the end of its path, else all of it, else all of it with a number."""
    ends = [Path(corpus).name for corpus in corpora]
    names = ends if len(set(ends)) == len(ends) else list(corpora)
    if len(set(names)) == len(names):
        return names
    return [f"{number}:{name}" for number, name in enumerate(names, 1)]


def _metrics(losses: np.ndarray, hypotheses: Sequence[str], references: Sequence[str]) -> Metrics:
    nll, tokens = losses
    return {
        "nll": float(nll / tokens),
        "bleu": evaluation.bleu(hypotheses, references).value,
        "chrf": evaluation.chrf(hypotheses, references).value,
    }


def _sum_losses(model: Transformer, batches: Iterable[Batch[Array]]) -> np.ndarray:
    """The sums of nll and tokens over the batches: float [2]."""
    return np.sum(jax.device_get([_losses(model, batch) for batch in batches]), axis=0)


@jax.jit
def _losses(model: Transformer, batch: Batch[Array]) -> tuple[Array, Array]:
    losses = batch_losses(model, batch, smoothing=0.0)
    return losses.nll, losses.tokens

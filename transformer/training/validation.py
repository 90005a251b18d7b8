"""Evaluates a model on the validation corpora, by its loss and by its translations."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from transformer.config import Train
from transformer.config.train import ALL, MEAN
from transformer.data.batches import Batch
from transformer.evaluation.bleu_tokenizer import LOW_BLEU, bleu_tokenizer, explain_tokens
from transformer.evaluation.metrics import bleu, chrf
from transformer.model.transformer import Transformer
from transformer.training.loop import Setup
from transformer.training.sharding import put_batch
from transformer.training.update import batch_losses
from transformer.translation.model_config import ModelConfig
from transformer.translation.translator import Translator

Metrics = dict[str, float]


class Validation(NamedTuple):
    """The metrics: `nll` (nats per target token, by teacher forcing), and `bleu` and `chrf` of greedy translations."""

    decisive: Metrics  # of the corpora that train.best_corpus selects
    corpora: dict[str, Metrics]  # of each corpus, by a short name
    example: str  # the first translation, for the log
    bleu_signature: str  # of sacreBLEU
    few_tokens: str  # how the tokenizer of BLEU is the reason for a low one; "" if it is not, or BLEU is not low

    @property
    def metrics(self) -> Metrics:
        """The metrics by their names in metrics.jsonl: `valid_bleu`, and with several corpora `valid_bleu/NAME` too."""
        named = {f"valid_{name}": value for name, value in self.decisive.items()}
        if len(self.corpora) > 1:
            for corpus, metrics in self.corpora.items():
                named |= {f"valid_{name}/{corpus}": value for name, value in metrics.items()}
        return named


def validate(setup: Setup, model: Transformer, model_config: ModelConfig) -> Validation:
    """Evaluates the model on every validation corpus."""
    sums = [_sum_losses(setup, model, number) for number in range(len(setup.valid))]
    corpora, best_corpus = setup.data.valid, setup.config.train.best_corpus
    pairs = [pair for corpus in corpora for pair in corpus.pairs]
    translator = Translator(model, setup.data.tokenizers, model_config)
    translations = translator.translate((pair.source for pair in pairs), beam_size=1)
    hypotheses, references = [translation.text for translation in translations], [pair.target for pair in pairs]
    bounds = pairwise(accumulate((len(corpus.pairs) for corpus in corpora), initial=0))
    tokenizer = bleu_tokenizer(setup.config.data.target, setup.config.train.bleu_tokenizer)
    each, signatures = zip(
        *(
            _metrics(losses, hypotheses[start:end], references[start:end], tokenizer)
            for losses, (start, end) in zip(sums, bounds, strict=True)
        ),
        strict=True,
    )
    if best_corpus == MEAN:
        decisive = {name: math.fsum(one[name] for one in each) / len(each) for name in each[0]}
    elif best_corpus == ALL:
        decisive = each[0] if len(each) == 1 else _metrics(np.sum(sums, axis=0), hypotheses, references, tokenizer)[0]
    else:
        decisive = each[[corpus.name for corpus in corpora].index(best_corpus)]
    names = _short_names([corpus.name for corpus in corpora])
    few_tokens = explain_tokens(references, tokenizer) if decisive["bleu"] < LOW_BLEU else ""
    return Validation(decisive, dict(zip(names, each, strict=True)), hypotheses[0], signatures[0], few_tokens)


def quality(metrics: Metrics, settings: Train) -> float:
    """Returns the metric that decides which model is the best, negated if lower is better, or -inf if the loss is not
    finite. The keys of `metrics` are the names in metrics.jsonl."""
    if not math.isfinite(metrics["valid_nll"]):
        return -math.inf
    value = metrics[f"valid_{settings.best_metric}"]
    return -value if settings.best_metric == "nll" else value


def _metrics(
    losses: np.ndarray, hypotheses: Sequence[str], references: Sequence[str], tokenizer: str
) -> tuple[Metrics, str]:
    """The metrics, and the signature of BLEU."""
    (nll, tokens), of_bleu = losses, bleu(hypotheses, references, tokenize=tokenizer)
    values = {
        "nll": float(nll / tokens),
        "bleu": of_bleu.value,
        "chrf": chrf(hypotheses, references).value,
    }
    return values, of_bleu.signature


def _short_names(corpora: Sequence[str]) -> list[str]:
    """Returns unique names: the last part of each path. If two are equal, all names are full paths; if two paths
    are equal too, all names are numbered."""
    ends = [Path(corpus).name for corpus in corpora]
    names = ends if len(set(ends)) == len(ends) else list(corpora)
    if len(set(names)) == len(names):
        return names
    return [f"{number}:{name}" for number, name in enumerate(names, 1)]


def _sum_losses(setup: Setup, model: Transformer, corpus: int) -> np.ndarray:
    """Returns the sums of nll and tokens over a validation corpus: float [2]."""
    batches = (put_batch(batch, setup.mesh) for batch in setup.valid[corpus].in_order())
    return np.sum(jax.device_get([_losses(model, batch) for batch in batches]), axis=0)


@jax.jit
def _losses(model: Transformer, batch: Batch[Array]) -> tuple[Array, Array]:
    losses = batch_losses(model, batch, smoothing=0.0)
    return losses.nll, losses.tokens

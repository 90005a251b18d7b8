"""BLEU, chrF and TER, computed by sacreBLEU."""

from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF, TER

from transformer.errors import DataError
from transformer.evaluation.bleu_tokenizer import AUTO, DEFAULT, bleu_tokenizer, check_bleu_tokenizer


class Score(NamedTuple):
    """A score of a corpus, with the signature that states how it was computed."""

    name: str
    value: float
    signature: str


def evaluate(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: str = AUTO,
    target_language: str = "",
) -> list[Score]:
    """Returns BLEU, chrF and TER of translations against references, line by line.

    `lowercase` and `tokenize`, the name of a tokenizer of sacreBLEU, apply to BLEU only. "auto" is the tokenizer for
    `target_language`, and 13a without one. Raises DataError if there are no lines, or if the numbers of translations
    and references differ; UsageError if packages of the tokenizer are missing.
    """
    tokenizer = bleu_tokenizer(target_language, tokenize)
    check_bleu_tokenizer(tokenizer, "tokenize", tokenize)
    return [
        bleu(hypotheses, references, lowercase=lowercase, tokenize=tokenizer),
        chrf(hypotheses, references),
        ter(hypotheses, references),
    ]


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False, tokenize: str = DEFAULT
) -> Score:
    """Returns BLEU (Papineni et al. 2002; Post 2018), 0 to 100. Raises DataError as `evaluate` does."""
    # force=True suppresses the warning about text that looks tokenized, because such text is allowed.
    return _corpus_score(BLEU(lowercase=lowercase, tokenize=tokenize, force=True), "BLEU", hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Returns chrF2 (Popović 2015), 0 to 100. Raises DataError as `evaluate` does."""
    return _corpus_score(CHRF(), "chrF", hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Returns the translation edit rate (Snover et al. 2006); lower is better. Raises DataError as `evaluate` does."""
    return _corpus_score(TER(), "TER", hypotheses, references)


def _corpus_score(metric: BLEU | CHRF | TER, name: str, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Computes a metric of sacreBLEU. Raises DataError as `evaluate` does."""
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} translations for {len(references)} references: the numbers must be equal")
    if not references:
        raise DataError("nothing to evaluate: there are no lines")
    result = metric.corpus_score(hypotheses, [references])
    return Score(name, result.score, str(metric.get_signature()))

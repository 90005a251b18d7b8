"""BLEU, chrF and TER, as sacreBLEU computes them."""

from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF, TER

from transformer.errors import DataError


class Score(NamedTuple):
    """A corpus score, and the signature without which it says nothing."""

    name: str
    value: float
    signature: str


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False, tokenize: str = "13a"
) -> Score:
    """BLEU (Papineni et al. 2002; Post 2018). `tokenize` is the name of one of sacreBLEU's tokenizers."""
    # force: sacreBLEU would warn of lines that look tokenized; to judge that is up to who calls.
    return _score(BLEU(lowercase=lowercase, tokenize=tokenize, force=True), "BLEU", hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """chrF2 (Popovic 2015), 0 to 100."""
    return _score(CHRF(), "chrF", hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Translation edit rate (Snover et al. 2006): lower is better."""
    return _score(TER(), "TER", hypotheses, references)


def _score(metric: BLEU | CHRF | TER, name: str, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} translations for {len(references)} references: they must be as many")
    if not references:
        raise DataError("nothing to evaluate: there are no lines")
    result = metric.corpus_score(hypotheses, [references])
    return Score(name, result.score, str(metric.get_signature()))

"""All metrics of a set of translations."""

from collections.abc import Sequence

from sacrebleu.metrics import TER

from transformer.evaluation.metrics import Score, bleu, chrf, corpus_score


def ter(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Translation edit rate (Snover et al. 2006); lower is better."""
    return corpus_score(TER(), "TER", hypotheses, references)


def evaluate(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False, tokenize: str = "13a"
) -> list[Score]:
    """Returns BLEU, chrF and TER of translations against references, line by line.

    `lowercase` and `tokenize` apply to BLEU only. Raises DataError.
    """
    return [
        bleu(hypotheses, references, lowercase=lowercase, tokenize=tokenize),
        chrf(hypotheses, references),
        ter(hypotheses, references),
    ]

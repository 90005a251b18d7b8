"""Explains a BLEU near 0 of a model that learns."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from transformer.evaluation.bleu_tokenizer import LOW_BLEU

VALIDATIONS = 3  # in a row with a low BLEU and a falling nll, before it is reported
HIGH_CHRF = 20.0  # the translations have much in common with the references


def low_bleu_reason(history: Sequence[Mapping[str, Any]], few_tokens: str) -> str:
    """Returns the likely reason for a low BLEU although nll falls, or "" if that is not so, or was so before.

    `history` has the metrics of all validations, by their names in metrics.jsonl; `few_tokens` is the result of
    `explain_tokens`. The result is a function of them, so that a run that is resumed reports nothing twice.
    """
    ends = range(VALIDATIONS, len(history) + 1)
    low = [end for end in ends if _is_low(history[end - VALIDATIONS : end], is_explained=bool(few_tokens))]
    if low[:1] != [len(history)]:
        return ""
    if few_tokens:
        return f"{few_tokens}; resume with another train.bleu_tokenizer and --allow-config-change: auto, or char"
    return (
        "the translations have characters in common with the references (chrF), but few words: compare an example with"
        " its reference; the language, the spelling or train.bleu_tokenizer may differ"
    )


def _is_low(metrics: Sequence[Mapping[str, Any]], *, is_explained: bool) -> bool:
    # null, for a value that is not finite, is like NaN: no comparison with it holds.
    values = {name: [one.get(f"valid_{name}") or math.nan for one in metrics] for name in ("nll", "chrf")}
    is_falling = all(later < earlier for earlier, later in pairwise(values["nll"]))
    has_low_bleu = all(one.get("valid_bleu", math.nan) < LOW_BLEU for one in metrics)
    return is_falling and has_low_bleu and (is_explained or values["chrf"][-1] >= HIGH_CHRF)

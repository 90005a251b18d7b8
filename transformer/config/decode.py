"""[decode]: the search for a translation."""

from typing import Annotated, Literal

from pydantic import Field

from transformer.config.section import CHANGES_RESULT, Section

MAX_HYPOTHESES = 1024  # per sentence


class Decode(Section):
    """How translate searches by default; validation is greedy."""

    beam_size: Annotated[int, Field(ge=1, le=MAX_HYPOTHESES), CHANGES_RESULT] = 5
    """K: number of hypotheses that are kept open; 1: greedy"""
    length_penalty: Annotated[float, Field(ge=0, le=10), CHANGES_RESULT] = 1.0
    """alpha in score = log-probability / length^alpha (EOS counted)"""
    stop: Annotated[Literal["full", "unlikely", "certain"], CHANGES_RESULT] = "full"
    """when the search stops. full: when K hypotheses are finished; unlikely: when, in addition, no open hypothesis has
    a higher score now than the worst of them; certain: when, in addition, none can ever get a higher score than that"""
    min_length: Annotated[int, Field(ge=0, le=1 << 10), CHANGES_RESULT] = 1
    """smallest number of tokens of a translation, EOS not counted"""
    max_ratio: Annotated[float, Field(gt=0, le=1 << 10), CHANGES_RESULT] = 2.0
    """a translation has at most max_ratio x source tokens + max_extra tokens"""
    max_extra: Annotated[int, Field(ge=0, le=1 << 16), CHANGES_RESULT] = 20
    """see max_ratio"""
    batch_tokens: Annotated[int, Field(ge=1, le=1 << 24), CHANGES_RESULT] = 2048
    """number of source positions that are decoded at a time, padding included"""


class Sampling(Section):
    """How `translate --sample` draws translations. Not part of a config: a model has no default for it."""

    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    """number that divides the logits; below 1, the draws are closer to greedy decoding"""
    top_k: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    """draw only from the k most probable tokens (Fan et al. 2018); 0: from all"""
    top_p: Annotated[float, Field(ge=1e-9, le=1)] = 1.0
    """draw only from the most probable tokens whose probabilities add up to at least this (Holtzman et al. 2020)"""
    seed: Annotated[int, Field(ge=0, le=(1 << 31) - 1)] = 1
    """determines each draw, together with the number of the line"""


class Lines(Section):
    """How translate treats a line. Not part of a config."""

    n_best: Annotated[int, Field(ge=1, le=MAX_HYPOTHESES)] = 1
    """hypotheses per line, best first"""
    long: Literal["split", "skip", "fail"] = "split"
    """a line with more tokens than the model takes: translate it in parts (split), leave its line blank (skip), or stop
    there with exit code 3 (fail)"""

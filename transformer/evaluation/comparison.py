"""Scores of one or several systems against one or several references: of the corpus, of each sentence, with confidence
intervals and paired tests. Everything is computed by sacreBLEU."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest, Result

from transformer.evaluation.ter_cost import find_excess

RESAMPLES = 1000  # of a confidence interval
MAX_RESAMPLED_LINES = 20_000  # resampling holds the statistics of all resamples in memory: about 2 GB for so many lines


@dataclass(frozen=True)
class Options:
    """The scores to compute, and how."""

    metrics: tuple[str, ...] = ("bleu", "chrf", "ter")
    """names in METRICS"""
    tokenize: str = "13a"
    """tokenizer of sacreBLEU, for BLEU only"""
    lowercase: bool = False
    """for BLEU only"""
    confidence: bool = False
    """95% intervals by bootstrap resampling"""
    paired: Literal["bs", "ar"] | None = None
    """test each system against the first: bs, paired bootstrap resampling (Koehn 2004, "Statistical significance tests
    for machine translation evaluation"), which gives intervals too; ar, approximate randomization (Riezler and Maxwell
    2005, "On some pitfalls in automatic evaluation and significance testing for MT")"""
    sentences: bool = False
    """scores of each sentence; BLEU with effective order, as sacreBLEU recommends for sentences"""


@dataclass(frozen=True)
class SystemScore:
    """A score of a system. Without a value, it was left out."""

    value: float | None
    signature: str | None
    reason: str = ""
    """why there is no value"""
    mean: float | None = None
    """of the resamples, if there is an interval"""
    margin: float | None = None
    """the 95% interval is `mean` ± `margin`"""
    p_value: float | None = None
    """of the difference from the first system"""
    sentences: tuple[float, ...] = ()
    sentence_signature: str | None = None


# The metrics by their flags: the name in reports, and how the metric is made; the second argument is whether it is
# applied to single sentences.
METRICS: dict[str, tuple[str, Callable[[Options, bool], BLEU | CHRF | TER]]] = {
    "bleu": (
        "BLEU",
        lambda options, of_sentence: BLEU(
            lowercase=options.lowercase, tokenize=options.tokenize, force=True, effective_order=of_sentence
        ),
    ),
    "chrf": ("chrF", lambda options, of_sentence: CHRF()),
    "chrf++": ("chrF++", lambda options, of_sentence: CHRF(word_order=2)),
    "ter": ("TER", lambda options, of_sentence: TER()),
}


def compare(
    systems: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]], options: Options
) -> dict[str, dict[str, SystemScore]]:
    """Returns the scores by the name of the metric in reports, and then by the system.

    All systems and references have the same number of lines, at least one; MAX_RESAMPLED_LINES at most for intervals
    and tests. TER is left out if a line, or all of them, would take it too long. A test needs at least two systems.
    """
    excess = find_excess(list(systems.values()), references) if "ter" in options.metrics else None
    chosen = [name for name in dict.fromkeys(options.metrics) if name != "ter" or excess is None]
    score = _paired if options.paired else _single
    computed = score(systems, references, options, chosen) if chosen else {}
    scores = {METRICS[name][0]: computed.get(name, {}) for name in dict.fromkeys(options.metrics)}
    if excess is not None:
        scores["TER"] = dict.fromkeys(systems, SystemScore(None, None, reason=str(excess)))
    return scores


def _single(
    systems: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]], options: Options, chosen: Sequence[str]
) -> dict[str, dict[str, SystemScore]]:
    """Scores each system on its own."""
    scores: dict[str, dict[str, SystemScore]] = {}
    for name in chosen:
        scores[name] = {}
        for system, hypotheses in systems.items():
            metric = METRICS[name][1](options, False)
            result = metric.corpus_score(hypotheses, references, n_bootstrap=RESAMPLES if options.confidence else 1)
            mean, margin = (float(result._mean), float(result._ci)) if options.confidence else (None, None)
            signature = str(metric.get_signature())
            of_corpus = SystemScore(result.score, signature, mean=mean, margin=margin)
            scores[name][system] = _with_sentences(of_corpus, name, hypotheses, references, options)
    return scores


def _paired(
    systems: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]], options: Options, chosen: Sequence[str]
) -> dict[str, dict[str, SystemScore]]:
    """Scores the systems, and tests each against the first."""
    metrics = {name: METRICS[name][1](options, False) for name in chosen}
    test = PairedTest(
        list(systems.items()),
        metrics,
        references,
        test_type=options.paired or "bs",
        n_ar_confidence=RESAMPLES if options.confidence and options.paired == "ar" else -1,
    )
    signatures, results = test()
    scores: dict[str, dict[str, SystemScore]] = {}
    for name, theirs in zip(chosen, list(results)[1:], strict=True):  # the first are the names of the systems
        scores[name] = {}
        for (system, hypotheses), result in zip(systems.items(), results[theirs], strict=True):
            assert isinstance(result, Result)
            mean, margin, p_value = (None if x is None else float(x) for x in (result.mean, result.ci, result.p_value))
            signature = str(signatures[theirs])
            of_corpus = SystemScore(float(result.score), signature, "", mean, margin, p_value)
            scores[name][system] = _with_sentences(of_corpus, name, hypotheses, references, options)
    return scores


def _with_sentences(
    score: SystemScore, name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]], options: Options
) -> SystemScore:
    """Returns the score with those of the sentences, if they are asked for."""
    if not options.sentences:
        return score
    metric = METRICS[name][1](options, True)
    lines = zip(hypotheses, *references, strict=True)
    scores = tuple(float(metric.sentence_score(hypothesis, list(texts)).score) for hypothesis, *texts in lines)
    return replace(score, sentences=scores, sentence_signature=str(metric.get_signature()))

"""Checks a corpus by its text alone, before tokenization. The result is stored, and used again."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.config import Data
from transformer.data.checks.alignment import find_shifts
from transformer.data.checks.cleaning import CleaningReport, CorpusSummary, clean
from transformer.data.corpus import Corpus
from transformer.errors import DataError
from transformer.files.prepared import begin_results, finish_results, read_results

SHIFTS_SHOWN = 3

log = logging.getLogger(__name__)


def survey(directory: Path, corpora: Sequence[Corpus], settings: Data) -> None:
    """Raises DataError if a corpus is empty, or more than settings.max_left_out of its pairs are left out.

    If its sides look shifted against each other, logs a warning, or raises DataError with settings.strict. The result
    is stored in `directory`, and reported again, without repeating the checks, as long as the corpora do not change.
    """
    origin = hashlib.sha256("\n".join(corpus.identity for corpus in corpora).encode()).hexdigest()
    results = read_results(directory, origin)
    if results is None:
        begin_results(directory)
        results = finish_results(directory, origin, corpora=[_summarize(corpus)._asdict() for corpus in corpora])
    for summary in (CorpusSummary(**entry) for entry in results["corpora"]):
        summary.check(settings.max_left_out)
        if summary.warning and settings.strict:
            raise DataError(f"{summary.warning}, or set data.strict = false")
        if summary.warning:
            log.warning("warning: %s", summary.warning)


def _summarize(corpus: Corpus) -> CorpusSummary:
    report = CleaningReport()
    pairs = clean(corpus, report)
    first = next(pairs, None)
    others = sum(pair != first for pair in pairs)
    if report.kept > 1 and not others:  # one pair again and again is a mistake, and nothing can be learned from it
        report.left_out["the same pair again"] = report.kept - 1
    return CorpusSummary(corpus.name, report.read, report.kept, report.summary(), _shift_warning(corpus))


def _shift_warning(corpus: Corpus) -> str:
    """A warning that names the lines, or "" if the corpus looks aligned."""
    shifts = find_shifts(corpus)
    if not shifts:
        return ""
    more = [f"{len(shifts) - SHIFTS_SHOWN:,} more such places"] if len(shifts) > SHIFTS_SHOWN else []
    places = "; ".join([*map(str, shifts[:SHIFTS_SHOWN]), *more])
    return f"{corpus.name}: {places}; see whether a line before them is missing on one side"

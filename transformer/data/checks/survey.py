"""Checks the text of corpora, before tokenization. The results are stored and reused."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.config import Data
from transformer.data.checks.alignment import find_shifts
from transformer.data.checks.cleaning import CleaningReport, CorpusSummary, clean
from transformer.data.checks.direction import direction_warning
from transformer.data.corpus import Corpus
from transformer.errors import DataError
from transformer.files.prepared import begin_results, finish_results, read_results

SHIFTS_SHOWN = 3

log = logging.getLogger(__name__)


def survey(directory: Path, corpora: Sequence[Corpus], settings: Data) -> None:
    """Raises DataError if a corpus has no usable pair, or if the fraction left out is above settings.max_left_out.

    If the sides of a corpus look misaligned by some lines, or are in other languages than their codes, this logs a
    warning or, with settings.strict, raises DataError. The results are stored in `directory`. As long as the corpora
    and the codes do not change, later calls report the stored results instead of repeating the checks.
    """
    description = [*(corpus.identity for corpus in corpora), settings.source, settings.target]
    origin = hashlib.sha256("\n".join(description).encode()).hexdigest()
    results = read_results(directory, origin)
    if results is None:
        begin_results(directory)
        results = finish_results(
            directory, origin, corpora=[_summarize(corpus, settings)._asdict() for corpus in corpora]
        )
    for summary in (CorpusSummary(**entry) for entry in results["corpora"]):
        summary.check(settings.max_left_out)
        for warning in summary.warnings:
            if settings.strict:
                raise DataError(f"{warning}, or set data.strict = false")
            log.warning("warning: %s", warning)


def _summarize(corpus: Corpus, settings: Data) -> CorpusSummary:
    report = CleaningReport()
    pairs = clean(corpus, report)
    first = next(pairs, None)
    others = sum(pair != first for pair in pairs)
    if report.kept > 1 and not others:  # a corpus that only repeats one pair is a mistake
        report.left_out["the same pair again"] = report.kept - 1
    fault = direction_warning(clean(corpus, CleaningReport()), settings.source, settings.target)
    direction = f"{corpus.name}: {fault}" if fault else ""
    return CorpusSummary(corpus.name, report.read, report.kept, report.summary(), _shift_warning(corpus), direction)


def _shift_warning(corpus: Corpus) -> str:
    """Returns a warning that names the misaligned lines, or "" if the corpus looks aligned."""
    header = corpus.header
    shifts = [shift._replace(first=shift.first + header, last=shift.last + header) for shift in find_shifts(corpus)]
    if not shifts:
        return ""
    more = [f"{len(shifts) - SHIFTS_SHOWN:,} more such places"] if len(shifts) > SHIFTS_SHOWN else []
    places = "; ".join([*map(str, shifts[:SHIFTS_SHOWN]), *more])
    return f"{corpus.name}: {places}; see whether a line before them is missing on one side"

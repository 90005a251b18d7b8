"""What can be told of a corpus from its text alone, before anything is computed: once, and kept."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from transformer.config import Data
from transformer.data import manifest
from transformer.data.alignment import find_shifts
from transformer.data.corpus import Corpus, Outcome, Report, clean_lines
from transformer.errors import DataError

SHIFTS_SHOWN = 3

log = logging.getLogger(__name__)


def survey(directory: Path, corpora: Sequence[Corpus], settings: Data) -> None:
    """Raises DataError where a corpus is empty, or loses more than settings.max_left_out of its pairs.

    Where its sides look shifted against each other it warns, or raises DataError if settings.strict. What was found is
    kept in `directory`, and said again without reading when nothing has changed.
    """
    digest = hashlib.sha256("\n".join(corpus.identity for corpus in corpora).encode()).hexdigest()
    known = manifest.is_made(directory, digest)
    if known is None:
        manifest.begin(directory)
        known = manifest.finish(directory, digest, corpora=[_look_at(corpus)._asdict() for corpus in corpora])
    for outcome in (Outcome(**entry) for entry in known["corpora"]):
        outcome.check(settings.max_left_out)
        if outcome.warning and settings.strict:
            raise DataError(f"{outcome.warning}, or set data.strict = false")
        if outcome.warning:
            log.warning("warning: %s", outcome.warning)


def _look_at(corpus: Corpus) -> Outcome:
    report = Report()
    pairs = (pair for _, pair in clean_lines(corpus, report))
    first = next(pairs, None)
    others = sum(pair != first for pair in pairs)
    if report.kept > 1 and not others:  # a mistake upstream: there is nothing to learn from it
        report.left_out["the same pair again"] = report.kept - 1
    return Outcome(corpus.name, report.read, report.kept, report.summary(), _shifted(corpus))


def _shifted(corpus: Corpus) -> str:
    """A warning that names the lines; nothing if the corpus looks aligned."""
    shifts = find_shifts(corpus)
    if not shifts:
        return ""
    more = [f"{len(shifts) - SHIFTS_SHOWN:,} more such places"] if len(shifts) > SHIFTS_SHOWN else []
    places = "; ".join([*map(str, shifts[:SHIFTS_SHOWN]), *more])
    return f"{corpus.name}: {places}; see whether a line before them is missing on one side"

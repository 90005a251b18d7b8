"""Counts the pairs of validation and test corpora that also stand in the training corpora."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from transformer.data.checks.cleaning import CleaningReport, clean
from transformer.data.corpus import Corpus


class Overlap(NamedTuple):
    """Numbers of the usable pairs of a corpus: all, those whose pair, and those whose source is trained on."""

    name: str
    pairs: int
    same_pair: int
    same_source: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.same_pair:,} of {self.pairs:,} pairs ({self.same_pair / max(self.pairs, 1):.1%}) also"
            f" stand in training, {self.same_source:,} with their source ({self.same_source / max(self.pairs, 1):.1%})"
        )


def find_overlaps(train: Sequence[Corpus], others: Sequence[Corpus]) -> list[Overlap]:
    """Compares the exact texts, without white space around them. Only the texts of `others` are kept in memory."""
    pairs = [Counter(clean(corpus, CleaningReport())) for corpus in others]
    known = {pair for counts in pairs for pair in counts}
    sources = {pair.source for pair in known}
    found, found_sources = set(), set()
    for corpus in train:
        for pair in clean(corpus, CleaningReport()):
            if pair.source in sources:
                found_sources.add(pair.source)
                if pair in known:
                    found.add(pair)
    return [
        Overlap(
            corpus.name,
            counts.total(),
            sum(count for pair, count in counts.items() if pair in found),
            sum(count for pair, count in counts.items() if pair.source in found_sources),
        )
        for corpus, counts in zip(others, pairs, strict=True)
    ]

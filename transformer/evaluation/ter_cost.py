"""Estimates the time of TER, which grows faster than the length of a line."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

# sacreBLEU tries to shift words of the hypothesis that are out of order, again after each shift that helps, up to 1000
# times for a line. For each trial it computes a table of edit distances: a row for each word of the hypothesis, with
# about BAND columns (more if the reference is much longer). The search for equal words compares all words, and a table
# takes memory for all columns.
BAND = 51
MAX_TRIALS = 1000
SEARCH = 5  # the time for a pair of words, in cells
# A million cells take one or two seconds. The estimate is within a factor of four of the measured time for random
# words and for noisy copies of 20 to 400 words.
MAX_LINE_CELLS = 20_000_000  # of one line: about 400 words of which many are out of order
MAX_CELLS = 300_000_000  # of all lines


class Excess(NamedTuple):
    """The reason why TER takes too long."""

    line: int | None  # from 1; None: all lines together
    hypothesis: int  # words
    reference: int

    def __str__(self) -> str:
        if self.line is None:
            return f"all lines together ({self.hypothesis} words) would take more than about five minutes"
        return f"line {self.line} ({self.hypothesis} words, its reference {self.reference}) would take too long"


def find_excess(systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Excess | None:
    """Returns the line that would take TER too long, or that all lines would; None if TER takes a reasonable time."""
    total = words = 0
    for line, texts in enumerate(zip(*chain(systems, references), strict=True), 1):
        split = [text.lower().split() for text in texts]
        for hypothesis in split[: len(systems)]:
            words += len(hypothesis)
            for reference in split[len(systems) :]:
                cells = _cells(hypothesis, reference)
                if cells > MAX_LINE_CELLS:
                    return Excess(line, len(hypothesis), len(reference))
                total += cells
    return Excess(None, words, 0) if total > MAX_CELLS else None


def _cells(hypothesis: list[str], reference: list[str]) -> int:
    """Estimates the cells that TER computes for two lines of words, with the time of its search for equal words."""
    moved = _words_out_of_order(hypothesis, reference)
    trials = 1 + min(moved * (moved + 1), MAX_TRIALS)
    columns = min(len(reference), BAND + len(reference) // max(len(hypothesis), 1))
    return len(hypothesis) * (columns * trials + SEARCH * len(reference))


def _words_out_of_order(hypothesis: list[str], reference: list[str]) -> int:
    """Returns the number of words that both lines have, without those of them that can stay in place.

    The words that can stay are the longest increasing sequence of their places in the reference (Fredman 1975, "On
    computing the length of longest increasing subsequences").
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in reversed(list(enumerate(reference))):
        places[word].append(place)
    common, ends = 0, list[int]()  # ends: the smallest last place of a sequence of each length
    for word in hypothesis:
        if places[word]:
            common += 1
            place = places[word].pop()
            at = bisect_left(ends, place)
            ends[at : at + 1] = [place]
    return common - len(ends)

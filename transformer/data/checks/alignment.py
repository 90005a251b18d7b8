"""Finds the parts of a corpus whose sides are misaligned by some lines, because a line is missing on one side.

Both sides may still have the same number of lines, if another line is missing later on the other side. A line and its
translation, in any languages, have similar properties: their length relative to the other lines of their side, the
numbers in them, and their last character. So each pair of lines gets a log likelihood ratio: is the target a
translation of the source, or a random line of the target side?

Shifts are then tested by betting (Shafer 2021, "Testing by betting"). For each shift, a gambler bets the fraction STAKE
of its capital on every line, at even odds, that the shifted pair agrees better than the pair in the corpus. If the
pairs in the corpus agree at least as well, the bet is fair at best, and by Ville's inequality a capital of 1 grows to C
with probability at most 1/C. For each shift, a gambler starts at each block of lines; with C = gamblers / FALSE_ALARMS,
the probability of a false alarm in a corpus is below FALSE_ALARMS, whatever its lines are, if neighbouring lines are
independent. (In documents they are not; the bound then holds if the pairs in the corpus agree better than chance.)
The values of LENGTHS_CORRELATE, KEPT and STAKE suit typical translations; with unsuitable values, a bet wins more
slowly.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from math import log
from typing import NamedTuple

import numpy as np

FARTHEST = 5  # largest shift, in lines
SHIFTS = tuple(by for by in range(-FARTHEST, FARTHEST + 1) if by)
FALSE_ALARMS = 0.001  # probability of a false alarm in a corpus
STAKE = 0.75
BLOCK = 20  # lines: the precision with which a place is reported
LINES_AT_A_TIME = 10_000
LENGTHS_CORRELATE = 0.7  # correlation of the logs of the lengths of translations
KEPT = 0.8  # fraction of the translations that keep the numbers, or the kind of last character
VALUES = 4096  # number of distinct codes for the numbers in a line

_NUMBER = re.compile(r"\d+")
_ENDS = (".。।…．", "?？؟;", "!！", ":：", ",،、;；", "\"'”“’»«)]）」』")
_END = {mark: kind for kind, marks in enumerate(_ENDS, 1) for mark in marks}


class Shift(NamedTuple):
    """Lines `first` to `last`, from 1, where source line i matches target line i + `by`.

    `agreement` is the mean probability that the pairs in the corpus are translations, with 1/2 as the prior: about 0.7
    for translations, and 0.4 for other pairs. `shifted` is the same for the shifted pairs.
    """

    first: int
    last: int
    by: int
    agreement: float
    shifted: float
    evidence: float  # log of the capital at the end of the bet (module docstring)

    def __str__(self) -> str:
        return (
            f"lines {self.first:,}-{self.last:,} look shifted by {self.by:+d}"
            f" (agreement {self.agreement:.2f}, {self.shifted:.2f} when shifted)"
        )


def find_shifts(pairs: Iterable[tuple[str, str]]) -> list[Shift]:
    """Returns the parts of a corpus in which pairs shifted by up to FARTHEST lines agree better, in order."""
    gamblers = [_Gambler(by) for by in SHIFTS]
    known, lines = _Known(), 0
    for window in _windows(pairs, known):
        unshifted = _log_likelihoods(window, 0, known)
        for gambler in gamblers:
            shifted = _log_likelihoods(window, gambler.by, known)
            gambler.bet(unshifted, np.where(np.isnan(shifted), unshifted, shifted), lines)
        lines += len(unshifted)
    for gambler in gamblers:
        gambler.stop(lines)
    return sorted(_strongest(win for gambler in gamblers for win in gambler.wins if win.evidence >= _needed(lines)))


# Properties of a line


def _windows(pairs: Iterable[tuple[str, str]], known: "_Known") -> Iterator[np.ndarray]:
    """Yields the features of windows of lines, with FARTHEST more lines before and after: [lines, 2 sides, 3].

    Features outside the corpus are NaN. Each line is added to `known` first.
    """
    outside = np.full((FARTHEST, 2, 3), np.nan)
    features = ([_features(source), _features(target)] for source, target in pairs)
    held = outside
    while chunk := list(islice(features, LINES_AT_A_TIME)):
        known.add(new := np.array(chunk, float))
        held = np.concatenate([held, new])
        ready = (len(held) - 2 * FARTHEST) // BLOCK * BLOCK
        if ready > 0:
            yield held[: ready + 2 * FARTHEST]
            held = held[ready:]
    if len(held) > FARTHEST:
        yield np.concatenate([held, outside])


def _features(text: str) -> tuple[float, int, int]:
    """Returns the log of the length, a code for the numbers, and a code for the last character."""
    text = text.rstrip()
    numbers = _NUMBER.findall(text)
    code = 1 + zlib.crc32(" ".join(sorted(numbers)).encode()) % (VALUES - 1) if numbers else 0
    return log(1 + len(text)), code, _END.get(text[-1:], 0)


class _Known:
    """Statistics of the lines read so far."""

    def __init__(self) -> None:
        self.lines = 0
        self.sums, self.squares = np.zeros(2), np.zeros(2)  # of the logs of the lengths, of source and target
        self.counts = np.zeros((2, VALUES))  # of each code, on the target side

    def add(self, features: np.ndarray) -> None:
        """Adds lines, by their features [lines, 2 sides, 3]."""
        lengths = features[:, :, 0]
        self.lines += len(features)
        self.sums += lengths.sum(0)
        self.squares += (lengths**2).sum(0)
        for counts, codes in zip(self.counts, features[:, 1, 1:].T.astype(int), strict=True):
            counts += np.bincount(codes, minlength=VALUES)

    def standardized(self, lengths: np.ndarray, side: int) -> np.ndarray:
        """Returns the logs of lengths in standard deviations from the mean of the side, clipped to [-3, 3]."""
        mean = self.sums[side] / self.lines
        deviation = max(self.squares[side] / self.lines - mean**2, 1e-6) ** 0.5
        return np.clip((lengths - mean) / deviation, -3, 3)


def _log_likelihoods(window: np.ndarray, by: int, known: _Known) -> np.ndarray:
    """Returns the log likelihood ratio, translation to unrelated lines, of each line i and line i + `by`: [lines]."""
    end = len(window) - FARTHEST
    source, target = window[FARTHEST:end, 0], window[FARTHEST + by : end + by, 1]
    r = LENGTHS_CORRELATE
    x, y = known.standardized(source[:, 0], 0), known.standardized(target[:, 0], 1)
    total = (r * x * y - r * r * (x * x + y * y) / 2) / (1 - r * r) - log(1 - r * r) / 2  # bivariate normal
    for feature, counts in enumerate(known.counts, 1):
        same = source[:, feature] == target[:, feature]
        by_chance = counts[target[same, feature].astype(int)] / known.lines
        total[~same] += log(1 - KEPT)
        total[same] += np.log(KEPT / by_chance + 1 - KEPT)
    return total


# The bet


class _Gambler:
    """Bets on one shift, block by block. After losses, it keeps its best result if that is high, and starts again."""

    def __init__(self, by: int) -> None:
        self.by = by
        self.wins: list[Shift] = []
        self._start(0)

    def _start(self, line: int) -> None:
        self._before = line
        self._capital = self._unshifted = self._shifted = 0.0
        self._best: Shift | None = None

    def bet(self, unshifted: np.ndarray, shifted: np.ndarray, line: int) -> None:
        """Updates the capital with the next lines, which begin at `line` + 1.

        `unshifted` and `shifted` are the log likelihood ratios of the pairs in the corpus, and of the shifted pairs.
        """
        gains = np.log1p(STAKE * np.tanh((shifted - unshifted) / 2))
        starts = np.arange(0, len(gains), BLOCK)
        chances = (1 / (1 + np.exp(-ratios)) for ratios in (unshifted, shifted))
        sums = [np.add.reduceat(values, starts).tolist() for values in (gains, *chances)]
        for start, gain, chance, shifted_chance in zip(starts.tolist(), *sums, strict=True):
            self._capital += gain
            self._unshifted += chance
            self._shifted += shifted_chance
            last = line + min(start + BLOCK, len(gains))
            most = self._best.evidence if self._best else 0.0
            if self._capital > most:
                lines = last - self._before
                means = self._unshifted / lines, self._shifted / lines
                self._best = Shift(self._before + 1, last, self.by, *means, self._capital)
            elif self._capital <= max(most - _needed(last), 0):
                self.stop(last)

    def stop(self, line: int) -> None:
        """Keeps the best result if it is high enough, and starts again after line `line`."""
        if self._best and self._best.evidence >= _needed(line):
            self.wins.append(self._best)
        self._start(line)


def _needed(lines: int) -> float:
    """Returns the log of the capital at which a shift is reported: log C in the module docstring."""
    return log(max(lines / BLOCK, 1) * len(SHIFTS) / FALSE_ALARMS)


def _strongest(wins: Iterable[Shift]) -> list[Shift]:
    """Returns the wins whose middle is not inside a stronger win: lines shifted by 1 can also win with a shift of 2."""
    kept: list[Shift] = []
    for win in sorted(wins, key=lambda win: win.evidence, reverse=True):
        middle = (win.first + win.last) / 2
        if not any(other.first <= middle <= other.last for other in kept):
            kept.append(win)
    return kept

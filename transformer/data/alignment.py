"""Are the sides of a corpus shifted against each other? A line lost on one side may be made up for later: counts agree.

A line and its translation, in whatever languages, share what hardly any translation changes: about how long they are
for their side, the numbers in them, and how they end. So each pair gets the log of a likelihood ratio: is this partner
its translation, or any line of the other side?

Then it is a bet (Shafer 2021, "Testing by betting"). For each shift, the part STAKE of the capital is put on every
line, at even odds, on the shifted partner: it wins up to all of it where that one agrees better than the partner that
stands, and loses as much where it agrees worse. Where the pairs as they stand agree at least as well, also where
nothing agrees with anything, the bet is fair at best, and by Ville's inequality a capital of 1 grows to C with
probability 1/C at most. A gambler starts at each block of lines with each shift; with C = gamblers / FALSE_ALARMS the
probability of a false alarm in a corpus stays below FALSE_ALARMS, whatever its lines are like, if only neighbours are
independent; in documents they are not, and there the pairs that stand must agree at all. LENGTHS_CORRELATE, KEPT and
STAKE only say how a true translation is imagined: where they are wrong, the bet wins more slowly.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from math import log
from typing import NamedTuple

import numpy as np

FARTHEST = 5  # lines of a shift
SHIFTS = tuple(by for by in range(-FARTHEST, FARTHEST + 1) if by)
FALSE_ALARMS = 0.001  # probability of one in a corpus
STAKE = 0.75
BLOCK = 20  # lines: as fine as a place is told
LINES_AT_A_TIME = 10_000
LENGTHS_CORRELATE = 0.7  # of translations, as logs
KEPT = 0.8  # share of the translations that keep the numbers, or the kind of end; the others have them as by chance
VALUES = 4096  # of numbers, that are told apart

_NUMBER = re.compile(r"\d+")
_ENDS = (".。।…．", "?？؟;", "!！", ":：", ",،、;；", "\"'”“’»«)]）」』")
_END = {mark: kind for kind, marks in enumerate(_ENDS, 1) for mark in marks}


class Shift(NamedTuple):
    """Lines `first` to `last`, from 1, of which source line i fits target line i + `by`.

    `agreement` is the mean probability that two lines are translations, if half of all pairs were: about 0.7 where they
    are, and 0.4 where not. It is that of the pairs as they stand; `shifted` is that of the pairs when shifted.
    """

    first: int
    last: int
    by: int
    agreement: float
    shifted: float

    def __str__(self) -> str:
        return (
            f"lines {self.first:,}-{self.last:,} look shifted by {self.by:+d}"
            f" (agreement {self.agreement:.2f}, {self.shifted:.2f} when shifted)"
        )


def find_shifts(pairs: Iterable[tuple[str, str]]) -> list[Shift]:
    """The stretches of a corpus in which a shift by up to FARTHEST lines agrees better, from the first to the last."""
    gamblers = [_Gambler(by) for by in SHIFTS]
    known, lines = _Known(), 0
    for window in _windows(pairs, known):
        standing = _log_likelihoods(window, 0, known)
        for gambler in gamblers:
            shifted = _log_likelihoods(window, gambler.by, known)
            gambler.bet(standing, np.where(np.isnan(shifted), standing, shifted), lines)
        lines += len(standing)
    wins = [win for gambler in gamblers for win in gambler.wins() if win.evidence >= _needed(lines)]
    return sorted(win.shift for win in _strongest(wins))


# What a line shows


def _windows(pairs: Iterable[tuple[str, str]], known: "_Known") -> Iterator[np.ndarray]:
    """Features of whole blocks of lines, with FARTHEST more before and after: [lines, 2 sides, 3], NaN outside."""
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
    """The log of the length, and the numbers and the kind of end as codes."""
    text = text.rstrip()
    numbers = _NUMBER.findall(text)
    code = 1 + zlib.crc32(" ".join(sorted(numbers)).encode()) % (VALUES - 1) if numbers else 0
    return log(1 + len(text)), code, _END.get(text[-1:], 0)


class _Known:
    """What is usual in the lines read so far."""

    def __init__(self) -> None:
        self.lines = 0
        self.sums, self.squares = np.zeros(2), np.zeros(2)  # of the lengths' logs, of source and target
        self.counts = np.zeros((2, VALUES))  # of each code of numbers and ends, of the target

    def add(self, features: np.ndarray) -> None:
        """`features` is [lines, 2 sides, 3]."""
        lengths = features[:, :, 0]
        self.lines += len(features)
        self.sums += lengths.sum(0)
        self.squares += (lengths**2).sum(0)
        for counts, codes in zip(self.counts, features[:, 1, 1:].T.astype(int), strict=True):
            counts += np.bincount(codes, minlength=VALUES)

    def standardized(self, lengths: np.ndarray, side: int) -> np.ndarray:
        """The logs of lengths, in deviations from the side's mean; outliers count as 3."""
        mean = self.sums[side] / self.lines
        deviation = max(self.squares[side] / self.lines - mean**2, 1e-6) ** 0.5
        return np.clip((lengths - mean) / deviation, -3, 3)


def _log_likelihoods(window: np.ndarray, by: int, known: _Known) -> np.ndarray:
    """Of each pair when shifted: log(probability as a translation / probability of two lines by chance). [lines]"""
    end = len(window) - FARTHEST
    source, target = window[FARTHEST:end, 0], window[FARTHEST + by : end + by, 1]
    r = LENGTHS_CORRELATE
    x, y = known.standardized(source[:, 0], 0), known.standardized(target[:, 0], 1)
    total = (r * x * y - r * r * (x * x + y * y) / 2) / (1 - r * r) - log(1 - r * r) / 2  # two normal distributions
    for feature, counts in enumerate(known.counts, 1):
        same = source[:, feature] == target[:, feature]
        by_chance = counts[target[same, feature].astype(int)] / known.lines
        total[~same] += log(1 - KEPT)
        total[same] += np.log(KEPT / by_chance + 1 - KEPT)
    return total


# The bet


class _Win(NamedTuple):
    evidence: float  # log of the capital
    shift: Shift


class _Gambler:
    """Bets on one shift, block by block. It goes home with the most it had, and starts anew, when too much is lost."""

    def __init__(self, by: int) -> None:
        self.by = by
        self._won: list[_Win] = []
        self._start(0)

    def _start(self, line: int) -> None:
        self._before = line
        self._capital = self._standing = self._shifted = 0.0
        self._best: _Win | None = None

    def bet(self, standing: np.ndarray, shifted: np.ndarray, line: int) -> None:
        """On lines after number `line`, of which the log likelihoods are given."""
        gains = np.log1p(STAKE * np.tanh((shifted - standing) / 2))
        starts = np.arange(0, len(gains), BLOCK)
        sums = [np.add.reduceat(values, starts).tolist() for values in (gains, _logistic(standing), _logistic(shifted))]
        for start, gain, stands, shifts in zip(starts.tolist(), *sums, strict=True):
            self._bet(gain, stands, shifts, line + min(start + BLOCK, len(gains)))

    def _bet(self, gain: float, standing: float, shifted: float, last: int) -> None:
        self._capital += gain
        self._standing += standing
        self._shifted += shifted
        most = self._best.evidence if self._best else 0.0
        if self._capital > most:
            lines = last - self._before
            place = Shift(self._before + 1, last, self.by, self._standing / lines, self._shifted / lines)
            self._best = _Win(self._capital, place)
        elif self._capital <= max(most - _needed(last), 0):
            self._go_home(last)

    def _go_home(self, line: int) -> None:
        if self._best and self._best.evidence >= _needed(line):
            self._won.append(self._best)
        self._start(line)

    def wins(self) -> list[_Win]:
        return [*self._won, *([self._best] if self._best else [])]


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _needed(lines: int) -> float:
    """The log of the capital that no gambler of a corpus reaches by chance: one starts at each block, on each shift."""
    return log(max(lines / BLOCK, 1) * len(SHIFTS) / FALSE_ALARMS)


def _strongest(wins: list[_Win]) -> list[_Win]:
    """Those whose middle lies in no stronger one: lines shifted by 1 fit others, too, better than where they stand."""
    kept: list[_Win] = []
    for win in sorted(wins, reverse=True):
        middle = (win.shift.first + win.shift.last) / 2
        if not any(other.shift.first <= middle <= other.shift.last for other in kept):
            kept.append(win)
    return kept

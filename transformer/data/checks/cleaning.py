"""Leaves out the pairs of a corpus that cannot be used, and counts them by reason."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from transformer.data.corpus import Corpus, FaultyPair, Pair
from transformer.errors import DataError

LINES_SHOWN = 5  # number of lines that a summary names per reason
MAX_TEXT_BYTES = 1_000_000

# Control characters (C0, DEL, C1), except white space (tab, line breaks), and except NUL, which is its own reason.
_CONTROL = re.compile("[\x01-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")


@dataclass
class CleaningReport:
    """Counts the pairs that were read, and those that were left out, by reason."""

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    lines: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # the first ones per reason

    @property
    def kept(self) -> int:
        return self.read - self.left_out.total()

    def leave_out(self, reason: str, line: int) -> None:
        self.left_out[reason] += 1
        if len(self.lines[reason]) < LINES_SHOWN:
            self.lines[reason].append(line)

    def summary(self) -> str:
        """Returns `kept 28,990 of 29,000 pairs; left out: 6 empty source (lines 3, 5, 8, 13, 21, ...), 4 ...`."""
        kept = f"kept {self.kept:,} of {self.read:,} pairs"
        reasons = [f"{count:,} {reason}{self._places(reason)}" for reason, count in self.left_out.most_common()]
        return f"{kept}; left out: {', '.join(reasons)}" if reasons else kept

    def _places(self, reason: str) -> str:
        lines = [str(line) for line in self.lines.get(reason, ())]
        more = ["..."] if len(lines) < self.left_out[reason] else []
        return f" ({'line' if len(lines) == 1 and not more else 'lines'} {', '.join(lines + more)})" if lines else ""


class CorpusSummary(NamedTuple):
    """The result of cleaning a corpus, as it is stored in a manifest."""

    name: str
    read: int
    kept: int
    summary: str
    warning: str = ""
    direction: str = ""  # a warning too: the languages of the sides
    text: str = ""  # the summary of round_trip.py, and its warnings
    text_warnings: Sequence[str] = ()

    @property
    def warnings(self) -> list[str]:
        return [warning for warning in (self.warning, self.direction, *self.text_warnings) if warning]

    def check(self, max_left_out: float, setting: str = "data.max_left_out") -> None:
        """Raises DataError if no pair is kept, or if the fraction of pairs that are left out is above `max_left_out`.

        `setting` is the name of this limit in the message.
        """
        if not self.kept:
            raise DataError(f"{self.name}: no pair of sentences can be used; {self.summary}{self._hint}")
        left_out = (self.read - self.kept) / self.read
        if left_out > max_left_out:
            raise DataError(
                f"{self.name}: {self.summary}; the fraction {left_out:.3g} is left out, more than {setting} ="
                f" {max_left_out:g}; fix the corpus, or raise the setting{self._hint}"
            )

    @property
    def _hint(self) -> str:
        """Advice if the corpus seems to be in another encoding, else ""."""
        if re.search(r"left out: [\d,]+ (with NUL|invalid UTF-8)", self.summary):
            return " (is it in another encoding than UTF-8? iconv -f ENCODING -t UTF-8 converts it)"
        return ""


def clean(pairs: Iterable[Pair], report: CleaningReport) -> Iterator[Pair]:
    """Yields the pairs that can be used, without white space around their texts, and counts the others in the report.

    A pair is left out if its line could not be read as a pair, or if a side is not UTF-8, has NUL or a control
    character that is not white space, is longer than MAX_TEXT_BYTES or is empty.
    """
    return (pair for _, pair in clean_lines(pairs, report))


def clean_lines(pairs: Iterable[Pair], report: CleaningReport) -> Iterator[tuple[int, Pair]]:
    """Like `clean`, but yields each pair with the number of its line, from 1."""
    header = pairs.header if isinstance(pairs, Corpus) else 0
    for line, read in enumerate(pairs, report.read + header + 1):
        report.read += 1
        source, target = read
        pair = Pair(source.strip(), target.strip())
        if isinstance(read, FaultyPair):
            report.leave_out(read.reason, line)
        elif reason := _fault(source) or _fault(target):
            report.leave_out(reason, line)
        elif not pair.source:
            report.leave_out("empty source", line)
        elif not pair.target:
            report.leave_out("empty target", line)
        else:
            yield line, pair


def _fault(text: str) -> str:
    """Returns the reason to leave out a text, or "" if it can be used."""
    if 4 * len(text) > MAX_TEXT_BYTES and len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        return f"longer than {MAX_TEXT_BYTES:,} bytes"
    if text.isprintable():  # fast: most texts are printable, and a text with one of the faults below is not
        return ""
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return "invalid UTF-8"
    if "\0" in text:
        return "with NUL"
    return "with control characters" if _CONTROL.search(text) else ""

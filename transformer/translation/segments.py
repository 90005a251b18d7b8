"""Splits lines that are too long for a model: after a sentence if possible, else after a clause or a word.

A single word that is too long is split between its tokens.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby

from transformer.data.lines import is_blank

Encode = Callable[[Sequence[str]], list[list[int]]]

# A segment may end after a match; the first pattern has the best places. No match starts inside white space, because
# searching for such matches would take quadratic time.
_BREAKS = (
    re.compile(r"(?<=[.!?…。！？])[\"'”’»)\]]*\s+"),
    re.compile(r"(?<=[,;:،、；：])\s*|(?<!\s)\s+(?=[–—-]\s)"),
    re.compile(r"\s+"),
)


def split_line(text: str, encode: Encode, max_tokens: int) -> list[list[int]]:
    """Splits a line into segments of at most `max_tokens` tokens. Returns the token ids of each that is not blank."""
    return [segment for segment in _split(text, encode, max_tokens, 0) if segment]


def _split(text: str, encode: Encode, max_tokens: int, level: int) -> list[list[int]]:
    """Returns the token ids of each segment. The text is cut at the breaks of `level`; pieces that fit are joined.

    A piece that does not fit alone is split at the next level. The levels are sentences, clauses, words, blank runs.
    """
    if is_blank(text):
        return []
    if level > len(_BREAKS):  # a word with more tokens than the model takes
        ids = encode([text])[0]
        return [ids[start : start + max_tokens] for start in range(0, len(ids), max_tokens)]
    ends = _ends(text, level)
    found: list[list[int]] = []
    start = done = 0  # numbers of characters and of pieces that are already in a segment
    while done < len(ends):

        def tokens(pieces: int, start: int = start, done: int = done) -> int:
            return len(encode([text[start : ends[done + pieces - 1]]])[0])

        pieces = _count_that_fit(tokens, len(ends) - done, max_tokens)
        segment = text[start : ends[done + max(pieces, 1) - 1]]
        if not pieces:
            found += _split(segment, encode, max_tokens, level + 1)
        elif not is_blank(segment):
            found += encode([segment])
        start, done = start + len(segment), done + max(pieces, 1)
    return found


def _ends(text: str, level: int) -> list[int]:
    """Returns the places where a segment may end. At the last level, these are the borders between blank and other
    characters, so that a run of blank characters is separated from a word."""
    if level < len(_BREAKS):
        ends = {match.end() for match in _BREAKS[level].finditer(text)}
    else:
        ends = set(accumulate(sum(1 for _ in run) for _, run in groupby(text, is_blank)))
    return sorted({*ends, len(text)} - {0})


def _count_that_fit(tokens: Callable[[int], int], pieces: int, max_tokens: int) -> int:
    """Returns how many of the next pieces have at most `max_tokens` tokens together.

    An upper bound is found by doubling, then the number by bisection: adding one piece at a time would take quadratic
    time.
    """
    high = 1
    while high <= pieces and tokens(high) <= max_tokens:
        high *= 2
    low = high // 2  # fits
    return low + bisect_right(range(low + 1, min(high, pieces + 1)), max_tokens, key=tokens)

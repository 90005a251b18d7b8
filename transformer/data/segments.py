"""Lines too long for a model, in parts that it takes: cut where a sentence ends, or else a clause, or else a word."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby

from transformer.data.lines import is_blank

Encode = Callable[[Sequence[str]], list[list[int]]]

# After which a part may end, the best places first. None begins within white space: that would take quadratic time.
_BREAKS = (
    re.compile(r"(?<=[.!?…。！？])[\"'”’»)\]]*\s+"),
    re.compile(r"(?<=[,;:،、；：])\s*|(?<!\s)\s+(?=[–—-]\s)"),
    re.compile(r"\s+"),
)


def segments(lines: Sequence[str], encode: Encode, most: int) -> Iterator[list[list[int]]]:
    """For each line its parts as ids, each of at most `most`; none where nothing is to be translated.

    Of a line that is cut, parts that say nothing are left out.
    """
    said = ["" if is_blank(line) else line for line in lines]
    for line, ids in zip(said, encode(said), strict=True):
        if len(ids) <= most:
            yield [ids] if ids else []
        else:
            yield [part for part in _cut(line, encode, most, 0) if part]


def _cut(text: str, encode: Encode, most: int, level: int) -> list[list[int]]:
    """Parts of the text, each as long as it may be; a piece without a break goes on to the next level of breaks."""
    if is_blank(text):
        return []
    if level > len(_BREAKS):  # one word, longer than the model takes
        ids = encode([text])[0]
        return [ids[start : start + most] for start in range(0, len(ids), most)]
    ends = _ends(text, level)
    parts: list[list[int]] = []
    start = done = 0  # characters, and pieces, that are in a part already
    while done < len(ends):

        def tokens(pieces: int, start: int = start, done: int = done) -> int:
            return len(encode([text[start : ends[done + pieces - 1]]])[0])

        pieces = _as_many_as_fit(tokens, len(ends) - done, most)
        part = text[start : ends[done + max(pieces, 1) - 1]]
        if not pieces:
            parts += _cut(part, encode, most, level + 1)
        elif not is_blank(part):
            parts += encode([part])
        start, done = start + len(part), done + max(pieces, 1)
    return parts


def _ends(text: str, level: int) -> list[int]:
    """Where a part may end; at the last level where signs that say nothing begin or end, so that a run of them is cut
    off a word."""
    if level < len(_BREAKS):
        ends = {found.end() for found in _BREAKS[level].finditer(text)}
    else:
        ends = set(accumulate(sum(1 for _ in run) for _, run in groupby(text, is_blank)))
    return sorted({*ends, len(text)} - {0})


def _as_many_as_fit(tokens: Callable[[int], int], pieces: int, most: int) -> int:
    """How many of the pieces have at most `most` tokens together.

    In steps that double, and then by bisection: to try one more each time would take quadratic time.
    """
    high = 1
    while high <= pieces and tokens(high) <= most:
        high *= 2
    low = high // 2  # fits
    return low + bisect_right(range(low + 1, min(high, pieces + 1)), most, key=tokens)

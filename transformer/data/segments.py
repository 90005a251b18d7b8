"""Lines too long for a model, in parts that it takes: cut where a sentence ends, or else a clause, or else a word."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

Encode = Callable[[Sequence[str]], list[list[int]]]

# After which a part may end, the best places first. None begins within white space: that would take quadratic time.
_BREAKS = (
    re.compile(r"(?<=[.!?…。！？])[\"'”’»)\]]*\s+"),
    re.compile(r"(?<=[,;:،、；：])\s*|(?<!\s)\s+(?=[–—-]\s)"),
    re.compile(r"\s+"),
)


def segments(lines: Sequence[str], encode: Encode, most: int) -> Iterator[list[list[int]]]:
    """For each line its parts as ids, each of at most `most`; none where nothing is to be translated."""
    for line, ids in zip(lines, encode(lines), strict=True):
        if len(ids) <= most:
            yield [ids] if ids else []
        else:
            yield [part for part in _cut(line, encode, most, 0) if part]


def _cut(text: str, encode: Encode, most: int, level: int) -> list[list[int]]:
    """Parts of the text, each as long as it may be; a piece without a break goes on to the next level of breaks."""
    if level == len(_BREAKS):  # one word, longer than the model takes
        ids = encode([text])[0]
        return [ids[start : start + most] for start in range(0, len(ids), most)]
    ends = sorted({*(found.end() for found in _BREAKS[level].finditer(text)), len(text)} - {0})
    parts: list[list[int]] = []
    start = done = 0  # characters, and pieces, that are in a part already
    while done < len(ends):

        def tokens(pieces: int, start: int = start, done: int = done) -> int:
            return len(encode([text[start : ends[done + pieces - 1]]])[0])

        pieces = _as_many_as_fit(tokens, len(ends) - done, most)
        end = ends[done + max(pieces, 1) - 1]
        parts += encode([text[start:end]]) if pieces else _cut(text[start:end], encode, most, level + 1)
        start, done = end, done + max(pieces, 1)
    return parts


def _as_many_as_fit(tokens: Callable[[int], int], pieces: int, most: int) -> int:
    """How many of the pieces have at most `most` tokens together.

    In steps that double, and then by bisection: to try one more each time would take quadratic time.
    """
    high = 1
    while high <= pieces and tokens(high) <= most:
        high *= 2
    low = high // 2  # fits
    return low + bisect_right(range(low + 1, min(high, pieces + 1)), most, key=tokens)

"""Lines too long for a model, in parts that it takes: cut where a sentence ends, or else a clause, or else a word."""

import re
from collections.abc import Callable, Iterator, Sequence

Encode = Callable[[Sequence[str]], list[list[int]]]

# After which a part may end, the best places first.
_BREAKS = (r"(?<=[.!?…。！？])[\"'”’»)\]]*\s+", r"(?<=[,;:،、；：])\s*|\s+(?=[–—-]\s)", r"\s+")


def segments(lines: Sequence[str], encode: Encode, most: int) -> Iterator[list[list[int]]]:
    """For each line its parts as ids, each of at most `most`; none where nothing is to be translated."""
    for line, ids in zip(lines, encode(lines), strict=True):
        if len(ids) <= most:
            yield [ids] if ids else []
        else:
            yield [part for part in _cut(line, encode, most, 0) if part]


def _cut(text: str, encode: Encode, most: int, level: int) -> list[list[int]]:
    """Parts of the text, neighbours put together again as far as they fit."""
    if level == len(_BREAKS):  # one word, longer than the model takes
        ids = encode([text])[0]
        return [ids[start : start + most] for start in range(0, len(ids), most)]
    parts: list[list[int]] = []
    together = ""
    pieces = [piece for piece in re.split(f"({_BREAKS[level]})", text) if piece]
    for piece, ids in zip(pieces, encode(pieces), strict=True):
        longer = together + piece
        joined = encode([longer])[0]
        if len(joined) <= most:
            together = longer
            if parts and together != piece:
                parts[-1] = joined
            else:
                parts.append(joined)
        elif len(ids) <= most:
            parts.append(ids)
            together = piece
        else:
            parts += _cut(piece, encode, most, level + 1)
            together = ""
    return parts

"""Counts what a tokenizer changes in the text of a corpus, and what it has no pieces for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

from transformer.data.corpus import Pair
from transformer.data.lines import without_controls
from transformer.data.tokenizer import Tokenizers

MANY_CHANGED = 0.01  # fraction of the target lines above which a warning is logged
MOSTLY_SPELT = 0.3  # fraction of the tokens of a side above which a warning is logged
SHOWN = 15  # characters before and after the first difference, in an example

_SPACES = re.compile(" +")


@dataclass
class RoundTrip:
    """Counts of the pairs of a corpus that were added; `tokenizers` encode them."""

    name: str
    tokenizers: Tokenizers
    lines: int = 0
    changed: int = 0  # target lines that are not the same after they are encoded and decoded
    unknown: int = 0  # changed target lines with the unknown symbol
    example: str = ""  # the first one
    source_tokens: int = 0
    source_spelt: int = 0  # tokens that are bytes or the unknown symbol
    target_tokens: int = 0
    target_spelt: int = 0

    def __post_init__(self) -> None:
        source, target = self.tokenizers.source, self.tokenizers.target
        self._source_spelt, self._target_spelt = ({*side.byte_ids, side.unk_id} for side in (source, target))

    def add(self, pairs: Sequence[tuple[int, Pair]], sources: list[list[int]], targets: list[list[int]]) -> None:
        """Adds pairs, each with the number of its line, and their ids."""
        self.lines += len(pairs)
        self.source_tokens += sum(map(len, sources))
        self.target_tokens += sum(map(len, targets))
        self.source_spelt += sum(index in self._source_spelt for ids in sources for index in ids)
        self.target_spelt += sum(index in self._target_spelt for ids in targets for index in ids)
        target = self.tokenizers.target
        decoded = target.decode_batch(targets)
        for (line, pair), ids, after in zip(pairs, targets, decoded, strict=True):
            if pair.target != after and (before := _canonical(pair.target)) != (after := _canonical(after)):
                self.changed += 1
                self.unknown += target.unk_id in ids
                self.example = self.example or f"line {line}: {_difference(before, after)}"

    def summary(self) -> str:
        """`2 of 1,014 target lines change when encoded and decoded (line 7: ...); 0.1% of the target is bytes`."""
        example = f" ({self.example})" if self.example else ""
        spelt = self.target_spelt / max(self.target_tokens, 1)
        return (
            f"{self.changed:,} of {self.lines:,} target lines change when they are encoded and decoded{example};"
            f" {spelt:.2%} of the tokens of the target are bytes or unknown"
        )

    def warnings(self) -> list[str]:
        """Returns a warning for each share that is too large."""
        found = []
        if self.changed > MANY_CHANGED * self.lines:
            remedy = 'tokenizer.normalization = "nfc" keeps the text of the target'
            if 2 * self.unknown > self.changed:
                remedy = (
                    "tokenizer.byte_fallback = true keeps all characters, a larger tokenizer.character_coverage more"
                )
            found.append(
                f"{self.name}: {self.changed / self.lines:.1%} of the target lines change when they are encoded and"
                f" decoded ({self.example}), so that no translation can be like them; {remedy}"
            )
        for side, spelt, tokens in (
            ("source", self.source_spelt, self.source_tokens),
            ("target", self.target_spelt, self.target_tokens),
        ):
            if spelt > MOSTLY_SPELT * tokens:
                found.append(
                    f"{self.name}: {spelt / tokens:.0%} of the tokens of the {side} are bytes or unknown: the tokenizer"
                    " has no pieces for its script; train one on this corpus, without tokenizer.models or"
                    " train.init_from, or start from a model of this script"
                )
        return found


def _canonical(text: str) -> str:
    return _SPACES.sub(" ", normalize("NFC", without_controls(text))).strip(" ")


def _difference(before: str, after: str) -> str:
    """The places where two texts begin to differ; characters that cannot be seen are shown as escapes."""
    same = next((at for at, (one, two) in enumerate(zip(before, after, strict=False)) if one != two), len(after))
    start = max(0, same - SHOWN)
    return f"{before[start : same + SHOWN]!r} becomes {after[start : same + SHOWN]!r}"

"""Imported models whose ids differ from those of their SentencePiece model."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from transformer.config.section import NonNegative, Section
from transformer.data.lines import without_controls
from transformer.data.tokenizer import VOCABULARY_SUFFIX, Tagged, Tokenizer
from transformer.errors import UsageError, one_line

_TAG = re.compile(r">>[^<>]+<<")


class Vocabulary(Section):
    """The piece of each id of a model, and its special ids."""

    pieces: Annotated[tuple[str, ...], Field(min_length=1, max_length=1 << 20)]  # by id
    pad: NonNegative
    start: NonNegative
    end: NonNegative
    unknown: NonNegative
    never: tuple[NonNegative, ...]  # ids that a translation must not contain

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if len(set(self.pieces)) < len(self.pieces):
            raise ValueError("a piece occurs twice")
        for name in ("pad", "start", "end", "unknown", "never"):
            value = getattr(self, name)
            largest = max(value, default=0) if isinstance(value, tuple) else value
            if largest >= len(self.pieces):
                raise ValueError(f"{name}: there is no id {largest}, only {len(self.pieces)} pieces")
        if self.end in self.never:
            raise ValueError("the end symbol is in never: a translation could not end")
        return self


def read_vocabulary(path: Path) -> Vocabulary:
    """Reads a vocabulary from a file. Raises UsageError if it cannot be read or is invalid."""
    try:
        return Vocabulary.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from None
    except ValidationError as problem:
        raise UsageError(f"{path}: not a vocabulary: {one_line(problem.errors()[0]['msg'])}") from None


class ImportedTokenizer(Tokenizer):
    """A SentencePiece model whose pieces have the ids of a vocabulary."""

    def __init__(self, model_bytes: bytes, vocabulary: Vocabulary, name: str = "tokenizer") -> None:
        super().__init__(model_bytes, name)
        self.vocabulary = vocabulary
        self.all_pieces = list(vocabulary.pieces)
        self.pad_id, self.bos_id, self.eos_id = vocabulary.pad, vocabulary.start, vocabulary.end
        self.unk_id, self.never_ids = vocabulary.unknown, vocabulary.never
        controls = {self.pad_id, self.bos_id, self.eos_id, self.unk_id}
        ids = {piece: index for index, piece in enumerate(self.all_pieces) if index not in controls}
        self._tags = {piece: index for piece, index in ids.items() if _TAG.fullmatch(piece)}
        self._ids = {piece: index for piece, index in ids.items() if piece not in self._tags}
        self._shown = frozenset(self._ids.values())
        self.tags = tuple(self._tags)
        self.identity = model_bytes + vocabulary.model_dump_json().encode()

    def save(self, path: str | Path) -> None:
        """Saves the SentencePiece model, and the vocabulary beside it."""
        super().save(path)
        content = self.vocabulary.model_dump_json(indent=1)
        Path(path).with_suffix(VOCABULARY_SUFFIX).write_text(content, encoding="utf8")

    @property
    def spells_everything(self) -> bool:
        return False

    def split_tag(self, text: str) -> Tagged:
        found = _TAG.match(text) if self._tags else None
        if found is None or found[0] not in self._tags:
            return Tagged([], text)
        return Tagged([self._tags[found[0]]], text[found.end() :])

    def encode_untagged(self, texts: Sequence[str]) -> list[list[int]]:
        ids, unknown = self._ids, self.unk_id
        split = self._processor.encode([without_controls(text) for text in texts], out_type=str)
        return [[ids.get(piece, unknown) for piece in pieces] for pieces in split]

    def decode_batch(self, sentences: Iterable[Iterable[int]]) -> list[str]:
        # In pieces that the SentencePiece model does not know, it does not replace "▁" by a space.
        texts = self._processor.decode([self.pieces(ids) for ids in self._shown_ids(sentences)])
        return [text.replace("▁", " ").strip() for text in texts]

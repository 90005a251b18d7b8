"""SentencePiece: text to ids and back."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from sentencepiece import SentencePieceProcessor
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from transformer.data.lines import plain
from transformer.data.vocabulary import Vocabulary, read_vocabulary
from transformer.errors import UsageError

VOCABULARY = ".vocabulary.json"  # in place of .spm: the name of the file beside a SentencePiece model
_TAG = re.compile(r">>[^<>]+<<")


class Tagged(NamedTuple):
    """A text, and what stood before it to tell the model of several languages which is wanted."""

    ids: list[int]
    text: str


class Tokenizer:
    """A SentencePiece model, with its own ids or with those of a vocabulary.

    `pad_id`, `bos_id`, `eos_id` and `unk_id` are the model's own: 0, 1, 2 and 3 if it was trained here. A model
    that lacks one of the first three gets it as an id after its last piece, so that `vocab_size` exceeds the model's.
    `bos_id` is what a decoder is given first.
    """

    def __init__(self, model_bytes: bytes, name: str = "tokenizer", vocabulary: Vocabulary | None = None) -> None:
        """Raises UsageError, with `name` in it, where the bytes are not a SentencePiece model."""
        processor = SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(model_bytes)
            self._pieces: list[str] = [processor.id_to_piece(index) for index in range(processor.vocab_size())]
        except (RuntimeError, UnicodeDecodeError):
            raise UsageError(f"{name}: not a SentencePiece model") from None
        self.model_bytes = model_bytes
        self.vocabulary = vocabulary
        self._processor = processor
        self._tags: dict[str, int] = {}
        if vocabulary is not None:
            self._use(vocabulary)
            return
        self._shown = frozenset(
            index for index in range(len(self._pieces))
            if not (processor.is_control(index) or processor.is_unknown(index))
        )  # fmt: skip
        self.pad_id = self._known_or_new(processor.pad_id(), "<pad>")
        self.bos_id = self._known_or_new(processor.bos_id(), "<s>")
        self.eos_id = self._known_or_new(processor.eos_id(), "</s>")
        self.unk_id: int = processor.unk_id()
        # A model may have one symbol for start and end, or for padding and end: a translation must be able to end.
        never = (self.pad_id, self.bos_id, self.unk_id)
        self.never_ids: tuple[int, ...] = tuple(index for index in never if index != self.eos_id)

    def _use(self, vocabulary: Vocabulary) -> None:
        self._pieces = list(vocabulary.pieces)
        self.pad_id, self.bos_id, self.eos_id = vocabulary.pad, vocabulary.start, vocabulary.end
        self.unk_id, self.never_ids = vocabulary.unknown, vocabulary.never
        controls = {self.pad_id, self.bos_id, self.eos_id, self.unk_id}
        ids = {piece: index for index, piece in enumerate(self._pieces) if index not in controls}
        self._tags = {piece: index for piece, index in ids.items() if _TAG.fullmatch(piece)}
        self._ids = {piece: index for piece, index in ids.items() if piece not in self._tags}
        self._shown = frozenset(self._ids.values())

    def _known_or_new(self, index: int, piece: str) -> int:
        """The id of a control symbol; one that the model lacks is added, by a name that no other piece has.

        A model may have a user-defined symbol of that name, which is text: exports go by names.
        """
        if index >= 0:
            return index
        names = chain([piece], (f"{piece[:-1]}:{number}>" for number in count(2)))
        self._pieces.append(next(name for name in names if name not in self._pieces))
        return len(self._pieces) - 1

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """With the vocabulary beside it, if there is one. Raises UsageError for a file that is missing or another."""
        try:
            model_bytes = Path(path).read_bytes()
        except OSError as problem:
            raise UsageError(f"{path}: cannot be read as a SentencePiece model: {problem.strerror}") from None
        return Tokenizer(model_bytes, str(path), read_vocabulary(Path(path).with_suffix(VOCABULARY)))

    def save_model(self, path: str | Path) -> None:
        """The SentencePiece model alone, without the names of files that a training elsewhere has left in it."""
        Path(path).write_bytes(_without_names(self.model_bytes))

    def save(self, path: str | Path) -> None:
        """The SentencePiece model, and beside it the vocabulary, if there is one."""
        self.save_model(path)
        if self.vocabulary is not None:
            content = self.vocabulary.model_dump_json(indent=1)
            Path(path).with_suffix(VOCABULARY).write_text(content, encoding="utf8")

    @property
    def identity(self) -> bytes:
        """All on which the ids of a text depend."""
        return self.model_bytes + (b"" if self.vocabulary is None else self.vocabulary.model_dump_json().encode())

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    @property
    def spells_everything(self) -> bool:
        """Whether what has no piece is spelt as bytes, so that no text holds the unknown."""
        return self.vocabulary is None and any(map(self._processor.is_byte, range(self._processor.vocab_size())))

    @property
    def tags(self) -> tuple[str, ...]:
        """What may stand before a text as one token."""
        return tuple(self._tags)

    @property
    def most_tags(self) -> int:
        """Ids that `split_tag` finds before a text at most."""
        return 1 if self._tags else 0

    def split_tag(self, text: str) -> Tagged:
        """What stands before the text as one token: `>>fra<<`, where the vocabulary has it."""
        found = _TAG.match(text) if self._tags else None
        if found is None or found[0] not in self._tags:
            return Tagged([], text)
        return Tagged([self._tags[found[0]]], text[found.end() :])

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without EOS. Whatever the text says, no control id is among them, but for its tag.

        Control characters are as spaces. How far different characters count as one (é in one code or in two) is settled
        by the normalisation with which the model was trained.
        """
        tagged = [self.split_tag(text) for text in texts]
        untagged = self.encode_untagged([text for _, text in tagged])
        return [[*tag, *ids] for (tag, _), ids in zip(tagged, untagged, strict=True)]

    def encode_untagged(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, but a tag is text like any other."""
        said = [plain(text) for text in texts]
        if self.vocabulary is None:
            return self._processor.encode(said)
        ids, unknown = self._ids, self.unk_id
        return [[ids.get(piece, unknown) for piece in pieces] for pieces in self._processor.encode(said, out_type=str)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text; control ids, the unknown and ids beyond the vocabulary are passed over."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, sentences: Iterable[Iterable[int]]) -> list[str]:
        """The text of each sentence, as `decode` gives it."""
        shown = [[int(index) for index in ids if index in self._shown] for ids in sentences]
        if self.vocabulary is None:
            return self._processor.decode(shown)
        # Pieces that the SentencePiece model does not know keep their sign for a space.
        texts = self._processor.decode([self.pieces(ids) for ids in shown])
        return [text.replace("▁", " ").strip() for text in texts]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id as its piece, control symbols included."""
        return [self._pieces[index] for index in ids]


def _without_names(model_bytes: bytes) -> bytes:
    """The bytes as they are, if SentencePiece's record of its training names no files."""
    model = ModelProto.FromString(model_bytes)
    before = model.ByteSize()
    for field in ("input", "model_prefix", "seed_sentencepieces_file"):
        model.trainer_spec.ClearField(field)
    return model_bytes if model.ByteSize() == before else model.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of source and target: one and the same object where they are shared."""

    source: Tokenizer
    target: Tokenizer

    @property
    def shared(self) -> bool:
        return self.source is self.target

    def save(self, directory: str | Path) -> None:
        """Writes tokenizer.spm, or source.spm and target.spm."""
        if self.shared:
            self.source.save(Path(directory, "tokenizer.spm"))
        else:
            self.source.save(Path(directory, "source.spm"))
            self.target.save(Path(directory, "target.spm"))

    @staticmethod
    def load(directory: str | Path) -> "Tokenizers":
        """What `save` wrote there. Raises UsageError where it is not."""
        shared = Path(directory, "tokenizer.spm")
        names = [shared] if shared.exists() else [Path(directory, "source.spm"), Path(directory, "target.spm")]
        return load_tokenizers(names)


def load_tokenizers(models: Collection[str | Path]) -> Tokenizers:
    """From the files of SentencePiece models: one for both sides, or source and target. Raises UsageError."""
    loaded = [Tokenizer.load(path) for path in models]
    return Tokenizers(loaded[0], loaded[-1])

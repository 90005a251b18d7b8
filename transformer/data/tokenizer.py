"""SentencePiece: text -> ids, and back."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from sentencepiece import SentencePieceProcessor

from transformer.data.lines import without_controls
from transformer.errors import UsageError

_BYTE = re.compile("<0x[0-9A-F]{2}>")
VOCABULARY_SUFFIX = ".vocabulary.json"  # tokenizer.vocabulary.json belongs to tokenizer.spm


class Tagged(NamedTuple):
    """The ids of the language tag at the start of a text, if there is one, and the rest of the text."""

    ids: list[int]
    text: str


class Tokenizer:
    """A SentencePiece model. A subclass is for imported models with ids other than SentencePiece's (vocabulary.py).

    `pad_id`, `bos_id`, `eos_id` and `unk_id` are those of the model: 0, 1, 2 and 3 if this package trained it. If the
    model lacks one of the first three, an id after its last piece is added, and counted in `vocab_size`. `bos_id` is
    the first id of the input of a decoder. `all_pieces` has the piece of each id. `tags` are the language tags that a
    text may start with, each encoded as one token. `identity` is the data on which the ids of a text depend.
    """

    def __init__(self, model_bytes: bytes, name: str = "tokenizer") -> None:
        """Raises UsageError if the bytes are not a SentencePiece model; its message starts with `name`."""
        processor = SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(model_bytes)
            self.all_pieces: list[str] = [processor.id_to_piece(index) for index in range(processor.vocab_size())]
        except (RuntimeError, UnicodeDecodeError):
            raise UsageError(f"{name}: not a SentencePiece model") from None
        self.model_bytes = self.identity = model_bytes
        self._processor = processor
        text_ids = (i for i in range(len(self.all_pieces)) if not (processor.is_control(i) or processor.is_unknown(i)))
        self._shown = frozenset(text_ids)
        self.pad_id = self._known_or_new(processor.pad_id(), "<pad>")
        self.bos_id = self._known_or_new(processor.bos_id(), "<s>")
        self.eos_id = self._known_or_new(processor.eos_id(), "</s>")
        self.unk_id: int = processor.unk_id()
        # If a model has one symbol for start and end, or for padding and end, a translation must still be able to end.
        never = (self.pad_id, self.bos_id, self.unk_id)
        self.never_ids: tuple[int, ...] = tuple(index for index in never if index != self.eos_id)
        self.tags: tuple[str, ...] = ()

    def _known_or_new(self, index: int, piece: str) -> int:
        """Returns the id of a control symbol. If `index` is negative, adds the symbol with a name that no piece has.

        The name must be new, because exports identify pieces by name, and a user-defined piece of the SentencePiece
        model may have the usual name of the control symbol.
        """
        if index >= 0:
            return index
        names = chain([piece], (f"{piece[:-1]}:{number}>" for number in count(2)))
        self.all_pieces.append(next(name for name in names if name not in self.all_pieces))
        return len(self.all_pieces) - 1

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """Loads a SentencePiece model, and a vocabulary beside it, if any. Raises UsageError if one is invalid."""
        try:
            model_bytes = Path(path).read_bytes()
        except OSError as problem:
            raise UsageError(f"{path}: cannot be read as a SentencePiece model: {problem.strerror}") from None
        vocabulary = Path(path).with_suffix(VOCABULARY_SUFFIX)
        if not vocabulary.exists():
            return Tokenizer(model_bytes, str(path))
        from transformer.data.vocabulary import ImportedTokenizer, read_vocabulary

        return ImportedTokenizer(model_bytes, read_vocabulary(vocabulary), str(path))

    def save_model(self, path: str | Path) -> None:
        """Saves the SentencePiece model alone, without the file names that its training may have recorded in it."""
        from sentencepiece.sentencepiece_model_pb2 import ModelProto

        model = ModelProto.FromString(self.model_bytes)
        size = model.ByteSize()
        for field in ("input", "model_prefix", "seed_sentencepieces_file"):
            model.trainer_spec.ClearField(field)
        unchanged = model.ByteSize() == size
        Path(path).write_bytes(self.model_bytes if unchanged else model.SerializeToString(deterministic=True))

    def save(self, path: str | Path) -> None:
        """Saves everything that `load` reads."""
        self.save_model(path)

    def with_rules(self, normalizer_spec: bytes) -> "Tokenizer":
        """Returns the same pieces with other rules for the text that is encoded: a serialized NormalizerSpec."""
        from sentencepiece.sentencepiece_model_pb2 import ModelProto

        model = ModelProto.FromString(self.model_bytes)
        model.normalizer_spec.ParseFromString(normalizer_spec)
        return Tokenizer(model.SerializeToString(deterministic=True))

    @property
    def vocab_size(self) -> int:
        return len(self.all_pieces)

    @property
    def spells_everything(self) -> bool:
        """Whether characters without a piece are encoded as bytes, so that the unknown symbol never occurs."""
        return any(map(self._processor.is_byte, range(self._processor.vocab_size())))

    @property
    def byte_ids(self) -> frozenset[int]:
        """The ids of bytes, with which characters without a piece are encoded."""
        return frozenset(index for index, piece in enumerate(self.all_pieces) if _BYTE.fullmatch(piece))

    @property
    def max_tags(self) -> int:
        """The largest number of ids in a `Tagged` that `split_tag` returns."""
        return 1 if self.tags else 0

    def split_tag(self, text: str) -> Tagged:
        """Separates a tag such as `>>fra<<` from the rest of the text, if the vocabulary has that tag."""
        return Tagged([], text)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes each text, without EOS. No text gets the id of a control symbol, except for its tag.

        Control characters become spaces. Whether é as one code point and as two get the same ids depends on the
        normalization that the model was trained with.
        """
        tagged = [self.split_tag(text) for text in texts]
        untagged = self.encode_untagged([text for _, text in tagged])
        return [[*tag, *ids] for (tag, _), ids in zip(tagged, untagged, strict=True)]

    def encode_untagged(self, texts: Sequence[str]) -> list[list[int]]:
        """Like `encode`, but treats a tag as text."""
        return self._processor.encode([without_controls(text) for text in texts])

    def decode(self, ids: Iterable[int]) -> str:
        """Decodes one sentence. Ignores control ids, the unknown symbol and ids beyond the vocabulary."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, sentences: Iterable[Iterable[int]]) -> list[str]:
        """Decodes each sentence like `decode`."""
        return self._processor.decode(self._shown_ids(sentences))

    def _shown_ids(self, sentences: Iterable[Iterable[int]]) -> list[list[int]]:
        return [[int(index) for index in ids if index in self._shown] for ids in sentences]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Returns the piece of each id, control symbols included."""
        return [self.all_pieces[index] for index in ids]


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of source and target: the same object if one SentencePiece model is for both."""

    source: Tokenizer
    target: Tokenizer

    @property
    def shared(self) -> bool:
        """Whether each id is the same piece on both sides. The rules for the text may still differ."""
        return self.source.all_pieces == self.target.all_pieces

    @property
    def files(self) -> tuple[str, str]:
        """The names of the files that `save` writes for source and target."""
        return ("tokenizer.spm", "tokenizer.spm") if self.source is self.target else ("source.spm", "target.spm")

    @property
    def digest(self) -> str:
        """The sha256 of everything that the ids of a text depend on."""
        return hashlib.sha256(self.source.identity + self.target.identity).hexdigest()

    def save(self, directory: str | Path) -> None:
        """Writes tokenizer.spm if one model is for both sides, else source.spm and target.spm."""
        for name, tokenizer in dict(zip(self.files, (self.source, self.target), strict=True)).items():
            tokenizer.save(Path(directory, name))

    @staticmethod
    def load(directory: str | Path) -> "Tokenizers":
        """Loads the files that `save` wrote. Raises UsageError if one is missing or invalid."""
        shared = Path(directory, "tokenizer.spm")
        names = [shared] if shared.exists() else [Path(directory, "source.spm"), Path(directory, "target.spm")]
        return load_tokenizers(names)


def load_tokenizers(models: Collection[str | Path]) -> Tokenizers:
    """Loads the tokenizers from one file for both sides, or from two. Raises UsageError if one cannot be loaded."""
    loaded = [Tokenizer.load(path) for path in models]
    return Tokenizers(loaded[0], loaded[-1])

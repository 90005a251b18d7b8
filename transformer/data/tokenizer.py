"""SentencePiece: text to ids and back."""

import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from transformer.config import Tokenizer as Settings
from transformer.data.lines import one_line, plain
from transformer.errors import DataError, UsageError

PAD, BOS, EOS, UNK = 0, 1, 2, 3
THREADS = 16  # of the training: the pieces depend on it, so it is the same on every machine
LONGEST = 1000  # characters of a line that the training takes at a time

_TOO_FEW = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")


class Tokenizer:
    """A SentencePiece model.

    `pad_id`, `bos_id`, `eos_id` and `unk_id` are the model's own: PAD, BOS, EOS and UNK if it was trained here. A model
    that lacks one of the first three gets it as an id after its last piece, so that `vocab_size` exceeds the model's.
    """

    def __init__(self, model_bytes: bytes, name: str = "tokenizer") -> None:
        """Raises UsageError, with `name` in it, where the bytes are not a SentencePiece model."""
        processor = SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(model_bytes)
            self._pieces: list[str] = [processor.id_to_piece(index) for index in range(processor.vocab_size())]
        except (RuntimeError, UnicodeDecodeError):
            raise UsageError(f"{name}: not a SentencePiece model") from None
        self.model_bytes = model_bytes
        self._processor = processor
        self._shown = frozenset(
            index for index in range(len(self._pieces))
            if not (processor.is_control(index) or processor.is_unknown(index))
        )  # fmt: skip
        self.pad_id = self._known_or_new(processor.pad_id(), "<pad>")
        self.bos_id = self._known_or_new(processor.bos_id(), "<s>")
        self.eos_id = self._known_or_new(processor.eos_id(), "</s>")
        self.unk_id: int = processor.unk_id()

    def _known_or_new(self, index: int, piece: str) -> int:
        if index >= 0:
            return index
        self._pieces.append(piece)
        return len(self._pieces) - 1

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """Raises UsageError where the file is missing or not a SentencePiece model."""
        try:
            model_bytes = Path(path).read_bytes()
        except OSError as problem:
            raise UsageError(f"{path}: cannot be read as a SentencePiece model: {problem.strerror}") from None
        return Tokenizer(model_bytes, str(path))

    def save(self, path: str | Path) -> None:
        """Without the names of files that a training elsewhere has left in the model."""
        Path(path).write_bytes(_without_names(self.model_bytes))

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without EOS. Whatever the text says, no control id is among them.

        Control characters are as spaces. How far different characters count as one (é in one code or in two) is settled
        by the normalisation with which the model was trained.
        """
        return self._processor.encode([plain(text) for text in texts])

    def decode(self, ids: Iterable[int]) -> str:
        """The text; control ids, the unknown and ids beyond the vocabulary are passed over."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, sentences: Iterable[Iterable[int]]) -> list[str]:
        """The text of each sentence, as `decode` gives it."""
        shown = self._shown
        return self._processor.decode([[int(index) for index in ids if index in shown] for ids in sentences])

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


def train_tokenizers(source: Iterable[str], target: Iterable[str], settings: Settings) -> Tokenizers:
    """One tokenizer for both sides or one a side, as the settings say; see `train_tokenizer`."""
    sides = [spread(texts, settings.train_lines) for texts in (source, target)]
    if settings.shared:
        tokenizer = train_tokenizer(chain(*sides), settings)
        return Tokenizers(tokenizer, tokenizer)
    return Tokenizers(*(train_tokenizer(texts, settings) for texts in sides))


def spread(texts: Iterable[str], most: int) -> list[str]:
    """At most `most` of the texts, evenly spread: every one, or every second, or every fourth ..."""
    kept: list[str] = []
    step = 1
    for number, text in enumerate(texts):
        if number % step:
            continue
        if len(kept) == most:
            kept = kept[::2]
            step *= 2
            if number % step:
                continue
        kept.append(text)
    return kept


def train_tokenizer(sentences: Iterable[str], settings: Settings) -> Tokenizer:
    """A SentencePiece model of the sentences; its bytes follow from them and the settings alone.

    A corpus too small for `vocab_size` pieces gives fewer. Raises DataError where there is no text, UsageError where
    `vocab_size` has no room for the corpus' characters.
    """
    model = io.BytesIO()
    # SentencePiece leaves out what is long, and takes minutes over one line of a million characters: it gets parts
    texts = [text[at : at + LONGEST] for text in map(one_line, sentences) for at in range(0, len(text), LONGEST)]
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, minloglevel=3, num_threads=THREADS,
            pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=UNK, byte_fallback=settings.byte_fallback,
            model_type=settings.kind, vocab_size=settings.vocab_size, hard_vocab_limit=False,
            character_coverage=settings.character_coverage, normalization_rule_name=settings.normalization,
            max_sentence_length=4 * LONGEST,
        )  # fmt: skip
    except RuntimeError as problem:
        raise _explained(str(problem), settings) from None
    return Tokenizer(model.getvalue())


def _explained(problem: str, settings: Settings) -> UsageError | DataError:
    if too_few := _TOO_FEW.search(problem):
        return UsageError(
            f"tokenizer.vocab_size = {settings.vocab_size}: the characters of this corpus need {too_few[1]} at least;"
            " raise it, or lower tokenizer.character_coverage"
        )
    if "sentences_.empty()" in problem or "all_chars_count" in problem:
        return DataError("tokenizer: there is no text to train on; look at the files of data.train")
    return UsageError(f"tokenizer: SentencePiece cannot train with these settings: {one_line(problem)}")

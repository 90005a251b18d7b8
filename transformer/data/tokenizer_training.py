"""Training SentencePiece on a corpus."""

import io
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import chain
from threading import Thread

from sentencepiece import SentencePieceTrainer

from transformer.config import Tokenizer as Settings
from transformer.data.lines import one_line
from transformer.data.tokenizer import Tokenizer, Tokenizers
from transformer.errors import DataError, UsageError

PAD, BOS, EOS, UNK = 0, 1, 2, 3
THREADS = 16  # of the training: the pieces depend on it, so it is the same on every machine
LONGEST = 1000  # characters of a line that the training takes at a time

_TOO_FEW = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")


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
        _aside(
            SentencePieceTrainer.train,
            sentence_iterator=iter(texts), model_writer=model, minloglevel=3, num_threads=THREADS,
            pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=UNK, byte_fallback=settings.byte_fallback,
            model_type=settings.kind, vocab_size=settings.vocab_size, hard_vocab_limit=False,
            character_coverage=settings.character_coverage, normalization_rule_name=settings.normalization,
            max_sentence_length=4 * LONGEST,
        )  # fmt: skip
    except RuntimeError as problem:
        raise _explained(str(problem), settings) from None
    return Tokenizer(model.getvalue())


def _aside(call: Callable[..., None], **arguments: object) -> None:
    """Calls it in a thread, so that a signal is answered in the minutes that two million lines take SentencePiece."""
    done: Future[None] = Future()

    def work() -> None:
        try:
            done.set_result(call(**arguments))
        except BaseException as problem:
            done.set_exception(problem)

    Thread(target=work, daemon=True).start()
    done.result()


def _explained(problem: str, settings: Settings) -> UsageError | DataError:
    if too_few := _TOO_FEW.search(problem):
        return UsageError(
            f"tokenizer.vocab_size = {settings.vocab_size}: the characters of this corpus need {too_few[1]} at least;"
            " raise it, or lower tokenizer.character_coverage"
        )
    if "sentences_.empty()" in problem or "all_chars_count" in problem:
        return DataError("tokenizer: there is no text to train on; look at the files of data.train")
    return UsageError(f"tokenizer: SentencePiece cannot train with these settings: {one_line(problem)}")

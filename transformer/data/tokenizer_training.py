"""Trains SentencePiece on a corpus."""

import io
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import chain
from threading import Thread

from sentencepiece import SentencePieceNormalizer, SentencePieceTrainer

from transformer.config import Tokenizer as Settings
from transformer.data.normalization import source_rules, target_rules
from transformer.data.tokenizer import Tokenizer, Tokenizers
from transformer.errors import DataError, UsageError, one_line

PAD, BOS, EOS, UNK = 0, 1, 2, 3
THREADS = 16  # the pieces depend on the number of threads, so it is the same on every machine
MAX_CHARACTERS = 1000  # longer lines are split for the training
RULES = {"nfc": (source_rules, target_rules)}  # values of tokenizer.normalization that SentencePiece does not have


def train_tokenizers(source: Iterable[str], target: Iterable[str], settings: Settings) -> Tokenizers:
    """Trains one set of pieces for both sides or one per side, as the settings say; see `train_tokenizer`.

    With a normalization of RULES, source and target are two models even if they share their pieces, because a
    SentencePiece model has one set of rules.
    """
    sides = [spread(texts, settings.train_lines) for texts in (source, target)]
    if rules := RULES.get(settings.normalization):
        sides[0] = normalized(sides[0], rules[0]())
    if settings.shared:
        tokenizers = [train_tokenizer(chain(*sides), settings)] * 2
    else:
        tokenizers = [train_tokenizer(texts, settings) for texts in sides]
    return Tokenizers(tokenizers[0].with_rules(rules[0]()) if rules else tokenizers[0], tokenizers[1])


def normalized(texts: Iterable[str], normalizer_spec: bytes) -> list[str]:
    """Returns the texts after the rules of a serialized NormalizerSpec, as a model with them sees them."""
    normalizer = SentencePieceNormalizer(
        normalizer_spec=normalizer_spec, add_dummy_prefix=False, escape_whitespaces=False
    )
    return [normalizer.Normalize(one_line(text)) for text in texts]


def spread(texts: Iterable[str], max_count: int) -> list[str]:
    """Returns at most `max_count` texts, evenly spaced: all of them, or every second, or every fourth, ..."""
    kept: list[str] = []
    step = 1
    for number, text in enumerate(texts):
        if number % step == 0:
            kept.append(text)
        if len(kept) > max_count:
            kept, step = kept[::2], 2 * step
    return kept


def train_tokenizer(sentences: Iterable[str], settings: Settings) -> Tokenizer:
    """Trains a SentencePiece model; its bytes depend on the sentences and the settings alone.

    With a normalization of RULES, the model has the rules of the target.
    If the corpus is too small for `vocab_size` pieces, the model has fewer. Raises DataError if there is no text,
    UsageError if `vocab_size` is too small for the characters of the corpus.
    """
    rules = RULES.get(settings.normalization)
    lines = normalized(sentences, rules[1]()) if rules else map(one_line, sentences)
    model = io.BytesIO()
    # SentencePiece skips lines longer than max_sentence_length, and with a higher limit, a line of a million characters
    # would take minutes. So long lines are split.
    texts = [text[at : at + MAX_CHARACTERS] for text in lines for at in range(0, len(text), MAX_CHARACTERS)]
    try:
        _run_in_thread(
            SentencePieceTrainer.train,
            sentence_iterator=iter(texts), model_writer=model, minloglevel=3, num_threads=THREADS,
            pad_id=PAD, bos_id=BOS, eos_id=EOS, unk_id=UNK, byte_fallback=settings.byte_fallback,
            model_type=settings.kind, vocab_size=settings.vocab_size, hard_vocab_limit=False,
            character_coverage=settings.character_coverage, max_sentence_length=4 * MAX_CHARACTERS,
            normalization_rule_name="identity" if rules else settings.normalization,
        )  # fmt: skip
    except RuntimeError as problem:
        raise _explained(str(problem), settings) from None
    tokenizer = Tokenizer(model.getvalue())
    return tokenizer.with_rules(rules[1]()) if rules else tokenizer


def _explained(problem: str, settings: Settings) -> UsageError | DataError:
    """Returns the error to raise for a message of SentencePiece; it names the setting or the files to change."""
    if too_few := re.search(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)", problem):
        return UsageError(
            f"tokenizer.vocab_size = {settings.vocab_size}: the characters of this corpus need at least {too_few[1]};"
            " raise it, or lower tokenizer.character_coverage"
        )
    if "sentences_.empty()" in problem or "all_chars_count" in problem:
        return DataError("tokenizer: there is no text to train on; check the files of data.train")
    return UsageError(f"tokenizer: SentencePiece cannot train with these settings: {one_line(problem)}")


def _run_in_thread(call: Callable[..., None], **arguments: object) -> None:
    """Calls the function in a thread, so that signals are handled while SentencePiece trains for minutes."""
    result: Future[None] = Future()

    def work() -> None:
        try:
            result.set_result(call(**arguments))
        except BaseException as problem:
            result.set_exception(problem)

    Thread(target=work, daemon=True).start()
    result.result()

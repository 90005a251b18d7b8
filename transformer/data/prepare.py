"""From the corpora of a config to ids. Results for the same corpora and settings are used again."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transformer.config import Config
from transformer.data.checks.cleaning import CleaningReport, clean
from transformer.data.checks.survey import survey
from transformer.data.corpus import Corpus, Pair, open_corpora
from transformer.data.examples import Examples, prepare_examples
from transformer.data.tokenizer import Tokenizers, load_tokenizers
from transformer.data.tokenizer_training import train_tokenizers
from transformer.files.prepared import OWN_FILES, begin_results, check_own_files, finish_results, read_results

log = logging.getLogger(__name__)


class Corpora(NamedTuple):
    """The corpora of a config, opened and checked, but not yet read as pairs."""

    train: list[Corpus]
    valid: list[Corpus]


class ValidCorpus(NamedTuple):
    """A validation corpus."""

    name: str
    """as in data.valid"""
    examples: Examples
    pairs: list[Pair]
    """as text, to compare translations with; the examples lack those that are too long"""


class Prepared(NamedTuple):
    """The tokenizers and ids that training needs."""

    tokenizers: Tokenizers
    train: Examples
    valid: list[ValidCorpus]


def open_all(config: Config) -> Corpora:
    """Opens and checks the corpora of a config; see `open_corpus`. Raises DataError, UsageError."""
    names = config.data
    train, valid = (
        open_corpora(specs, names.source, names.target, split)
        for split, specs in (("train", names.train), ("valid", names.valid))
    )
    return Corpora(train, valid)


def prepare(config: Config, corpora: Corpora, directory: Path, tokenizers: Tokenizers | None = None) -> Prepared:
    """Checks every corpus before anything is computed, and stores all results in `directory`. Raises DataError.

    `tokenizers` are those of the model to start from; None: those of the config.
    """
    settings = config.data
    train, valid = corpora
    for name in ("train_survey", "valid_survey", "train", "valid"):  # before any of them is emptied
        check_own_files(directory / name, OWN_FILES)
    survey(directory / "train_survey", train, settings)
    survey(directory / "valid_survey", valid, settings)
    tokenizers = tokenizers or _tokenizers(config, train, directory / "tokenizer")
    sizes = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    log.info("vocabulary: %s pieces", f"{sizes[0]:,}" if tokenizers.shared else f"{sizes[0]:,} and {sizes[1]:,}")
    train_examples, summaries = prepare_examples(directory / "train", train, tokenizers, settings)
    for summary in summaries:
        log.info("training corpus %s: %s", summary.name, summary.summary)
    valid_examples, summaries = prepare_examples(directory / "valid", valid, tokenizers, settings)
    for summary in summaries:
        log.info("validation corpus %s: %s", summary.name, summary.summary)
    parts = valid_examples.split([summary.kept for summary in summaries])
    valid_corpora = [
        ValidCorpus(corpus.name, examples, list(clean(corpus, CleaningReport())))
        for corpus, examples in zip(valid, parts, strict=True)
    ]
    return Prepared(tokenizers, train_examples, valid_corpora)


def _tokenizers(config: Config, corpora: Sequence[Corpus], directory: Path) -> Tokenizers:
    """The tokenizers that the config names, or those trained on the corpora and stored in `directory`."""
    if config.tokenizer.models:
        return load_tokenizers(config.tokenizer.models)
    described = "\n".join([config.tokenizer.model_dump_json(), *(corpus.identity for corpus in corpora)])
    origin = hashlib.sha256(described.encode()).hexdigest()
    if not read_results(directory, origin):
        log.info("training the tokenizer")
        begin_results(directory)
        sources = (pair.source for corpus in corpora for pair in clean(corpus, CleaningReport()))
        targets = (pair.target for corpus in corpora for pair in clean(corpus, CleaningReport()))
        train_tokenizers(sources, targets, config.tokenizer).save(directory)
        finish_results(directory, origin)
    return Tokenizers.load(directory)

"""From the corpora of a config to ids, once: what was done for the same corpora and settings is used again."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transformer.config import Config
from transformer.data import manifest
from transformer.data.corpus import Corpus, Pair, Report, clean, open_corpora
from transformer.data.examples import Examples, prepare_examples
from transformer.data.survey import survey
from transformer.data.tokenizer import Tokenizers, load_tokenizers
from transformer.data.tokenizer_training import train_tokenizers

log = logging.getLogger(__name__)


class Corpora(NamedTuple):
    """What a config names: open, counted line for line, and not yet read."""

    train: list[Corpus]
    valid: list[Corpus]


class ValidCorpus(NamedTuple):
    """A validation corpus."""

    name: str  # as data.valid has it
    examples: Examples
    pairs: list[Pair]  # as text, to validate by translating


class Prepared(NamedTuple):
    """All that training needs of its corpora."""

    tokenizers: Tokenizers
    train: Examples
    valid: list[ValidCorpus]


def open_all(config: Config) -> Corpora:
    """The corpora of a config, checked as `open_corpus` does. Raises DataError, UsageError."""
    names = config.data
    train, valid = (
        open_corpora(specs, names.source, names.target, split)
        for split, specs in (("train", names.train), ("valid", names.valid))
    )
    return Corpora(train, valid)


def prepare(config: Config, corpora: Corpora, directory: Path, tokenizers: Tokenizers | None = None) -> Prepared:
    """Looks at every corpus before anything is computed, and leaves all it makes in `directory`. Raises DataError.

    `tokenizers` are those of a model to start from; None: as the config says.
    """
    settings = config.data
    train, valid = corpora
    for name in ("train_survey", "valid_survey", "train", "valid"):  # before any of them is cleared
        manifest.check_ours(directory / name, manifest.NAMES)
    survey(directory / "train_survey", train, settings)
    survey(directory / "valid_survey", valid, settings)
    tokenizers = tokenizers or _tokenizers(config, train, directory / "tokenizer")
    sizes = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    log.info("vocabulary: %s pieces", f"{sizes[0]:,}" if tokenizers.shared else f"{sizes[0]:,} and {sizes[1]:,}")
    train_examples, outcomes = prepare_examples(directory / "train", train, tokenizers, settings)
    for outcome in outcomes:
        log.info("training corpus %s: %s", outcome.name, outcome.summary)
    valid_examples, outcomes = prepare_examples(directory / "valid", valid, tokenizers, settings)
    for outcome in outcomes:
        log.info("validation corpus %s: %s", outcome.name, outcome.summary)
    parts = valid_examples.split([outcome.kept for outcome in outcomes])
    each = [ValidCorpus(one.name, part, list(clean(one, Report()))) for one, part in zip(valid, parts, strict=True)]
    return Prepared(tokenizers, train_examples, each)


def _tokenizers(config: Config, corpora: Sequence[Corpus], directory: Path) -> Tokenizers:
    """Those that the config names, or those trained on the corpora, kept in `directory`."""
    if config.tokenizer.models:
        return load_tokenizers(config.tokenizer.models)
    described = "\n".join([config.tokenizer.model_dump_json(), *(corpus.identity for corpus in corpora)])
    digest = hashlib.sha256(described.encode()).hexdigest()
    if not manifest.is_made(directory, digest):
        log.info("training the tokenizer")
        manifest.begin(directory)
        sources = (pair.source for corpus in corpora for pair in clean(corpus, Report()))
        targets = (pair.target for corpus in corpora for pair in clean(corpus, Report()))
        tokenizers = train_tokenizers(sources, targets, config.tokenizer)
        tokenizers.save(directory)
        manifest.finish(directory, digest)
    return Tokenizers.load(directory)

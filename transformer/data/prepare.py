"""Converts the corpora of a config to token ids. The results are stored, and reused for equal corpora and settings."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transformer.config import Config, Data
from transformer.data.checks.cleaning import CleaningReport, CorpusSummary, clean, clean_lines
from transformer.data.checks.lengths import length_warning
from transformer.data.checks.round_trip import RoundTrip
from transformer.data.checks.survey import survey
from transformer.data.corpus import Corpus, Pair, open_corpora
from transformer.data.lines import is_blank
from transformer.data.tokenizer import Tokenizers, load_tokenizers
from transformer.data.tokenizer_training import train_tokenizers
from transformer.errors import UsageError
from transformer.files.prepared import OWN_FILES, begin_results, check_own_files, finish_results, read_results

FORMAT = "3"  # of the stored ids and their manifest; results of another format are computed again
CHUNK = 10_000  # number of pairs that are tokenized at a time
MANY_TOO_LONG = 0.05  # fraction of the pairs above which a warning is logged
TOO_LONG = "longer than {} tokens"  # the reason to leave out a pair

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sentences:
    """The ids of many sentences in one array; each sentence ends with the end-of-sentence symbol."""

    ids: np.ndarray  # int32, memory-mapped
    offsets: np.ndarray  # int64 [sentences + 1]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def part(self, start: int, end: int) -> "Sentences":
        """Returns the sentences from `start` up to `end`."""
        return Sentences(self.ids, self.offsets[start : end + 1])

    @staticmethod
    def open(directory: Path, side: str) -> "Sentences":
        ids = np.memmap(directory / f"{side}.ids", np.int32, mode="r")
        return Sentences(ids, np.load(directory / f"{side}.offsets.npy"))


@dataclass(frozen=True)
class Examples:
    """Pairs of sentences as ids."""

    source: Sentences
    target: Sentences
    start: int  # the first id of a decoder's input
    end: int  # the last id of a source

    def __len__(self) -> int:
        return len(self.source.offsets) - 1

    def split(self, counts: Sequence[int]) -> "list[Examples]":
        """Splits the pairs, in their order, into parts of the given sizes."""
        return [
            replace(self, source=self.source.part(start, end), target=self.target.part(start, end))
            for start, end in pairwise(accumulate(counts, initial=0))
        ]

    @property
    def lengths(self) -> np.ndarray:
        """Returns the numbers of tokens of source and target, end of sentence included: [pairs, 2]."""
        return np.stack([np.diff(self.source.offsets), np.diff(self.target.offsets)], axis=1)


class Corpora(NamedTuple):
    """The corpora of a config, opened and checked, but not yet read as pairs."""

    train: list[Corpus]
    valid: list[Corpus]


class ValidCorpus(NamedTuple):
    name: str  # as in data.valid
    examples: Examples
    pairs: list[Pair]  # as text, for metrics; they include pairs that `examples` lacks (see `_encode`)


class Prepared(NamedTuple):
    """The tokenizers and ids that training needs."""

    tokenizers: Tokenizers
    train: Examples
    valid: list[ValidCorpus]


def open_all(config: Config) -> Corpora:
    """Opens and checks the corpora of a config; see `open_corpus` for the errors."""
    data = config.data
    train = open_corpora(data.train, data.source, data.target, "train")
    return Corpora(train, open_corpora(data.valid, data.source, data.target, "valid"))


def prepare(config: Config, corpora: Corpora, directory: Path, tokenizers: Tokenizers | None = None) -> Prepared:
    """Checks all corpora, then converts them to ids. All results are stored in `directory`.

    `tokenizers` are those of the model to start from; if None, they are loaded or trained as the config says. Raises
    DataError if a corpus fails a check (see `survey` and `prepare_examples`), UsageError if `directory` has files
    that are not of a run, or if there is no usable tokenizer.
    """
    settings = config.data
    train, valid = corpora
    for name in ("train_survey", "valid_survey", "train", "valid"):  # before any directory is emptied
        check_own_files(directory / name, OWN_FILES)
    survey(directory / "train_survey", train, settings)
    survey(directory / "valid_survey", valid, settings)
    tokenizers = tokenizers or _tokenizers(config, train, directory / "tokenizer")
    sizes = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    log.info("vocabulary: %s pieces", f"{sizes[0]:,}" if tokenizers.shared else f"{sizes[0]:,} and {sizes[1]:,}")
    train_examples, summaries = prepare_examples(directory / "train", train, tokenizers, settings)
    for summary in summaries:
        log.info("training corpus %s: %s; %s", summary.name, summary.summary, summary.text)
    valid_examples, summaries = prepare_examples(directory / "valid", valid, tokenizers, settings)
    for summary in summaries:
        log.info("validation corpus %s: %s", summary.name, summary.summary)
    parts = valid_examples.split([summary.kept for summary in summaries])
    valid_corpora = [
        ValidCorpus(corpus.name, examples, list(clean(corpus, CleaningReport())))
        for corpus, examples in zip(valid, parts, strict=True)
    ]
    return Prepared(tokenizers, train_examples, valid_corpora)


def given_tokenizers(config: Config) -> Tokenizers | None:
    """Loads the tokenizers that the config names, if it names any. Raises UsageError."""
    models = config.tokenizer.models
    if not models:
        return None
    tokenizers = load_tokenizers(models)
    if config.model.tie_embeddings == "all" and not tokenizers.shared:
        raise UsageError(
            f'model.tie_embeddings: "all" needs the same pieces for both sides, and those of tokenizer.models ='
            f' {list(models)} differ; use "decoder" or "none"'
        )
    return tokenizers


def _tokenizers(config: Config, corpora: Sequence[Corpus], directory: Path) -> Tokenizers:
    """Loads the tokenizers that the config names. If it names none, loads those in `directory`, or trains them."""
    if given := given_tokenizers(config):
        return given
    description = "\n".join([config.tokenizer.model_dump_json(), *(corpus.identity for corpus in corpora)])
    origin = hashlib.sha256(description.encode()).hexdigest()
    if not read_results(directory, origin):
        log.info("training the tokenizer")
        begin_results(directory)
        sources = (pair.source for corpus in corpora for pair in clean(corpus, CleaningReport()))
        targets = (pair.target for corpus in corpora for pair in clean(corpus, CleaningReport()))
        train_tokenizers(sources, targets, config.tokenizer).save(directory)
        finish_results(directory, origin)
    return Tokenizers.load(directory)


def prepare_examples(
    directory: Path, corpora: Sequence[Corpus], tokenizers: Tokenizers, settings: Data
) -> tuple[Examples, list[CorpusSummary]]:
    """Returns the ids of the corpora, from `directory` if they are stored there, and a summary of each corpus.

    Logs a warning if many pairs are too long, or if the tokenizers do not fit the text. Raises DataError if no pair of
    a corpus is kept, or if the fraction of its pairs that are left out is above settings.max_left_out.
    """
    limits = f"{settings.max_length} {settings.max_ratio}"
    description = [*(corpus.identity for corpus in corpora), tokenizers.digest, limits, FORMAT]
    origin = hashlib.sha256("\n".join(description).encode()).hexdigest()
    results = read_results(directory, origin)
    if results is None:
        summaries = _write(directory, corpora, tokenizers, settings)
        results = finish_results(directory, origin, corpora=[summary._asdict() for summary in summaries])
    summaries = [CorpusSummary(**entry) for entry in results["corpora"]]
    for summary in summaries:
        for warning in summary.warnings:
            log.warning("warning: %s", warning)
        summary.check(settings.max_left_out)
    source, target = Sentences.open(directory, "source"), Sentences.open(directory, "target")
    return Examples(source, target, start=tokenizers.target.bos_id, end=tokenizers.source.eos_id), summaries


def _write(directory: Path, corpora: Sequence[Corpus], tokenizers: Tokenizers, settings: Data) -> list[CorpusSummary]:
    """Empties `directory`, and writes the ids of the corpora into it, CHUNK pairs at a time."""
    begin_results(directory)
    summaries = []
    lengths: dict[str, list[int]] = {"source": [0], "target": [0]}
    with open(directory / "source.ids", "wb") as source_file, open(directory / "target.ids", "wb") as target_file:
        for corpus in corpora:
            report, longer_sides = CleaningReport(), Counter[int]()
            round_trip = RoundTrip(corpus.name, tokenizers)
            for source, target in _encode(corpus, round_trip, settings, report, longer_sides):
                for side, ids, file in (("source", source, source_file), ("target", target, target_file)):
                    lengths[side].append(len(ids))
                    file.write(np.array(ids, np.int32).tobytes())
            summary = _summarize(corpus.name, report, longer_sides, settings.max_length)
            summaries.append(summary._replace(text=round_trip.summary(), text_warnings=round_trip.warnings()))
    for side, counts in lengths.items():
        np.save(directory / f"{side}.offsets.npy", np.cumsum(counts, dtype=np.int64))
    return summaries


def _encode(
    corpus: Corpus, round_trip: RoundTrip, settings: Data, report: CleaningReport, longer_sides: Counter[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Yields the ids of the pairs that are kept: no side is empty or too long, and the lengths do not differ too much.

    Counts the pairs in `report`, and in `longer_sides` by the number of tokens of their longer side.
    Adds all pairs to `round_trip`, whose tokenizers encode them.
    """
    tokenizers = round_trip.tokenizers
    pairs = clean_lines(corpus, report)
    while chunk := list(islice(pairs, CHUNK)):
        sources = tokenizers.source.encode([pair.source for _, pair in chunk])
        targets = tokenizers.target.encode([pair.target for _, pair in chunk])
        round_trip.add(chunk, sources, targets)
        for (line, pair), source, target in zip(chunk, sources, targets, strict=True):
            shorter, longer = sorted((len(source) + 1, len(target) + 1))
            longer_sides[longer] += 1
            if not source or not target or is_blank(pair.target):  # only characters that cannot be seen
                report.leave_out("empty target" if source else "empty source", line)
            elif longer > settings.max_length:
                report.leave_out(TOO_LONG.format(settings.max_length), line)
            elif longer > settings.max_ratio * shorter:
                report.leave_out(f"one side over {settings.max_ratio:g} times as long as the other", line)
            else:
                yield [*source, tokenizers.source.eos_id], [*target, tokenizers.target.eos_id]


def _summarize(name: str, report: CleaningReport, longer_sides: Counter[int], max_length: int) -> CorpusSummary:
    too_long = report.left_out[TOO_LONG.format(max_length)] / max(report.read, 1)
    warning = length_warning(name, too_long, longer_sides, max_length) if too_long > MANY_TOO_LONG else ""
    return CorpusSummary(name, report.read, report.kept, report.summary(), warning)

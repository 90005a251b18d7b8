"""The ids of a corpus in memory-mapped files with offsets. Files for the same corpus and settings are used again."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from pathlib import Path

import numpy as np

from transformer.config import Data
from transformer.data.checks.cleaning import CleaningReport, CorpusSummary, clean_lines
from transformer.data.checks.lengths import length_warning
from transformer.data.corpus import Corpus, Pair
from transformer.data.tokenizer import Tokenizers
from transformer.files.prepared import begin_results, finish_results, read_results

FORMAT = "2"  # of the files and of the manifest; files of another format are computed again
CHUNK = 10_000  # pairs that are tokenized at a time
MANY_TOO_LONG = 0.05  # fraction of the pairs above which a warning is logged

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sentences:
    """The ids of many sentences, one after another; each ends with the end-of-sentence symbol."""

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
        ends = list(accumulate(counts, initial=0))
        return [
            replace(self, source=self.source.part(start, end), target=self.target.part(start, end))
            for start, end in pairwise(ends)
        ]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of source and target, end of sentence included: [pairs, 2]."""
        return np.stack([np.diff(self.source.offsets), np.diff(self.target.offsets)], axis=1)


def prepare_examples(
    directory: Path, corpora: Sequence[Corpus], tokenizers: Tokenizers, settings: Data
) -> tuple[Examples, list[CorpusSummary]]:
    """Returns the ids of the corpora, from `directory` if they are there already, and a summary of each corpus.

    Warns if many pairs are too long. Raises DataError if no pair of a corpus is left, or more than
    settings.max_left_out of its pairs are left out.
    """
    described = [
        *(corpus.identity for corpus in corpora),
        tokenizers.digest,
        f"{settings.max_length} {settings.max_ratio}",
        FORMAT,
    ]
    origin = hashlib.sha256("\n".join(described).encode()).hexdigest()
    results = read_results(directory, origin)
    if results is None:
        summaries = _write(directory, corpora, tokenizers, settings)
        results = finish_results(directory, origin, corpora=[summary._asdict() for summary in summaries])
    summaries = [CorpusSummary(**entry) for entry in results["corpora"]]
    for summary in summaries:
        if summary.warning:
            log.warning("warning: %s", summary.warning)
        summary.check(settings.max_left_out)
    examples = Examples(
        source=Sentences.open(directory, "source"),
        target=Sentences.open(directory, "target"),
        start=tokenizers.target.bos_id,
        end=tokenizers.source.eos_id,
    )
    return examples, summaries


def _write(directory: Path, corpora: Sequence[Corpus], tokenizers: Tokenizers, settings: Data) -> list[CorpusSummary]:
    """Tokenizes the corpora into an empty `directory`, a few thousand pairs at a time."""
    begin_results(directory)
    summaries = []
    lengths: dict[str, list[int]] = {"source": [0], "target": [0]}
    with open(directory / "source.ids", "wb") as source_file, open(directory / "target.ids", "wb") as target_file:
        for corpus in corpora:
            encoder = _Encoder(tokenizers, settings)
            pairs = clean_lines(corpus, encoder.report)
            while chunk := list(islice(pairs, CHUNK)):
                for source, target in encoder.encode(chunk):
                    for side, ids, file in (("source", source, source_file), ("target", target, target_file)):
                        lengths[side].append(len(ids))
                        file.write(np.array(ids, np.int32).tobytes())
            summaries.append(encoder.summarize(corpus.name))
    for side, counts in lengths.items():
        np.save(directory / f"{side}.offsets.npy", np.cumsum(counts, dtype=np.int64))
    return summaries


class _Encoder:
    """Encodes the pairs of a corpus, and leaves out those that are too long or whose lengths differ too much."""

    def __init__(self, tokenizers: Tokenizers, settings: Data) -> None:
        self._tokenizers = tokenizers
        self._settings = settings
        self.report = CleaningReport()
        self._lengths: Counter[int] = Counter()  # pairs by the tokens of their longer side
        self._too_long = f"longer than {settings.max_length} tokens"

    def encode(self, lines: Sequence[tuple[int, Pair]]) -> Iterator[tuple[list[int], list[int]]]:
        """Yields the ids of the pairs that are kept. Each pair comes with the number of its line, for the report."""
        tokenizers, settings = self._tokenizers, self._settings
        sources = tokenizers.source.encode([pair.source for _, pair in lines])
        targets = tokenizers.target.encode([pair.target for _, pair in lines])
        for (line, _), source, target in zip(lines, sources, targets, strict=True):
            shorter, longer = sorted((len(source) + 1, len(target) + 1))
            self._lengths[longer] += 1
            if not source or not target:  # the tokenizer ignores all its characters
                self.report.leave_out("empty target" if source else "empty source", line)
            elif longer > settings.max_length:
                self.report.leave_out(self._too_long, line)
            elif longer > settings.max_ratio * shorter:
                self.report.leave_out(f"one side over {settings.max_ratio:g} times as long as the other", line)
            else:
                yield [*source, tokenizers.source.eos_id], [*target, tokenizers.target.eos_id]

    def summarize(self, name: str) -> CorpusSummary:
        report = self.report
        too_long = report.left_out[self._too_long] / max(report.read, 1)
        warning = ""
        if too_long > MANY_TOO_LONG:
            warning = length_warning(name, too_long, self._lengths, self._settings.max_length)
        return CorpusSummary(name, report.read, report.kept, report.summary(), warning)

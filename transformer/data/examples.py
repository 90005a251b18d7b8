"""The ids of a corpus, computed once: memory-mapped files with offsets, used again when nothing changed."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from pathlib import Path

import numpy as np

from transformer.config import Data
from transformer.data import manifest
from transformer.data.corpus import Corpus, Outcome, Pair, Report, clean_lines
from transformer.data.tokenizer import Tokenizers

FORMAT = "2"  # of the files and of the manifest: what has another is made anew
PAIRS_AT_A_TIME = 10_000
MANY_TOO_LONG = 0.05  # share of the pairs above which a warning is due

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sentences:
    """Ids of many sentences, end to end; each is closed by the end of sentence."""

    ids: np.ndarray  # int32, memory-mapped
    offsets: np.ndarray  # int64 [sentences + 1]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def part(self, start: int, end: int) -> "Sentences":
        """The sentences from `start` up to `end`."""
        return Sentences(self.ids, self.offsets[start : end + 1])

    @staticmethod
    def open(directory: Path, side: str) -> "Sentences":
        return Sentences(
            np.memmap(directory / f"{side}.ids", np.int32, mode="r"), np.load(directory / f"{side}.offsets.npy")
        )


@dataclass(frozen=True)
class Examples:
    """Pairs of sentences as ids."""

    source: Sentences
    target: Sentences
    start: int  # id that a decoder is given first
    end: int  # id that closes a source

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
) -> tuple[Examples, list[Outcome]]:
    """The ids of the corpora, from `directory` where they are already, and what became of each corpus.

    Warns where many pairs are too long. Raises DataError where nothing is left of a corpus, or more than
    settings.max_left_out of its pairs are left out.
    """
    described = [
        *(corpus.identity for corpus in corpora),
        hashlib.sha256(tokenizers.source.identity + tokenizers.target.identity).hexdigest(),
        f"{settings.max_length} {settings.max_ratio}",
        FORMAT,
    ]
    digest = hashlib.sha256("\n".join(described).encode()).hexdigest()
    known = manifest.is_made(directory, digest)
    if known is None:
        outcomes = _write(directory, corpora, tokenizers, settings)
        known = manifest.finish(directory, digest, corpora=[outcome._asdict() for outcome in outcomes])
    outcomes = [Outcome(**entry) for entry in known["corpora"]]
    for outcome in outcomes:
        if outcome.warning:
            log.warning("warning: %s", outcome.warning)
        outcome.check(settings.max_left_out)
    examples = Examples(
        source=Sentences.open(directory, "source"),
        target=Sentences.open(directory, "target"),
        start=tokenizers.target.bos_id,
        end=tokenizers.source.eos_id,
    )
    return examples, outcomes


def _write(directory: Path, corpora: Sequence[Corpus], tokenizers: Tokenizers, settings: Data) -> list[Outcome]:
    """Tokenizes the corpora into a fresh `directory`, a few thousand pairs at a time."""
    manifest.begin(directory)
    outcomes = []
    lengths: dict[str, list[int]] = {"source": [0], "target": [0]}
    with open(directory / "source.ids", "wb") as source_file, open(directory / "target.ids", "wb") as target_file:
        for corpus in corpora:
            fitting = _Fitting(tokenizers, settings)
            pairs = clean_lines(corpus, fitting.report)
            while chunk := list(islice(pairs, PAIRS_AT_A_TIME)):
                for source, target in fitting.encode(chunk):
                    for side, ids, file in (("source", source, source_file), ("target", target, target_file)):
                        lengths[side].append(len(ids))
                        file.write(np.array(ids, np.int32).tobytes())
            outcomes.append(fitting.outcome(corpus.name))
    for side, counts in lengths.items():
        np.save(directory / f"{side}.offsets.npy", np.cumsum(counts, dtype=np.int64))
    return outcomes


class _Fitting:
    """Chooses the pairs of a corpus that are neither too long nor of too different lengths, and counts the others."""

    def __init__(self, tokenizers: Tokenizers, settings: Data) -> None:
        self._tokenizers = tokenizers
        self._settings = settings
        self.report = Report()
        self._longer: Counter[int] = Counter()  # pairs by the tokens of their longer side
        self._too_long = f"longer than {settings.max_length} tokens"

    def encode(self, lines: Sequence[tuple[int, Pair]]) -> Iterator[tuple[list[int], list[int]]]:
        """The ids of the pairs that fit; their lines are given for the report."""
        tokenizers, settings = self._tokenizers, self._settings
        sources = tokenizers.source.encode([pair.source for _, pair in lines])
        targets = tokenizers.target.encode([pair.target for _, pair in lines])
        for (line, _), source, target in zip(lines, sources, targets, strict=True):
            shorter, longer = sorted((len(source) + 1, len(target) + 1))
            self._longer[longer] += 1
            if not source or not target:  # of characters that the tokenizer passes over
                self.report.leave_out("empty target" if source else "empty source", line)
            elif longer > settings.max_length:
                self.report.leave_out(self._too_long, line)
            elif longer > settings.max_ratio * shorter:
                self.report.leave_out(f"one side over {settings.max_ratio:g} times as long as the other", line)
            else:
                yield [*source, tokenizers.source.eos_id], [*target, tokenizers.target.eos_id]

    def outcome(self, name: str) -> Outcome:
        report, limit = self.report, self._settings.max_length
        share = report.left_out[self._too_long] / max(report.read, 1)
        warning = ""
        if share > MANY_TOO_LONG:
            most, nearly = (_percentile(self._longer, percent) for percent in (95, 99))
            warning = (
                f"{name}: {share:.1%} of the pairs are longer than data.max_length = {limit} tokens, and are left out;"
                f" 95% have at most {most}, 99% at most {nearly}: set data.max_length = {nearly} to keep those"
            )
        return Outcome(name, report.read, report.kept, report.summary(), warning)


def _percentile(counts: Counter[int], percent: int) -> int:
    """The least length that `percent` % of all do not exceed."""
    lengths = sorted(counts)
    totals = np.cumsum([counts[length] for length in lengths])
    return lengths[int(np.searchsorted(100 * totals, percent * totals[-1]))]

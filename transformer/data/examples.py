"""The ids of a corpus, computed once: memory-mapped files with offsets, used again when nothing changed."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from transformer.config import Data
from transformer.data import manifest
from transformer.data.corpus import Corpus, Pair, Report, clean
from transformer.data.tokenizer import Tokenizers
from transformer.errors import DataError

PAIRS_AT_A_TIME = 10_000


@dataclass(frozen=True)
class Sentences:
    """Ids of many sentences, end to end; each is closed by the end of sentence."""

    ids: np.ndarray  # int32, memory-mapped
    offsets: np.ndarray  # int64 [sentences + 1]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

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

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of source and target, end of sentence included: [pairs, 2]."""
        return np.stack([np.diff(self.source.offsets), np.diff(self.target.offsets)], axis=1)


def prepare_examples(
    directory: Path, corpora: Sequence[Corpus], tokenizers: Tokenizers, settings: Data
) -> tuple[Examples, str]:
    """The ids of the corpora, from `directory` where they are already, and a line that says what was left out."""
    described = [
        *(corpus.digest() for corpus in corpora),
        hashlib.sha256(tokenizers.source.model_bytes + tokenizers.target.model_bytes).hexdigest(),
        f"{settings.max_length} {settings.max_ratio}",
    ]
    digest = hashlib.sha256("\n".join(described).encode()).hexdigest()
    known = manifest.is_made(directory, digest)
    if known is None:
        report = _write(directory, corpora, tokenizers, settings)
        known = manifest.finish(directory, digest, report=report.summary(), pairs=report.kept)
    if not known["pairs"]:
        names = ", ".join(corpus.name for corpus in corpora)
        raise DataError(f"{names}: no pair of sentences is left to use; {known['report']}")
    examples = Examples(
        source=Sentences.open(directory, "source"),
        target=Sentences.open(directory, "target"),
        start=tokenizers.target.bos_id,
        end=tokenizers.source.eos_id,
    )
    return examples, known["report"]


def _write(directory: Path, corpora: Sequence[Corpus], tokenizers: Tokenizers, settings: Data) -> Report:
    """Tokenizes the corpora into a fresh `directory`, a few thousand pairs at a time."""
    manifest.begin(directory)
    report = Report()
    lengths: dict[str, list[int]] = {"source": [0], "target": [0]}
    with open(directory / "source.ids", "wb") as source_file, open(directory / "target.ids", "wb") as target_file:
        for corpus in corpora:
            pairs = iter(clean(corpus, report))
            while chunk := list(islice(pairs, PAIRS_AT_A_TIME)):
                for source, target in _fitting(chunk, tokenizers, settings, report):
                    for side, ids, file in (("source", source, source_file), ("target", target, target_file)):
                        lengths[side].append(len(ids))
                        file.write(np.array(ids, np.int32).tobytes())
    for side, counts in lengths.items():
        np.save(directory / f"{side}.offsets.npy", np.cumsum(counts, dtype=np.int64))
    return report


def _fitting(
    pairs: Sequence[Pair], tokenizers: Tokenizers, settings: Data, report: Report
) -> Iterable[tuple[list[int], list[int]]]:
    """The ids of the pairs that are neither too long nor of too different lengths."""
    sources = tokenizers.source.encode([pair.source for pair in pairs])
    targets = tokenizers.target.encode([pair.target for pair in pairs])
    for source, target in zip(sources, targets, strict=True):
        shorter, longer = sorted((len(source) + 1, len(target) + 1))
        if longer > settings.max_length:
            report.leave_out(f"longer than {settings.max_length} tokens")
        elif longer > settings.max_ratio * shorter:
            report.leave_out(f"one side over {settings.max_ratio:g} times as long as the other")
        else:
            yield [*source, tokenizers.source.eos_id], [*target, tokenizers.target.eos_id]

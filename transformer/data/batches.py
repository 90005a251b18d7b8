"""Batches with few, fixed shapes: length buckets, the plan of an epoch, prefetching.

Each pair is assigned to a bucket by its lengths; pairs that do not fill a batch move to the next larger bucket. The
number of rows of a bucket is constant, and the batch of a step is a function of (seed, step), so that resuming needs
no state of an iterator.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array

from transformer.data.padding import PADDING, pad
from transformer.data.prepare import Examples

Item = TypeVar("Item")
AnyArray = TypeVar("AnyArray", Array, np.ndarray)  # on the devices, or in the memory of the host


class Bucket(NamedTuple):
    """A shape of batches."""

    source: int  # S: positions, end of sentence included
    target: int  # T
    rows: int  # B


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch(Generic[AnyArray]):
    """Pairs of sentences, padded to the shape of their bucket."""

    source: AnyArray  # int32 [B, S], each sentence ends with the end-of-sentence symbol
    target: AnyArray  # int32 [B, T], the input of the decoder: the start symbol first
    labels: AnyArray  # int32 [B, T], what the decoder predicts: the end-of-sentence symbol last

    @property
    def is_token(self) -> Any:
        """bool [B, T]: the positions that count."""
        return self.labels >= 0


def choose_buckets(lengths: np.ndarray, *, count: int, batch_tokens: int, multiple: int) -> list[Bucket]:
    """Returns the at most `count` shapes that need the least padding, for pairs of the given lengths [pairs, 2].

    Both sides of a shape have one length, that of the longer side of its longest pair. The best bounds are found by
    dynamic programming over the histogram of lengths. A batch has at most `batch_tokens` target positions, but at least
    `multiple` rows; the number of rows is a multiple of that, and no larger than the pairs need.
    """
    longer = lengths.max(axis=1)
    sizes, pairs = np.unique(longer, return_counts=True)
    before = np.concatenate([[0], np.cumsum(pairs)])
    # cost[k][i]: positions per side for the pairs of the i smallest sizes in k buckets
    cost = [np.where(np.arange(len(before)) == 0, 0.0, np.inf)]
    choice: list[np.ndarray] = []
    for _ in range(min(count, len(sizes))):
        through = cost[-1][:, None] + (before[None, :] - before[:, None]) * np.concatenate([[0], sizes])[None, :]
        through[np.tril_indices(len(before))] = np.inf
        through[0, 0] = 0
        choice.append(through.argmin(axis=0))
        cost.append(through.min(axis=0))
    buckets, end = [], len(sizes)
    for previous in reversed(choice[: int(np.argmin([c[-1] for c in cost[1:]])) + 1]):
        if end:
            size, start = int(sizes[end - 1]), int(previous[end])
            full, needed = batch_tokens // size // multiple, -(-int(before[end] - before[start]) // multiple)
            buckets.append(Bucket(size, size, max(min(full, needed), 1) * multiple))
            end = start
    return buckets[::-1]


class Batches:
    """The batches of a corpus as a function of the step."""

    def __init__(self, examples: Examples, buckets: Sequence[Bucket], seed: int):
        self.examples, self.buckets, self.seed = examples, buckets, seed
        bucket_of = np.searchsorted([bucket.target for bucket in buckets], examples.lengths.max(axis=1))
        self._members = [np.flatnonzero(bucket_of == index) for index in range(len(buckets))]
        self._epoch: tuple[int, list[tuple[Bucket, np.ndarray]]] = (0, self._plan(0))
        self.per_epoch = len(self._epoch[1])

    def __call__(self, step: int) -> Batch[np.ndarray]:
        """Returns the batch of an update; `step` counts from 0."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch[0]:
            self._epoch = (epoch, self._plan(epoch))
        return self._fill(*self._epoch[1][place])

    def in_order(self) -> Iterator[Batch[np.ndarray]]:
        """Yields every pair once, without shuffling."""
        for bucket, members in zip(self.buckets, self._members, strict=True):
            for start in range(0, len(members), bucket.rows):
                yield self._fill(bucket, members[start : start + bucket.rows])

    def _fill(self, bucket: Bucket, indices: np.ndarray) -> Batch[np.ndarray]:
        """The pairs of the given indices in the shape of the bucket. Missing rows have no labels, so no loss."""
        sources = [self.examples.source[index] for index in indices]
        targets = [self.examples.target[index] for index in indices]
        labels = pad(targets, bucket.rows, bucket.target, missing=PADDING)
        target = np.where(labels == PADDING, PADDING, np.roll(labels, 1, axis=1))  # shifted, without the last symbol
        target[:, 0] = self.examples.start
        return Batch(pad(sources, bucket.rows, bucket.source, missing=self.examples.end), target, labels)

    def padding(self) -> float:
        """Returns the fraction of the positions of an epoch, on both sides, that are padding."""
        positions = sum(bucket.rows * (bucket.source + bucket.target) for bucket, _ in self._epoch[1])
        return 1 - int(self.examples.lengths.sum()) / positions

    def _plan(self, epoch: int) -> list[tuple[Bucket, np.ndarray]]:
        """The batches of an epoch: each pair once, in an order that depends on (seed, epoch).

        Pairs that do not fill a batch move up to the next bucket, which fits them too; only the last batch of the last
        bucket has missing rows.
        """
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        plan, rest = [], np.empty(0, np.int64)
        for bucket, members in zip(self.buckets, self._members, strict=True):
            # Pairs that moved up come first, so that they do not move again.
            pool = np.concatenate([rest, random.permutation(members)])
            full = len(pool) // bucket.rows * bucket.rows
            plan += [(bucket, pool[start : start + bucket.rows]) for start in range(0, full, bucket.rows)]
            rest = pool[full:]
        if len(rest):
            plan.append((self.buckets[-1], rest))
        return [plan[i] for i in random.permutation(len(plan))]


def row_multiple(shards: int, accumulate: int) -> int:
    """Returns the number of which the rows of a batch are a multiple, so that they divide among devices and parts.

    It is a multiple of 8, so that batches are the same if shards x parts divides 8.
    """
    return math.lcm(8, shards * accumulate)


def prefetch(make: Callable[[int], Item], steps: range, depth: int = 2) -> Iterator[Item]:
    """Yields make(step) for each step, in order, computed in a thread up to `depth` steps ahead."""
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(make, step) for step in steps[:depth])
        for step in steps:
            if step + depth < steps.stop:
                ahead.append(pool.submit(make, step + depth))
            yield ahead.popleft().result()

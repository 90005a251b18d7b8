"""Batches with few, fixed shapes: length buckets, the plan of an epoch, prefetching.

Each pair is assigned to a bucket by its lengths; pairs that do not fill a batch move to the next larger bucket. All
batches of a bucket have the same number of rows. The batch of a step is a function of (seed, step), so that no state
of an iterator has to be saved for resuming.
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
AnyArray = TypeVar("AnyArray", Array, np.ndarray)  # on the devices, or in host memory


class Bucket(NamedTuple):
    """The shape of a batch."""

    source: int  # S, end of sentence included
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
        """Returns bool [B, T]: whether the position has a label, rather than padding."""
        return self.labels >= 0


def choose_buckets(lengths: np.ndarray, *, count: int, batch_tokens: int, multiple: int) -> list[Bucket]:
    """Returns at most `count` shapes, those that need the least padding for pairs of the given lengths [pairs, 2].

    The source and the target of a shape have the same length: that of the longest sentence among its pairs. The best
    lengths are found by dynamic programming over the histogram of lengths. The number of rows is a multiple of
    `multiple`, and no larger than the pairs need. A batch has at most `batch_tokens` target positions, unless even
    `multiple` rows have more.
    """
    longer = lengths.max(axis=1)
    sizes, pairs = np.unique(longer, return_counts=True)
    before = np.concatenate([[0], np.cumsum(pairs)])
    # cost[k][i]: the fewest positions per side for the pairs of the i smallest sizes in at most k buckets
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
        """Returns the given pairs as a batch of the bucket. Rows without a pair have no labels, so they add no loss."""
        sources = [self.examples.source[index] for index in indices]
        targets = [self.examples.target[index] for index in indices]
        labels = pad(targets, bucket.rows, bucket.target, missing=PADDING)
        target = np.where(labels == PADDING, PADDING, np.roll(labels, 1, axis=1))  # shifted, without the end
        target[:, 0] = self.examples.start
        return Batch(pad(sources, bucket.rows, bucket.source, missing=self.examples.end), target, labels)

    def padding(self) -> float:
        """Returns the fraction of padding among the source and target positions of an epoch."""
        positions = sum(bucket.rows * (bucket.source + bucket.target) for bucket, _ in self._epoch[1])
        return 1 - int(self.examples.lengths.sum()) / positions

    def _plan(self, epoch: int) -> list[tuple[Bucket, np.ndarray]]:
        """Returns the batches of an epoch: they have each pair once, in an order that depends on (seed, epoch).

        Pairs that do not fill a batch move to the next bucket, whose shape is larger. Only one batch, of the last
        bucket, can have rows without a pair.
        """
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        plan, rest = [], np.empty(0, np.int64)
        for bucket, members in zip(self.buckets, self._members, strict=True):
            # Pairs from smaller buckets come first: if they fill batches here, they do not move again.
            pool = np.concatenate([rest, random.permutation(members)])
            full = len(pool) // bucket.rows * bucket.rows
            plan += [(bucket, pool[start : start + bucket.rows]) for start in range(0, full, bucket.rows)]
            rest = pool[full:]
        if len(rest):
            plan.append((self.buckets[-1], rest))
        return [plan[i] for i in random.permutation(len(plan))]


def row_multiple(shards: int, accumulate: int) -> int:
    """Returns a divisor of the number of rows of every batch, so that devices and parts get equally many rows.

    The number is 8 whenever shards x `accumulate` divides 8, so that the batches are then the same.
    """
    return math.lcm(8, shards * accumulate)


def prefetch(make: Callable[[int], Item], steps: range, depth: int = 2) -> Iterator[Item]:
    """Yields make(step) for each step, in order. A thread computes up to `depth` results ahead."""
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(make, step) for step in steps[:depth])
        for step in steps:
            if step + depth < steps.stop:
                ahead.append(pool.submit(make, step + depth))
            yield ahead.popleft().result()

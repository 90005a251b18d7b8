"""Batches of few, fixed shapes: length buckets, the plan of an epoch, prefetching.

A pair's bucket depends on its own lengths alone, a bucket's number of rows is constant, and the batch of a step is a
function of (seed, step): nothing needs to be remembered to go on after an interruption.
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

from transformer.data.examples import Examples

Item = TypeVar("Item")
Numbers = TypeVar("Numbers", Array, np.ndarray)  # on the devices, or in memory

PADDING = -1  # no token: the models take negative ids so


class Bucket(NamedTuple):
    """A shape of batches."""

    source: int  # S, positions, end of sentence included
    target: int  # T
    rows: int  # B


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch(Generic[Numbers]):
    """Pairs, filled up with PADDING to the shape of their bucket."""

    source: Numbers  # int32 [B, S], each row closed by the end of sentence
    target: Numbers  # int32 [B, T], what the decoder is given: the start symbol first
    labels: Numbers  # int32 [B, T], what it is to say: the end of sentence last

    @property
    def is_token(self) -> Any:
        """bool [B, T]: the positions that count."""
        return self.labels >= 0


def choose_buckets(lengths: np.ndarray, *, count: int, batch_tokens: int, multiple: int) -> list[Bucket]:
    """The at most `count` shapes that fill up the fewest positions, for pairs of the given lengths [pairs, 2].

    Both sides of a shape have one length, that of the longer side of its longest pair. The best bounds are found by
    dynamic programming over the histogram of lengths. `batch_tokens` is target positions a batch; rows come in
    multiples of `multiple`, and are no more than there are pairs to fill them.
    """
    longer = lengths.max(axis=1)
    sizes, pairs = np.unique(longer, return_counts=True)
    before = np.concatenate([[0], np.cumsum(pairs)])
    # cost[k][i]: positions a side for the pairs of the i smallest sizes in k buckets
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
        longer = examples.lengths.max(axis=1)
        bounds = np.array([bucket.target for bucket in buckets])
        bucket_of = np.searchsorted(bounds, longer)
        self._members = [np.flatnonzero(bucket_of == index) for index in range(len(buckets))]
        self.per_epoch = len(self._plan(0))
        self._epoch: tuple[int, list[tuple[Bucket, np.ndarray]]] = (0, self._plan(0))

    def __call__(self, step: int) -> Batch[np.ndarray]:
        """The batch of update `step`, counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch[0]:
            self._epoch = (epoch, self._plan(epoch))
        return self._fill(*self._epoch[1][place])

    def in_order(self) -> Iterator[Batch[np.ndarray]]:
        """Every pair once, without shuffling."""
        for bucket, members in zip(self.buckets, self._members, strict=True):
            for start in range(0, len(members), bucket.rows):
                yield self._fill(bucket, members[start : start + bucket.rows])

    def _fill(self, bucket: Bucket, indices: np.ndarray) -> Batch[np.ndarray]:
        """The pairs of the given indices, in the shape of the bucket; rows that are left over teach nothing."""
        lengths = (bucket.source, bucket.target, bucket.target)
        source, target, labels = (np.full((bucket.rows, length), PADDING, np.int32) for length in lengths)
        source[len(indices) :, 0] = self.examples.end  # no row is empty: attention needs something to look at
        target[:, 0] = self.examples.start
        for row, index in enumerate(indices):
            ids = self.examples.source[index]
            source[row, : len(ids)] = ids
            ids = self.examples.target[index]
            target[row, 1 : len(ids)] = ids[:-1]
            labels[row, : len(ids)] = ids
        return Batch(source, target, labels)

    def padding(self) -> float:
        """Share of the positions of an epoch, source and target, on which no token stands."""
        positions = sum(bucket.rows * (bucket.source + bucket.target) for bucket, _ in self._epoch[1])
        return 1 - int(self.examples.lengths.sum()) / positions

    def _plan(self, epoch: int) -> list[tuple[Bucket, np.ndarray]]:
        """The batches of an epoch: each pair once, in an order of (seed, epoch).

        What does not fill a batch moves up to the next bucket, where it fits too; only the last batch of the last
        bucket is filled up with empty rows.
        """
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        plan, rest = [], np.empty(0, np.int64)
        for bucket, members in zip(self.buckets, self._members, strict=True):
            # What moved up comes first, so that it does not move on.
            pool = np.concatenate([rest, random.permutation(members)])
            full = len(pool) // bucket.rows * bucket.rows
            plan += [(bucket, pool[start : start + bucket.rows]) for start in range(0, full, bucket.rows)]
            rest = pool[full:]
        if len(rest):
            plan.append((self.buckets[-1], rest))
        return [plan[i] for i in random.permutation(len(plan))]


def row_multiple(shards: int, accumulate: int) -> int:
    """Rows that divide among devices and parts; 8 at least, so that a batch is the same on 1, 2, 4 and 8 devices."""
    return math.lcm(8, shards * accumulate)


def prefetch(make: Callable[[int], Item], steps: range, depth: int = 2) -> Iterator[Item]:
    """make(step) for each step, in order, computed up to `depth` steps ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(make, step) for step in steps[:depth])
        for step in steps:
            if step + depth < steps.stop:
                ahead.append(pool.submit(make, step + depth))
            yield ahead.popleft().result()

"""Batches: every pair once an epoch, few shapes, everything a function of seed and step."""

import threading
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest

from transformer.data.batches import Batch, Batches, Bucket, choose_buckets, prefetch, row_multiple
from transformer.data.padding import PADDING
from transformer.data.prepare import Examples, Sentences

START, END = 1, 2
FIRST = 10  # the id of the first pair's tokens; each pair has an id of its own
PAIRS = 211


def sentences(lengths: np.ndarray) -> Sentences:
    rows = [[FIRST + i] * (length - 1) + [END] for i, length in enumerate(lengths)]
    return Sentences(np.concatenate(rows).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))


def examples() -> Examples:
    lengths = np.random.default_rng(1).integers(2, 20, (PAIRS, 2))
    return Examples(sentences(lengths[:, 0]), sentences(lengths[:, 1]), start=START, end=END)


EXAMPLES = examples()
BUCKETS = choose_buckets(EXAMPLES.lengths, count=4, batch_tokens=160, multiple=2)


def batches(seed: int = 1) -> Batches:
    return Batches(EXAMPLES, BUCKETS, seed)


def epoch(made: Batches, number: int) -> list[Batch]:
    return [made(step) for step in range(number * made.per_epoch, (number + 1) * made.per_epoch)]


def without_padding(row: np.ndarray) -> list[int]:
    length = int((row >= 0).sum())
    assert np.all(row[length:] == PADDING)
    return row[:length].tolist()


def pairs(found: Iterable[Batch]) -> list[int]:
    """The pairs that the batches hold, each row checked from its first to its last id."""
    held = []
    for batch in found:
        for source, target, labels in zip(batch.source, batch.target, batch.labels, strict=True):
            if labels[0] == PADDING:  # a row that is left over
                assert (without_padding(source), without_padding(target)) == ([END], [START])
                assert np.all(labels == PADDING)
                continue
            pair = int(source[0]) - FIRST
            assert without_padding(source) == EXAMPLES.source[pair].tolist()
            assert without_padding(labels) == EXAMPLES.target[pair].tolist()
            assert without_padding(target) == [START, *EXAMPLES.target[pair][:-1]]
            held.append(pair)
    return held


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, side), getattr(other, side)) for side in ("source", "target", "labels"))


def test_every_pair_once_an_epoch() -> None:
    made = batches()
    orders = [pairs(epoch(made, number)) for number in range(3)]
    for order in [*orders, pairs(made.in_order())]:
        assert sorted(order) == list(range(PAIRS))
    assert orders[0] != orders[1] != orders[2]
    assert sum(np.all(batch.labels == PADDING) for batch in made.in_order()) == 0


def test_shapes_are_those_of_the_buckets() -> None:
    made = batches()
    found = epoch(made, 0)
    shapes = [Bucket(batch.source.shape[1], batch.target.shape[1], len(batch.source)) for batch in found]
    assert set(shapes) == set(BUCKETS)
    assert all(batch.target.shape == batch.labels.shape for batch in found)
    for batch in found:
        assert batch.source.dtype == batch.target.dtype == batch.labels.dtype == np.int32
    assert sum(np.any(batch.labels[:, 0] == PADDING) for batch in found) <= 1
    in_order = [np.argmax([bucket.target == batch.target.shape[1] for bucket in BUCKETS]) for batch in made.in_order()]
    assert in_order == sorted(in_order)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    made = batches()
    expected = [made(step) for step in range(3 * made.per_epoch)]
    other = batches()
    for step in np.random.default_rng(2).permutation(len(expected)):
        assert same(other(int(step)), expected[step])
    assert not all(same(batches(seed=2)(step), expected[step]) for step in range(made.per_epoch))


def test_labels_are_the_tokens_that_count() -> None:
    for batch in epoch(batches(), 0):
        np.testing.assert_array_equal(batch.is_token, batch.labels != PADDING)


def test_padding_is_the_share_without_tokens() -> None:
    made = batches()
    found = epoch(made, 0)
    positions = sum(batch.source.size + batch.target.size for batch in found)
    tokens = sum((batch.source[batch.labels[:, 0] >= 0] >= 0).sum() + (batch.labels >= 0).sum() for batch in found)
    assert made.padding() == pytest.approx(1 - tokens / positions)
    assert 0 < made.padding() < 1


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_buckets_fill_up_as_little_as_any(count: int) -> None:
    for seed in range(13):
        random = np.random.default_rng(seed)
        lengths = random.integers(1, 11, (random.integers(1, 23), 2))
        longer = lengths.max(axis=1)
        sizes = sorted(set(longer.tolist()))

        def positions(bounds: Iterable[int], longer: np.ndarray = longer) -> int:
            return sum(min(bound for bound in bounds if bound >= length) for length in longer)

        inner = [chosen for few in range(count) for chosen in combinations(sizes[:-1], few)]
        found = choose_buckets(lengths, count=count, batch_tokens=100, multiple=3)
        bounds = [bucket.target for bucket in found]
        assert bounds == sorted(set(bounds)) == [bucket.source for bucket in found]
        assert len(bounds) <= count
        assert positions(bounds) == min(positions([*chosen, sizes[-1]]) for chosen in inner)


def test_rows_come_in_multiples() -> None:
    lengths = np.repeat([[3, 7], [40, 50], [200, 11]], 200, axis=0)
    found = choose_buckets(lengths, count=3, batch_tokens=1000, multiple=6)
    assert found == [Bucket(7, 7, 138), Bucket(50, 50, 18), Bucket(200, 200, 6)]


def test_a_small_corpus_has_no_empty_rows_but_for_the_multiple() -> None:
    """A hundred sentences under the default of 25,000 positions: most of each batch would be nothing."""
    lengths = np.repeat([[7, 7], [50, 50]], [10, 90], axis=0)
    found = choose_buckets(lengths, count=2, batch_tokens=25_000, multiple=4)
    assert found == [Bucket(7, 7, 12), Bucket(50, 50, 92)]


@pytest.mark.parametrize(
    ("shards", "accumulate", "expected"), [(1, 1, 8), (2, 2, 8), (3, 1, 24), (4, 4, 16), (16, 1, 16)]
)
def test_rows_divide_among_devices_and_parts(shards: int, accumulate: int, expected: int) -> None:
    assert row_multiple(shards, accumulate) == expected


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_prefetch_gives_all_in_order_and_runs_ahead_a_little(depth: int) -> None:
    made, threads = [], set()

    def make(step: int) -> int:
        made.append(step)
        threads.add(threading.get_ident())
        return step * step

    for number, item in enumerate(prefetch(make, range(3, 20), depth), 3):
        assert item == number * number
        assert len(made) <= number - 3 + 1 + depth
    assert made == list(range(3, 20))
    assert threading.get_ident() not in threads
    assert list(prefetch(make, range(3, 3), depth)) == []


def test_prefetch_hands_on_an_error_at_its_step() -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("broken")
        return step

    items = prefetch(make, range(7))
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(items)

"""Shifted sides are found, with their place, whatever betrays them; where no shift fits better there is no alarm."""

import random
import weakref
from collections.abc import Callable, Iterator

import pytest

from transformer.data.checks import alignment
from transformer.data.checks.alignment import BLOCK, FARTHEST, SHIFTS, Shift, find_shifts
from transformer.data.clauses import clauses

Pairs = list[tuple[str, str]]
CLAUSES: Pairs = [(source, target) for source, target in clauses("train", 3000)]


def sample(seed: int, count: int = 1000) -> Pairs:
    return random.Random(seed).sample(CLAUSES, count)


def shifted(pairs: Pairs, by: int, before: int, count: int, filler: str = "") -> Pairs:
    """Pairs of which one side has lost |by| lines after `before`, and got as many others `count` lines later."""
    sides = [list(side) for side in zip(*pairs, strict=True)]
    side, lost = sides[0 if by > 0 else 1], abs(by)
    side[before : before + lost + count] = side[before + lost : before + lost + count] + [filler] * lost
    return list(zip(*sides, strict=True))


def is_near(found: Shift, by: int, first: int, last: int) -> bool:
    return found.by == by and max(abs(found.first - first), abs(found.last - last)) <= BLOCK + FARTHEST


@pytest.mark.parametrize("by", SHIFTS)
def test_a_fifth_of_a_small_corpus_shifted_is_found_in_its_place(by: int) -> None:
    for seed in range(20):
        before = random.Random(seed).randrange(790)
        found = find_shifts(shifted(sample(seed), by, before, 200, "A line of their own."))
        assert len(found) == 1
        assert is_near(found[0], by, before + 1, before + 200)
        assert found[0].agreement < 0.5 < 0.6 < found[0].shifted


def test_a_clean_corpus_gives_no_alarm() -> None:
    assert not [seed for seed in range(100) if find_shifts(sample(seed))]
    assert not find_shifts(CLAUSES)


def test_where_nothing_agrees_with_anything_there_is_no_alarm() -> None:
    for seed in range(100):
        pairs = sample(seed)
        targets = random.Random(seed).sample([target for _, target in pairs], len(pairs))
        assert not find_shifts([(source, target) for (source, _), target in zip(pairs, targets, strict=True)])


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        CLAUSES[:1],
        CLAUSES[:7],
        [("", "")] * 1000,
        [("The same.", "Dasselbe?")] * 1000,
        sorted(CLAUSES, key=lambda pair: len(pair[0])),
        [(source, "leer") for source, _ in CLAUSES],
        [pair for pair in CLAUSES[:500] for _ in range(2)],
    ],
    ids=["empty", "one", "seven", "blank", "all the same", "sorted", "one side", "each twice"],
)
def test_what_is_odd_but_not_shifted_gives_no_alarm(pairs: Pairs) -> None:
    assert find_shifts(pairs) == []


FEATURES: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "lengths": lambda random: (lambda n: ("a" * n, "b" * (2 * n + random.randrange(5))))(random.randrange(5, 90)),
    "numbers": lambda random: (lambda n: (f"year {n:04}", f"{n:04} Jahre"))(random.randrange(3000)),
    "ends": lambda random: (lambda n: ("a b" + ".?!"[n], "c" + "。？！"[n]))(random.randrange(3)),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_tells_it_alone(feature: str) -> None:
    chance = random.Random(7)
    pairs = [FEATURES[feature](chance) for _ in range(1000)]
    assert not find_shifts(pairs)
    (found,) = find_shifts(shifted(pairs, -1, 310, 200))
    assert is_near(found, -1, 311, 510)
    assert found.shifted > 0.6 > 0.5 > found.agreement


def test_of_shifts_that_fit_better_than_none_the_best_is_told() -> None:
    wave = [10 + 10 * abs(line % 20 - 10) for line in range(1000)]  # so neighbours are alike
    pairs = [("a" * length, "b" * length) for length in wave]
    (found,) = find_shifts(shifted(pairs, 3, 400, 200))
    assert is_near(found, 3, 401, 600)


def test_several_places_are_told_in_order_and_the_last_may_reach_the_end() -> None:
    pairs = shifted(shifted(sample(1, 2000), 3, 1500, 497), -2, 200, 400)
    one, other = find_shifts(pairs)
    assert is_near(one, -2, 201, 600)
    assert is_near(other, 3, 1501, 1997)


def test_the_other_direction_is_shifted_the_other_way() -> None:
    pairs = shifted(sample(2), 2, 300, 400)
    (found,) = find_shifts((target, source) for source, target in pairs)
    assert is_near(found, -2, 301, 700)


@pytest.mark.parametrize("lines", [1, 3, 500, 997])
def test_it_does_not_matter_where_the_reading_pauses(monkeypatch: pytest.MonkeyPatch, lines: int) -> None:
    monkeypatch.setattr(alignment, "LINES_AT_A_TIME", lines)
    pairs = sample(3)
    assert not find_shifts(pairs)
    (found,) = find_shifts(shifted(pairs, 5, 400, 200))
    assert is_near(found, 5, 401, 600)


def test_no_text_is_held() -> None:
    class Text(str):
        """One that can be counted."""

    alive: weakref.WeakSet[Text] = weakref.WeakSet()

    def pairs() -> Iterator[tuple[str, str]]:
        for number, (source, target) in enumerate(CLAUSES):
            source, target = Text(f"{source}{number}"), Text(f"{target}{number}")
            alive.update((source, target))
            assert len(alive) <= 6
            yield source, target

    assert not find_shifts(pairs())


def test_a_shift_tells_what_a_person_needs() -> None:
    assert str(Shift(4001, 9000, 1, 0.114, 0.636, 50.0)) == (
        "lines 4,001-9,000 look shifted by +1 (agreement 0.11, 0.64 when shifted)"
    )

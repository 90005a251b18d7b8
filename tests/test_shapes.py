"""Shapes for translating and scoring: of a row's own length alone, each row once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transformer.data.padding import PADDING, pad
from transformer.translation.shapes import LENGTHS, group, padded_length

TOKENS = st.lists(st.integers(1, 3000), max_size=60)
BUDGET = st.integers(1, 5000)


def shapes(tokens: list[int], batch_tokens: int) -> dict[int, tuple[int, int]]:
    """The shape in which each index comes; each comes once."""
    found: dict[int, tuple[int, int]] = {}
    for length, rows, indices in group(tokens, batch_tokens):
        assert 0 < len(indices) <= rows
        assert not found.keys() & set(indices)
        found.update(dict.fromkeys(indices, (length, rows)))
    return found


@given(TOKENS, BUDGET)
def test_each_row_comes_once_and_fits(tokens: list[int], batch_tokens: int) -> None:
    found = shapes(tokens, batch_tokens)
    assert sorted(found) == list(range(len(tokens)))
    for index, (length, rows) in found.items():
        assert tokens[index] <= length
        assert rows == 1 or length * rows <= batch_tokens


@given(TOKENS, TOKENS, st.integers(1, 3000), BUDGET)
def test_a_rows_shape_does_not_depend_on_the_others(
    before: list[int], after: list[int], own: int, batch_tokens: int
) -> None:
    assert shapes([*before, own, *after], batch_tokens)[len(before)] == shapes([own], batch_tokens)[0]


@given(TOKENS, BUDGET)
def test_rows_of_a_length_keep_their_order(tokens: list[int], batch_tokens: int) -> None:
    order = [index for _, _, indices in group(tokens, batch_tokens) for index in indices]
    assert order == sorted(range(len(tokens)), key=lambda index: padded_length(tokens[index]))


@given(st.integers(1, 100_000))
def test_lengths_are_few_and_never_too_short(tokens: int) -> None:
    length = padded_length(tokens)
    assert tokens <= length < max(8, 2 * tokens) + 1
    assert length in LENGTHS or length & (length - 1) == 0


def test_rows_are_filled_up_and_missing_rows_hold_one_token() -> None:
    P = PADDING
    np.testing.assert_array_equal(pad([[4, 5, 6], [7]], 3, 4, 9), [[4, 5, 6, P], [7, P, P, P], [9, P, P, P]])

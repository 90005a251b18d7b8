"""Long lines in parts: none too long, nothing lost, cut at the best place there is."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.data.lines import is_blank
from transformer.data.tokenizer import Tokenizers
from transformer.translation.segments import split_line

CHARACTERS = st.sampled_from([*"ab .,;!?\"'–、。", " ", " ", "ö", "😀", "\u3000", "\n"])


def by_character(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer of which nothing is lost: a character, a token; white space around is none."""
    return [[ord(character) for character in text.strip()] for text in texts]


def parts(text: str, most: int) -> list[str]:
    """The parts as texts."""
    return ["".join(map(chr, ids)) for ids in split_line(text, by_character, most)]


def without_space(text: str) -> str:
    return "".join(text.split())


@given(st.text(CHARACTERS, max_size=80), st.integers(1, 20))
def test_no_part_is_too_long_or_empty_and_all_characters_stay_in_order(text: str, most: int) -> None:
    found = parts(text, most)
    assert all(1 <= len(part) <= most for part in found)
    assert without_space("".join(found)) == without_space(text)


@given(st.text(CHARACTERS, max_size=80), st.integers(1, 20))
def test_two_neighbouring_sentences_are_apart_only_if_they_do_not_fit(text: str, most: int) -> None:
    if len(text.strip()) <= most:
        assert parts(text, most) == [text.strip()] * bool(text.strip())


def test_cuts_stand_at_sentences_then_clauses_then_words() -> None:
    assert parts("One two, three. Four five six.", 16) == ["One two, three.", "Four five six."]
    assert parts("One two three four, five six seven", 20) == ["One two three four,", "five six seven"]
    assert parts("One two three four five six", 14) == ["One two three", "four five six"]
    assert parts('He said: "No." Then he left me.', 18) == ['He said: "No."', "Then he left me."]
    assert parts("これは本です、はい。それは", 7) == ["これは本です、", "はい。それは"]


def test_neighbours_are_together_as_far_as_they_fit() -> None:
    assert parts("A b. C d. E f. G h.", 9) == ["A b. C d.", "E f. G h."]


def test_a_huge_word_is_cut_anywhere() -> None:
    assert parts("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert parts("ab. " + "x" * 12 + " cd.", 10)[0] == "ab."


@pytest.mark.parametrize("sign", ["\u2060", "\u00ad", "\U000e0020", "\ufffd", "\u200b\x01"])
@pytest.mark.parametrize("gap", ["", " ", ", "])
def test_no_part_says_nothing(sign: str, gap: str) -> None:
    """The fault X02 holds for the parts of a line: a model that is asked for the meaning of nothing makes it up."""
    blank = sign * 50
    found = parts(f"{blank}{gap}One two.{gap}{blank} Three four.{gap}{blank}", 9)
    assert not any(map(is_blank, found))
    assert [letter for letter in "".join(found) if letter.isalpha()] == [*"OnetwoThreefour"]
    assert len(parts(f"{blank}One{blank}", 9)) == 1
    assert parts(blank, 9) == []


@pytest.mark.parametrize("most", [1, 2, 7, 23])
def test_real_pieces_carry_the_whole_text(tokenizers: Tokenizers, most: int) -> None:
    text = "The dog sleeps. A woman, who reads, saw it; 😀 wow! " + "Donaudampfschiff" * 5 + " ßü\u4e2d."
    found = split_line(text, tokenizers.source.encode, most)
    assert all(len(ids) <= most for ids in found)
    assert without_space(tokenizers.source.decode([id for ids in found for id in ids])) == without_space(text)

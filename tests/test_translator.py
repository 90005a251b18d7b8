"""Sentences in, sentences out: N for N, and what a line becomes is its own affair."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.config import Decode, Sampling
from transformer.data.clauses import clauses
from transformer.decoding.sampling import segment_keys
from transformer.errors import UsageError
from transformer.translation import translator as module
from transformer.translation import windows
from transformer.translation.model_config import max_target_length
from transformer.translation.translator import Translation, Translator

LINES = [english for english, _ in clauses("test", 80) if len(english) < 36][
    :24
]  # of few lengths: few shapes to compile
LONG = "The dog sleeps. The man who reads the long book sees a cat, a dog and an apple. " * 2
LINE = st.one_of(st.sampled_from([*LINES[:6], LONG, "", "  ", "\u2028"]), st.text(max_size=12))


def translate(translator: Translator, *lines: str, **options: object) -> list[Translation]:
    return list(translator.translate(lines, **options))


@pytest.mark.optimized
@settings(deadline=None, max_examples=40)
@given(lines=st.lists(LINE, max_size=8), window=st.integers(1, 9))
def test_a_line_gets_the_same_bits_alone_and_among_others(
    translator: Translator, lines: list[str], window: int
) -> None:
    """The same text, score and flags, in any place, beside any lines, in any window."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LINES", window)
        together = translate(translator, *lines)
    assert [found.source for found in together] == lines
    assert together == [translate(translator, line)[0] for line in lines]


@pytest.mark.optimized
def test_repeated_lines_in_full_batches_get_the_same_bits(translator: Translator) -> None:
    once = translate(translator, *LINES)
    assert translate(translator, *LINES[::-1], *LINES) == once[::-1] + once
    assert len({found.text for found in once}) > 5


@pytest.mark.parametrize("line", ["", " ", "\t \u3000", "\u2028"])
def test_a_blank_line_stays_blank_and_the_model_is_not_asked(
    translator: Translator, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_translate_batch", None)
    (found,) = translate(translator, line, n_best=2)
    assert (found.text, found.score, found.flags, len(found.hypotheses)) == ("", 0.0, ("empty",), 2)


def test_a_beam_of_one_is_greedy(translator: Translator) -> None:
    """Greedy is sampling at a temperature of next to nothing."""
    greedy = translate(translator, *LINES, beam_size=1)
    assert greedy == translate(translator, *LINES, beam_size=1, sampling=Sampling(temperature=1e-6))
    assert greedy != translate(translator, *LINES, beam_size=3)


def test_a_beam_finds_what_is_at_least_as_good_by_its_first_score(translator: Translator) -> None:
    """Not line by line: a beam may lose the greedy path. But a wider one is better on the whole."""
    scores = [sum(found.score for found in translate(translator, *LINES, beam_size=K)) for K in (1, 3, 6)]
    assert scores == sorted(scores)


def test_n_best_are_sorted_and_distinct_and_begin_with_the_best(translator: Translator) -> None:
    best = translate(translator, *LINES, beam_size=4)
    for found, alone in zip(translate(translator, *LINES, beam_size=4, n_best=4), best, strict=True):
        scores = [hypothesis.score for hypothesis in found.hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({hypothesis.tokens for hypothesis in found.hypotheses}) == 4
        assert found.score == pytest.approx(alone.score, rel=1e-5)


def test_a_beam_finds_no_more_hypotheses_than_it_keeps(translator: Translator) -> None:
    with pytest.raises(UsageError, match=r"n_best = 4: a beam of 3 .* raise the beam size"):
        translator.translate(LINES, n_best=4)  # before the first line is asked for


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"beam_size": 0}, "beam_size = 0: .* greater than or equal to 1"),
        ({"beam_size": 1025}, "beam_size = 1025: .* less than or equal to 1024"),
        ({"beam_size": 2.5}, "beam_size = 2.5: .* integer"),
        ({"length_penalty": float("nan")}, "length_penalty = nan: .*finite"),
        ({"length_penalty": float("inf")}, "length_penalty = inf: .*finite"),
        ({"length_penalty": -0.1}, "length_penalty = -0.1: .* greater than or equal to 0"),
        ({"length_penalty": 11}, "length_penalty = 11: .* less than or equal to 10"),
        ({"batch_tokens": 0}, "batch_tokens = 0: .* greater than or equal to 1"),
        ({"batch_tokens": -5}, "batch_tokens = -5: .* greater than or equal to 1"),
        ({"n_best": 0}, "n_best = 0: .* greater than or equal to 1"),
        ({"n_best": -1, "sampling": Sampling()}, "n_best = -1: .* greater than or equal to 1"),
        ({"n_best": True}, "n_best = True: "),
        ({"long": "bogus"}, "long = 'bogus': .*'split', 'skip' or 'fail'"),
    ],
)
def test_what_no_search_can_do_is_refused_at_once(translator: Translator, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError) as problem:
        translator.translate(LINES, **options)  # before the first line is asked for
    assert re.match(fault, str(problem.value)) and "\n" not in str(problem.value)


@pytest.mark.parametrize("lines", ["A dog", b"A dog", None, 5])
def test_lines_are_no_single_text(translator: Translator, lines: Any) -> None:
    with pytest.raises(UsageError, match=r"^lines = .*: must be several texts, as in \[text\]$"):
        translator.translate(lines)


@pytest.mark.parametrize("line", [b"A dog", 5, ["A dog"]])
def test_a_line_that_is_no_text_is_named(translator: Translator, line: Any) -> None:
    with pytest.raises(UsageError, match=rf"^line 13 = {re.escape(repr(line))}: must be a text"):
        list(translator.translate(["", "", line], first_line=10))


def test_scores_are_log_probabilities_over_lengths(translator: Translator) -> None:
    for penalty in (0.0, 0.6, 1.0):
        for found in translate(translator, *LINES[:5], LONG, length_penalty=penalty, n_best=2):
            for hypothesis in found.hypotheses:
                expected = hypothesis.log_probability / len(hypothesis.tokens) ** penalty
                assert hypothesis.score == pytest.approx(expected, rel=1e-5)
                assert hypothesis.log_probability < 0


def test_each_hypothesis_ends_and_has_no_other_control_symbol(translator: Translator) -> None:
    for found in translate(translator, *LINES, n_best=3):
        for hypothesis in found.hypotheses:
            assert hypothesis.tokens[-1] == "</s>"
            assert not {"</s>", "<s>", "<pad>", "<unk>"} & set(hypothesis.tokens[:-1])


def test_a_line_too_long_is_done_in_parts(translator: Translator) -> None:
    sentences = ["The man who reads the long book sees a cat.", "An apple falls and the dog sleeps and sleeps."]
    (whole,) = translate(translator, " ".join(sentences), n_best=2)
    parts = translate(translator, *sentences, n_best=2)
    assert "split" in whole.flags and not any("split" in part.flags for part in parts)
    assert whole.hypotheses[0].tokens == parts[0].hypotheses[0].tokens + parts[1].hypotheses[0].tokens
    assert whole.text == f"{parts[0].text} {parts[1].text}".strip()
    assert whole.hypotheses[0].log_probability == pytest.approx(sum(x.hypotheses[0].log_probability for x in parts))


def test_the_limit_is_kept_and_told(translator: Translator) -> None:
    told = 0
    long = translate(translator, *LINES[:4], length_penalty=1.0)
    short = translate(translator, *LINES[:4], length_penalty=0.0, beam_size=300)  # so wide that it sees the end at once
    for found in long + short:
        tokens = len(translator.tokenizers.source.encode([found.source])[0]) + 1
        most = max_target_length(tokens, translator.config.decode, translator.config.model)
        assert len(found.hypotheses[0].tokens) <= most
        assert ("limit" in found.flags) == (len(found.hypotheses[0].tokens) == most)
        told += "limit" in found.flags
    assert 0 < told < 8


def test_the_limit_is_told_of_the_best_sample(translator: Translator) -> None:
    for found in translate(translator, *LINES, sampling=Sampling(), n_best=4):
        tokens = len(translator.tokenizers.source.encode([found.source])[0]) + 1
        most = max_target_length(tokens, translator.config.decode, translator.config.model)
        assert ("limit" in found.flags) == (len(found.hypotheses[0].tokens) == most)


def test_the_limit_leaves_room_for_a_token_and_stays_in_the_models_reach(translator: Translator) -> None:
    model = translator.config.model
    none = Decode(max_ratio=0.01, max_extra=0)
    assert max_target_length(5, none, model) == 2
    assert max_target_length(500, Decode(max_ratio=2, max_extra=20), model) == 1020
    learned = model.model_copy(update={"positions": "learned", "max_positions": 30})
    assert max_target_length(500, Decode(max_ratio=2, max_extra=20), learned) == 30
    card = translator.config.model_copy(update={"decode": none})
    for found in translate(Translator(translator.model, translator.tokenizers, card), *LINES, beam_size=3, n_best=3):
        assert all(hypothesis.score > -1e9 and len(hypothesis.tokens) <= 2 for hypothesis in found.hypotheses)


@pytest.mark.parametrize("max_length", [530, 1100])
def test_a_line_is_split_beyond_the_limit_of_the_model_and_not_before(translator: Translator, max_length: int) -> None:
    config = translator.config.model_copy(update={"max_length": max_length})
    short = Decode(beam_size=1, max_ratio=0.001, max_extra=2)
    a_word = translator.tokenizers.source.encode(["dog"])[0]
    words = (max_length - 1) // len(a_word)  # one token is for the end symbol
    lines = [" ".join(["dog"] * count) for count in (words, words + 1)]
    found = translate(Translator(translator.model, translator.tokenizers, config), *lines, decode=short)
    assert ["split" in one.flags for one in found] == [False, True]


def test_samples_follow_seed_and_line_and_nothing_else(translator: Translator) -> None:
    sampling = Sampling(seed=5)
    drawn = translate(translator, *LINES, sampling=sampling, n_best=2)
    assert drawn == translate(translator, *LINES, sampling=sampling, n_best=2)
    assert drawn[10:] == translate(translator, *LINES[10:], sampling=sampling, n_best=2, first_line=10)
    assert drawn[7] == translate(translator, *["x"] * 7, LINES[7], "y", sampling=sampling, n_best=2)[7]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LINES", 4)
        assert drawn == translate(translator, *LINES, sampling=sampling, n_best=2)
    assert drawn != translate(translator, *LINES, sampling=Sampling(seed=6), n_best=2)
    same = translate(translator, *[LINES[0]] * 8, sampling=sampling)
    assert len({found.text for found in same}) > 4


def test_equal_parts_of_a_line_are_drawn_apart(translator: Translator) -> None:
    """The first as a line of its own: what one part gives is what it gave before there were others."""
    (whole,) = translate(translator, "The dog sleeps. " * 40, sampling=Sampling())
    assert "split" in whole.flags
    ends = [place + 1 for place, piece in enumerate(whole.hypotheses[0].tokens) if piece == "</s>"]
    drawn = [whole.hypotheses[0].tokens[start:end] for start, end in pairwise([0, *ends])]
    assert len(set(drawn)) > len(drawn) / 2 > 1


def test_a_line_of_one_part_is_drawn_by_the_key_of_its_number() -> None:
    keys = segment_keys(jnp.int32(5), jnp.full(2, 3), jnp.arange(2))
    assert keys[0] == jax.random.fold_in(jax.random.key(5), 3) != keys[1]


def test_the_model_is_not_asked_about_parts_that_say_nothing(translator: Translator) -> None:
    """Of a line that is too long; X02 holds for whole lines."""
    sentences = "The man who reads the long book sees a cat. " * 30
    for sign in ("\u2060", "\u00ad", "\U000e0020", "\ufffd"):
        (found,), (clean,) = translate(translator, sentences + sign * 600), translate(translator, sentences)
        assert "split" in found.flags
        assert found.hypotheses[0].tokens.count("</s>") == clean.hypotheses[0].tokens.count("</s>")
        assert found.text == clean.text


def test_samples_are_shown_best_first(translator: Translator) -> None:
    for found in translate(translator, *LINES, sampling=Sampling(), n_best=5):
        assert all(one.score >= other.score for one, other in pairwise(found.hypotheses))


def test_lines_are_taken_as_they_come(translator: Translator) -> None:
    """A window is translated before the next is read."""
    read = []

    def lines() -> Iterator[str]:
        for line in LINES[:5]:
            read.append(line)
            yield line

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LINES", 2)
        next(translator.translate(lines()))
    assert len(read) == 2


@pytest.mark.parametrize("beam_size", [1, 3])
def test_jax_in_64_bits_translates_the_same(translator: Translator, beam_size: int) -> None:
    """JAX_ENABLE_X64, without mixed integers, of which JAX warns."""
    lines = ["Does she carry", "A dog"]
    expected = list(translator.translate(lines, beam_size=beam_size))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = list(translator.translate(lines, beam_size=beam_size))
    assert [one.text for one in found] == [one.text for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)

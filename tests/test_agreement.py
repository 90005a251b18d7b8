"""What is said about two programs with one model: it is counted right, and over what can be compared."""

from collections.abc import Sequence

import numpy as np
import pytest

from random_models import random_translator
from transformer.data.corpus import Pair
from transformer.data.tokenizer import Tokenizers
from transformer.interop.agreement import Agreement, agreement
from transformer.translation.model_config import max_target_length
from transformer.translation.scoring import score
from transformer.translation.translator import Translator

LINES = ["Does she carry", "Do you arrive", "His shirt is", "Who calls your"]


class Itself:
    """The other program is ours; `error` is added to its last score, and its first translation may differ."""

    name = "Itself"

    def __init__(self, translator: Translator, lines: Sequence[str], error: float = 0.0, *, differs: bool = False):
        tokenizer = translator.tokenizers.source
        self.translator, self.error, self.differs = translator, error, differs
        self.lines = {(*tokenizer.encode([line])[0], tokenizer.eos_id): line for line in lines}
        self.asked: list[list[str]] = []
        self.most = 0
        self.encode = tokenizer.encode

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int, most: int) -> list[list[str]]:
        self.asked.append([self.lines[tuple(ids)] for ids in sources])
        self.most = most
        found = self.translator.translate(self.asked[-1], beam_size=beam_size)
        pieces = [list(one.hypotheses[0].tokens[:-1]) for one in found]
        return [["<s>"], *pieces[1:]] if self.differs else pieces

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        self.asked.append([self.lines[tuple(ids)] for ids in sources])
        found = score(self.translator, self.pairs(targets))
        assert [one.tokens[:-1] for one in found] == [tuple(pieces) for pieces in targets]
        values = [list(one.token_log_probabilities) for one in found]
        values[-1][-1] += self.error
        return values

    def pairs(self, targets: Sequence[Sequence[str]]) -> list[Pair]:
        tokenizer = self.translator.tokenizers.target
        ids = {piece: index for index, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))}
        texts = [tokenizer.decode(ids[piece] for piece in pieces) for pieces in targets]
        return [Pair(*both) for both in zip(self.asked[-1], texts, strict=True)]


@pytest.fixture(scope="module")
def ours(tokenizers: Tokenizers) -> Translator:
    return random_translator(tokenizers, end=4)


def test_what_is_the_same_is_found_so(ours: Translator) -> None:
    peer = Itself(ours, LINES)
    found = agreement(ours, peer, LINES)
    assert found.sentences == len(LINES) and found.equal == {1: len(LINES), 4: len(LINES)}
    assert found.tokens >= len(LINES) and found.difference == 0 and not found.fault(exact=True)
    longest = max(map(len, peer.lines))
    assert peer.most == max_target_length(longest, ours.config.decode, ours.config.model)


@pytest.mark.parametrize("error", [0.001, -0.5, float("nan")])
def test_what_differs_is_counted(ours: Translator, error: float) -> None:
    found = agreement(ours, Itself(ours, LINES, error, differs=True), LINES)
    assert found.equal == {1: len(LINES) - 1, 4: len(LINES) - 1}
    assert "log-probability" in found.fault(exact=True)
    np.testing.assert_allclose(found.difference, abs(error), rtol=1e-4)


def test_lines_that_programs_treat_in_their_own_ways_are_left_out(ours: Translator) -> None:
    lines = ["", *LINES[:2], " \t", "a dog sleeps " * 20, *LINES[2:]]
    peer = Itself(ours, lines)
    assert agreement(ours, peer, lines).sentences == len(LINES)
    assert peer.asked == [LINES] * 3
    nothing = agreement(ours, Itself(ours, []), ["", " "])
    assert nothing == ("Itself", 0, {1: 0, 4: 0}, 0, 0.0, 0) and not nothing.fault(exact=True)


def test_translations_that_are_cut_are_scored_alone(tokenizers: Tokenizers) -> None:
    """And not even that where their text has more tokens than the model has places."""
    ours = random_translator(tokenizers, end=-50, rise=0, positions="learned", max_positions=30)
    peer = Itself(ours, LINES)
    found = agreement(ours, peer, LINES)
    assert found.sentences == 0 and all(asked != LINES or found.tokens for asked in peer.asked)
    targets = tokenizers.target.encode([one.text for one in ours.translate(LINES, beam_size=1)])
    assert found.tokens == sum(len(ids) + 1 for ids in targets if len(ids) < 30)


def test_a_greedy_model_is_tried_with_a_beam_too(ours: Translator) -> None:
    card = ours.config.model_copy(update={"decode": ours.config.decode.model_copy(update={"beam_size": 1})})
    greedy = Translator(ours.model, ours.tokenizers, card)
    assert list(agreement(greedy, Itself(greedy, LINES), LINES).equal) == [1, 5]


def test_it_is_told_in_a_line() -> None:
    assert str(Agreement("Peer 1.0", 3, {1: 3, 4: 2}, 17, 2.34e-6)) == (
        "checked against Peer 1.0: 3 of 3 translations are equal with greedy decoding,"
        " 2 of 3 translations are equal with a beam of 4;"
        " log-probabilities of 17 tokens within 2.3e-06"
    )


@pytest.mark.parametrize(
    ("equal", "difference", "exact", "fault"),
    [
        (100, 1e-4, True, ""),
        (95, 0.0, True, ""),
        (94, 0.0, True, "94 of 100 translations"),
        (100, 1.1e-4, True, "log-probability"),
        (100, float("nan"), True, "log-probability"),
        (94, 3.0, False, ""),
        (50, 3.0, False, ""),
        (49, 0.0, False, "49 of 100 translations"),
    ],
)
def test_what_is_a_fault(equal: int, difference: float, exact: bool, fault: str) -> None:
    """In one of the two searches: of rounded weights, that less than half is equal."""
    for same in ({1: 100, 5: equal}, {1: equal, 5: 100}):
        found = Agreement("Peer", 100, same, 900, difference).fault(exact=exact)
        assert fault in found and bool(fault) == bool(found)


def test_lines_that_are_encoded_as_other_pieces_are_a_fault(ours: Translator) -> None:
    peer = Itself(ours, [*LINES, "Do you"])
    encode = peer.encode
    peer.encode = lambda lines: [*encode(["Do you"]), *encode(lines)[1:]]
    peer.lines[*encode(["Do you"])[0], ours.tokenizers.source.eos_id] = LINES[0]
    found = agreement(ours, peer, LINES)
    assert found.other_ids == 1 and "1 of the lines" in found.fault(exact=False)

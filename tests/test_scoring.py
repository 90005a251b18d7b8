"""The probability of a given translation, by teacher forcing: what the search counted step by step is the same."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.config import Sampling
from transformer.data.clauses import clauses
from transformer.data.corpus import Pair
from transformer.data.tokenizer import Tokenizer, Tokenizers
from transformer.errors import DataError
from transformer.model.transformer import Transformer
from transformer.translation.model_config import max_target_length
from transformer.translation.scoring import score
from transformer.translation.translator import Translator

PAIRS = [Pair(*pair) for pair in clauses("test", 60) if len(pair[0]) < 36][:16]
LINES = [pair.source for pair in PAIRS]


class Spelt(Tokenizer):
    """Its texts are pieces with spaces between, so that it can be given whatever a model says."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        ids = {piece: index for index, piece in enumerate(self.pieces(range(self.vocab_size)))}
        return [[ids[piece] for piece in text.split()] for text in texts]


@pytest.mark.parametrize(
    "options", [{"beam_size": 1}, {"beam_size": 4, "n_best": 4}, {"sampling": Sampling(), "n_best": 4}], ids=str
)
def test_the_search_and_teacher_forcing_agree(translator: Translator, options: dict[str, object]) -> None:
    """Step by step with a cache, and all at once: two ways to the same probability. A forced end costs nothing."""
    source = translator.tokenizers.source
    teacher = Translator(translator.model, Tokenizers(source, Spelt(source.model_bytes)), translator.config)
    found = list(translator.translate(LINES, **options))
    hypotheses = [hypothesis for line in found for hypothesis in line.hypotheses]
    said = [Pair(line.source, " ".join(hypothesis.tokens[:-1])) for line in found for hypothesis in line.hypotheses]
    for pair, given, hypothesis in zip(said, score(teacher, said), hypotheses, strict=True):
        assert given.tokens == hypothesis.tokens
        most = max_target_length(
            len(source.encode([pair.source])[0]) + 1, translator.config.decode, translator.config.model
        )
        asked = sum(given.token_log_probabilities[: most - 1])
        assert asked == pytest.approx(hypothesis.log_probability, rel=1e-5)


def test_a_score_is_the_sum_over_the_tokens_and_the_end(translator: Translator) -> None:
    for pair, found in zip(PAIRS, score(translator, PAIRS), strict=True):
        ids = translator.tokenizers.target.encode([pair.target])[0]
        assert found.tokens == (*translator.tokenizers.target.pieces(ids), "</s>")
        assert len(found.token_log_probabilities) == len(ids) + 1
        assert found.log_probability == pytest.approx(sum(found.token_log_probabilities))
        assert max(found.token_log_probabilities) < 0


def test_probabilities_of_all_next_tokens_sum_to_one(translator: Translator) -> None:
    """The chain rule by hand: without batches, without padding."""
    pair = PAIRS[0]
    source = [*translator.tokenizers.source.encode([pair.source])[0], translator.symbols.end]
    target = [*translator.tokenizers.target.encode([pair.target])[0], translator.symbols.end]
    memory = translator.model.encode(jnp.array([source]))
    logits_TV = np.asarray(translator.model.decode(jnp.array([[translator.symbols.start, *target[:-1]]]), memory))[0]
    by_hand = [
        float(row[id]) - math.log(sum(math.exp(x) for x in row)) for row, id in zip(logits_TV, target, strict=True)
    ]
    (found,) = score(translator, [pair])
    assert found.token_log_probabilities == pytest.approx(by_hand, abs=1e-4)


def test_neighbours_do_not_matter(translator: Translator) -> None:
    mixed = [Pair("", ""), *PAIRS, Pair("a " * 100, "b"), Pair("x", ""), *PAIRS[::-1]]
    assert score(translator, mixed) == [score(translator, [pair])[0] for pair in mixed]


def test_a_blank_target_is_the_end_alone(translator: Translator) -> None:
    (found,) = score(translator, [Pair("A dog.", "")])
    assert found.tokens == ("</s>",) and len(found.token_log_probabilities) == 1
    assert score(translator, []) == []


def test_what_learned_positions_cannot_place_is_refused_with_its_line(translator: Translator) -> None:
    settings = translator.config.model.model_copy(update={"positions": "learned", "max_positions": 30})
    V = translator.tokenizers.source.vocab_size
    card = translator.config.model_copy(update={"model": settings})
    learned = Translator(Transformer(settings, V, V, rng=jax.random.key(1)), translator.tokenizers, card)
    with pytest.raises(DataError, match=r"line 12 has \d+ tokens, the model has 30 positions"):
        score(learned, [PAIRS[0]._replace(source="A."), Pair("a", "b " * 40)], first_line=10)

"""The same weights in two programs: do they say the same?"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import numpy as np
from flax import nnx

from transformer.data.corpus import Pair
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer, compute_dtype
from transformer.scoring import score
from transformer.translator import Translator, limit

CLOSE = 1e-4  # of the natural logarithm of a token's probability, in float32
EQUAL, EQUAL_IF_ROUNDED = 0.95, 0.5  # minimum fraction of equal translations: same weights, rounded weights
ASIDE = {"empty", "split", "skipped"}  # flags of lines that programs treat in their own ways


class Peer(Protocol):
    """Another program with the same model."""

    name: str

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int, most: int) -> list[list[str]]:
        """Sources with their end, at most `most` tokens a translation -> pieces, without the end."""
        ...

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        """Log-probability of each token of the targets, and of the end."""
        ...


class Agreement(NamedTuple):
    """What came out."""

    peer: str
    sentences: int
    same: dict[int, int]  # translations that are the same, by the size of the beam
    tokens: int  # scored by both
    difference: float  # largest of a token's log-probability

    def fault(self, *, exact: bool) -> str:
        """Returns why the two programs disagree, or "" if they agree or if nothing could be compared.

        `exact`: the other program has the same weights, in float32, and not rounded ones.
        """
        if exact and not self.difference <= CLOSE:
            return f"the log-probability of a token differs by {self.difference:.1e}, more than {CLOSE:g}"
        least = EQUAL if exact else EQUAL_IF_ROUNDED
        for size, count in self.same.items():
            if count < least * self.sentences:
                return (
                    f"{count} of {self.sentences} translations are equal with a beam of {size}, fewer than {least:.0%}"
                )
        return ""

    def __str__(self) -> str:
        beams = ", ".join(
            f"{count} of {self.sentences} translations equal {f'with a beam of {size}' if size > 1 else 'greedily'}"
            for size, count in self.same.items()
        )
        scores = f"log-probabilities of {self.tokens} tokens within {self.difference:.1e}"
        return f"checked against {self.peer}: {beams}; {scores}"


def in_float32(translator: Translator) -> Translator:
    """The same model, computing in float32 as the other program does, whatever its own model.compute_dtype."""
    card = translator.card
    if compute_dtype(card.model.compute_dtype) == np.float32:
        return translator
    card = card.model_copy(update={"model": card.model.model_copy(update={"compute_dtype": "float32"})})
    shape = nnx.eval_shape(
        lambda: Transformer(card.model, card.source_vocabulary, card.target_vocabulary, key=jax.random.key(0))
    )
    return Translator(with_values(shape, named(translator.model)), translator.tokenizers, card)


def agreement(translator: Translator, peer: Peer, lines: Sequence[str]) -> Agreement:
    """Translates the lines with both programs, greedily and with a beam (its own, or of 5), and has both score ours.

    Left out are lines that are blank or too long; where translations are compared, those that reach their limit; where
    they are scored, those that are longer than any translation once their text is in tokens again.
    """
    own = translator.card.decode.beam_size
    beam_sizes = (1, own if own > 1 else 5)
    ours = {size: list(translator.translate(lines, beam_size=size)) for size in beam_sizes}
    whole = [number for number, found in enumerate(ours[1]) if not ASIDE.intersection(found.flags)]
    ending = [number for number in whole if not any("limit" in found[number].flags for found in ours.values())]
    tokenizer, card = translator.tokenizers.source, translator.card
    sources = [[*ids, tokenizer.eos_id] for ids in tokenizer.encode(lines)]
    most = limit(max((len(sources[number]) for number in ending), default=0), card.decode, card.model)
    same = {}
    for size, found in ours.items():
        theirs = peer.translate([sources[number] for number in ending], size, most) if ending else []
        mine = [found[number].hypotheses[0].tokens[:-1] for number in ending]
        same[size] = sum(one == tuple(other) for one, other in zip(mine, theirs, strict=True))
    targets = translator.tokenizers.target.encode([ours[1][number].text for number in whole])
    longest = limit(card.max_length, card.decode, card.model)
    fitting = [number for number, ids in zip(whole, targets, strict=True) if len(ids) < longest]
    scored = score(translator, [Pair(lines[number], ours[1][number].text) for number in fitting])
    scores = peer.score([sources[number] for number in fitting], [one.tokens[:-1] for one in scored]) if fitting else []
    differences = [
        abs(mine - other)
        for one, others in zip(scored, scores, strict=True)
        for mine, other in zip(one.token_log_probabilities, others, strict=True)
    ]
    return Agreement(peer.name, len(ending), same, len(differences), float(np.max(differences, initial=0.0)))

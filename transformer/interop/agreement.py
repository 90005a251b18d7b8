"""Compares the results of this package with those of another program that has the same weights."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from transformer.data.corpus import Pair
from transformer.data.lines import without_controls
from transformer.model.parameters import named, with_values
from transformer.model.transformer import compute_dtype
from transformer.translation.scoring import score
from transformer.translation.translator import Translator

TOLERANCE = 1e-4  # for the natural logarithm of the probability of a token, in float32
MIN_EQUAL, MIN_EQUAL_ROUNDED = 0.95, 0.5  # smallest fraction of equal translations: exact, rounded weights
LEFT_OUT = {"empty", "split", "skipped"}  # flags of lines that the programs treat differently


class Peer(Protocol):
    """Another program that runs a model with the same weights."""

    name: str

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sources, without EOS, from the tokenizer files of the other program."""

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int, max_tokens: int) -> list[list[str]]:
        """Translates sources, which include EOS, into at most `max_tokens` pieces each, without EOS."""

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        """Returns the log-probability of each token of the targets, and of EOS."""


class Agreement(NamedTuple):
    """How well the translations and scores of a model agree with those of another program that has the same weights."""

    peer: str
    sentences: int
    equal: dict[int, int]  # number of equal translations, by the size of the beam
    tokens: int  # number of tokens that both programs scored
    difference: float  # the largest one between the two log-probabilities of a token
    other_ids: int = 0  # number of lines that the two programs encode differently

    def fault(self, *, exact: bool) -> str:
        """Returns why the two programs disagree, or "" if they agree or if nothing could be compared.

        `exact`: the other program has the same weights in float32, not rounded ones.
        """
        if self.other_ids:
            return f"{self.other_ids} of the lines are encoded as other pieces"
        if exact and not self.difference <= TOLERANCE:
            return f"the log-probability of a token differs by {self.difference:.1e}, more than {TOLERANCE:g}"
        minimum = MIN_EQUAL if exact else MIN_EQUAL_ROUNDED
        for size, count in self.equal.items():
            if count < minimum * self.sentences:
                return f"{self._equal(size)}, fewer than {minimum:.0%}"
        return ""

    def _equal(self, size: int) -> str:
        search = "greedy decoding" if size == 1 else f"a beam of {size}"
        return f"{self.equal[size]} of {self.sentences} translations are equal with {search}"

    def __str__(self) -> str:
        beams = ", ".join(map(self._equal, self.equal))
        scores = f"log-probabilities of {self.tokens} tokens within {self.difference:.1e}"
        return f"checked against {self.peer}: {beams}; {scores}"


def in_float32(translator: Translator) -> Translator:
    """Returns a translator with the same weights that computes in float32, as the other program does."""
    config = translator.config
    if compute_dtype(config.model.compute_dtype) == np.float32:
        return translator
    config = config.model_copy(update={"model": config.model.model_copy(update={"compute_dtype": "float32"})})
    model = with_values(config.abstract_model(), named(translator.model))
    return Translator(model, translator.tokenizers, config)


def agreement(translator: Translator, peer: Peer, lines: Sequence[str]) -> Agreement:
    """Translates the lines with both programs, greedily and with a beam, and compares translations and scores.

    Each program encodes the text itself; only control characters are replaced before, as `Tokenizer.encode` does.
    Both programs score the greedy translations of this package. The beam size is that of the model, or 5 if the model
    decodes greedily. Lines that are blank or too long are excluded. Translations of a line are not compared if one of
    this package reaches the length limit. Scores are not compared if the translation is longer than the limit when it
    is tokenized again.
    """
    beam_size = translator.config.decode.beam_size
    beam_sizes = (1, beam_size if beam_size > 1 else 5)
    ours = {size: list(translator.translate(lines, beam_size=size)) for size in beam_sizes}
    comparable = [number for number, found in enumerate(ours[1]) if not LEFT_OUT.intersection(found.flags)]
    ending = [number for number in comparable if not any("limit" in found[number].flags for found in ours.values())]
    tokenizer, config = translator.tokenizers.source, translator.config
    encoded = peer.encode([without_controls(line) for line in lines])
    other_ids = sum(one != other for one, other in zip(tokenizer.encode(lines), encoded, strict=True))
    sources = [[*ids, tokenizer.eos_id] for ids in encoded]
    max_tokens = config.max_target_length(max((len(sources[number]) for number in ending), default=0))
    equal = {}
    for size, found in ours.items():
        theirs = peer.translate([sources[number] for number in ending], size, max_tokens) if ending else []
        mine = [found[number].hypotheses[0].tokens[:-1] for number in ending]
        equal[size] = sum(one == tuple(other) for one, other in zip(mine, theirs, strict=True))
    targets = translator.tokenizers.target.encode([ours[1][number].text for number in comparable])
    longest = config.max_target_length(config.max_length)
    fitting = [number for number, ids in zip(comparable, targets, strict=True) if len(ids) < longest]
    scored = score(translator, [Pair(lines[number], ours[1][number].text) for number in fitting])
    scores = peer.score([sources[number] for number in fitting], [one.tokens[:-1] for one in scored]) if fitting else []
    differences = [
        abs(mine - other)
        for one, others in zip(scored, scores, strict=True)
        for mine, other in zip(one.token_log_probabilities, others, strict=True)
    ]
    largest = float(np.max(differences, initial=0.0))
    return Agreement(peer.name, len(ending), equal, len(differences), largest, other_ids)

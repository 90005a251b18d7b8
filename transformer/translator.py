"""Sentences in, sentences out. What a line becomes does not depend on the lines beside it (data/shapes.py)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import jax
import numpy as np
from jax import Array

from transformer.config import Decode, Model
from transformer.config_file import changed
from transformer.data.lines import plain
from transformer.data.segments import segments
from transformer.data.shapes import LENGTHS, column, fill, group
from transformer.data.tokenizer import Tokenizers
from transformer.decoding.beam import STOPS, beam_search
from transformer.decoding.hypotheses import Hypotheses, Symbols, check_bounds
from transformer.decoding.sampling import Sampler, generate, most_probable
from transformer.errors import DataError, UsageError
from transformer.model.transformer import Transformer
from transformer.model_dir import Card, load_model

WINDOW = 2048  # lines that are sorted by length together
WINDOW_CHARACTERS = 1 << 20  # after which a window has no further line

Long = Literal["split", "skip", "fail"]  # what becomes of a line that is too long for the model


class Hypothesis(NamedTuple):
    """One way to translate a line."""

    text: str
    score: float  # log-probability / length^alpha, the end counted in the length
    log_probability: float  # natural logarithm; of a cut hypothesis without its end, which the model did not choose
    tokens: tuple[str, ...]  # pieces, the end symbol included


NOTHING = Hypothesis("", 0.0, 0.0, ())  # of a line that the model is not asked about


@dataclass(frozen=True)
class Translation:
    """What became of a line."""

    source: str
    hypotheses: tuple[Hypothesis, ...]  # best first
    flags: tuple[str, ...]
    """"empty": there was nothing to translate; "split": too long, done in parts; "skipped": too long, left blank;
    "limit": the translation was cut where it became too long"""

    @property
    def text(self) -> str:
        return self.hypotheses[0].text

    @property
    def score(self) -> float:
        """Of the best; where "limit" forced its end, that counts 0 in the log-probability, and 1 in the length."""
        return self.hypotheses[0].score


class Request(NamedTuple):
    """How to translate."""

    settings: Decode
    n_best: int
    sampler: Sampler | None
    long: Long


class Part(NamedTuple):
    """A line, or as much of a long one as the model takes at a time."""

    line: int  # place in the window
    ids: list[int]  # end of sentence included
    number: int  # of the line, from 0, over all input: seeds its samples
    place: int  # in the line, from 0: seeds its samples too


class Translator:
    """A model with its tokenizers."""

    def __init__(self, model: Transformer, tokenizers: Tokenizers, card: Card):
        self.model, self.tokenizers, self.card = model, tokenizers, card
        target = tokenizers.target
        self.symbols = Symbols(target.bos_id, target.eos_id, target.never_ids)

    @staticmethod
    def load(path: str | Path) -> "Translator":
        """From a run directory or a model directory. Raises UsageError."""
        return Translator(*load_model(path))

    def translate(
        self,
        lines: Iterable[str],
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        n_best: int = 1,
        batch_tokens: int | None = None,
        sampler: Sampler | None = None,
        long: Long = "split",
        first_line: int = 0,
    ) -> Iterator[Translation]:
        """A translation for each line, in order, as soon as its window of lines is done.

        What is not given is as the model's own defaults have it. With a `sampler`, the `n_best` hypotheses of a line
        are independent draws, best first, seeded by the line's number (from `first_line`). Raises UsageError at once,
        but for a line that is no text; and with `long="fail"` DataError at the first line that is too long.
        """
        if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
            raise UsageError(f"lines = {lines!r:.60}: must be several texts, as in [text]")
        changes = {"beam_size": beam_size, "length_penalty": length_penalty, "batch_tokens": batch_tokens}
        settings = changed(self.card.decode, changes)
        check_bounds("n_best", n_best, 1, 1024)
        if n_best > settings.beam_size and sampler is None:
            raise UsageError(f"n-best = {n_best}: a beam of {settings.beam_size} finds fewer; raise the beam size")
        if long not in get_args(Long):
            raise UsageError(f"long = {long!r:.60}: must be one of {', '.join(get_args(Long))}")
        return self._windows(lines, Request(settings, n_best, sampler, long), first_line)

    def _windows(self, lines: Iterable[str], request: Request, number: int) -> Iterator[Translation]:
        window: list[str] = []
        characters = 0
        for line in lines:
            if not isinstance(line, str):
                raise UsageError(f"line {number + len(window) + 1} = {line!r:.60}: must be a text (str)")
            window.append(line)
            characters += len(line)
            if len(window) == WINDOW or characters >= WINDOW_CHARACTERS:
                yield from self._window(window, request, number)
                number += len(window)
                window, characters = [], 0
        yield from self._window(window, request, number)

    def _window(self, lines: Sequence[str], request: Request, number: int) -> Iterator[Translation]:
        tokenizer, longest = self.tokenizers.source, min(self.card.max_length, LENGTHS[-1])
        parts: list[Part] = []
        skipped: set[int] = set()
        tagged = [tokenizer.split_tag(line) for line in lines]
        untagged = [text for _, text in tagged]
        for line, texts in enumerate(segments(untagged, tokenizer.encode_untagged, longest - 1 - tokenizer.most_tags)):
            if len(texts) > 1 and request.long == "fail":
                raise DataError(
                    f"line {number + line + 1}: more than the {longest} tokens that this model takes;"
                    " shorten it, or have it split or left blank (--long split, --long skip)"
                )
            if len(texts) > 1 and request.long == "skip":
                skipped.add(line)
            else:
                whole = ([*tagged[line].ids, *ids, tokenizer.eos_id] for ids in texts)
                parts += [Part(line, ids, number + line, place) for place, ids in enumerate(whole)]
        found = self._search(parts, request)
        of_line: dict[int, list[tuple[Hypotheses, int]]] = defaultdict(list)
        for part, hypotheses in zip(parts, found, strict=True):
            of_line[part.line].append(hypotheses)
        for line, source in enumerate(lines):
            if line in of_line:
                yield self._join(source, of_line[line], request)
            else:
                flag = "skipped" if line in skipped else "empty"
                yield Translation(source, (NOTHING,) * request.n_best, (flag,))

    def _search(self, parts: Sequence[Part], request: Request) -> list[tuple[Hypotheses, int]]:
        """For each part the hypotheses of its row, as NumPy arrays, and its length limit."""
        settings, sampler = request.settings, request.sampler
        found: dict[int, tuple[Hypotheses, int]] = {}
        for length, rows, indices in group([len(part.ids) for part in parts], settings.batch_tokens):
            chosen = [parts[index] for index in indices]
            limits = [limit(len(part.ids), settings, self.card.model) for part in chosen]
            batch = _translate_batch(
                self.model,
                fill([part.ids for part in chosen], rows, length, self.tokenizers.source.eos_id),
                column(limits, rows), np.float32(settings.length_penalty),
                column([part.number for part in chosen], rows), column([part.place for part in chosen], rows),
                symbols=self.symbols, beams=settings.beam_size, n_best=request.n_best,
                length=limit(length, settings, self.card.model), shortest=settings.min_length, stop=settings.stop,
                seed=0 if sampler is None else sampler.seed,
                sampler=sampler and replace(sampler, seed=0),  # a program serves every seed
            )  # fmt: skip
            hypotheses = jax.device_get(batch)
            for row, index in enumerate(indices):
                found[index] = jax.tree.map(lambda x, row=row: x[row], hypotheses), limits[row]
        return [found[index] for index in range(len(parts))]

    def _join(self, source: str, parts: Sequence[tuple[Hypotheses, int]], request: Request) -> Translation:
        """The translation of a line from those of its parts: texts with a space between, probabilities multiplied."""
        joined = []
        for k in range(request.n_best):
            ids = [[int(id) for id in hypotheses.tokens[k] if id >= 0] for hypotheses, _ in parts]
            texts = self.tokenizers.target.decode_batch(ids)
            log_probability = sum(float(hypotheses.log_probabilities[k]) for hypotheses, _ in parts)
            joined.append(
                Hypothesis(
                    text=plain(" ".join(texts)).strip(),
                    score=log_probability / max(sum(map(len, ids)), 1) ** request.settings.length_penalty,
                    log_probability=log_probability,
                    tokens=tuple(self.tokenizers.target.pieces(id for sentence in ids for id in sentence)),
                )
            )
        best_first = sorted(range(request.n_best), key=lambda k: -joined[k].score)
        flags = ["split"] * (len(parts) > 1)
        if any(hypotheses.lengths[best_first[0]] >= most for hypotheses, most in parts):
            flags.append("limit")
        return Translation(source, tuple(joined[k] for k in best_first), tuple(flags))


def limit(source_tokens: int, settings: Decode, model: Model) -> int:
    """The most tokens a translation may have, the end symbol counted: of the source's own length alone.

    It leaves room for a token and the end, and for no more tokens than the model can place.
    """
    most = max(int(source_tokens * settings.max_ratio) + settings.max_extra, 2)
    return min(most, model.max_positions) if model.positions == "learned" else most


@partial(jax.jit, static_argnames=("symbols", "beams", "n_best", "length", "shortest", "stop", "sampler"))
def _translate_batch(
    model: Transformer,
    source: Array,
    limits: Array,
    length_penalty: Array,
    numbers: Array,
    places: Array,
    *,
    symbols: Symbols,
    beams: int,
    n_best: int,
    length: int,
    shortest: int,
    stop: str,
    seed: Array,
    sampler: Sampler | None,
) -> Hypotheses:
    if sampler is None and beams > 1:
        cache = model.start(source, beams=beams, length=length)
        return beam_search(
            model.step, cache, limits, symbols,
            beams=beams, length=length, shortest=shortest, length_penalty=length_penalty, stop=STOPS[stop],
            n_best=n_best,
        )  # fmt: skip
    choose = most_probable if sampler is None else sampler.sampling(seed, numbers, places)
    cache = model.start(source, beams=n_best, length=length)
    return generate(
        model.step, cache, limits, symbols, choose,
        count=n_best, length=length, shortest=shortest, length_penalty=length_penalty,
    )  # fmt: skip

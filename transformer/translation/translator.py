"""Lines -> translations. The translation of a line does not depend on the other lines (shapes.py)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from transformer.config import Decode, Lines, Sampling
from transformer.config.loading import with_overrides
from transformer.data.lines import is_blank, without_controls
from transformer.data.padding import pad
from transformer.data.tokenizer import Tokenizers
from transformer.decoding.beam import STOP_RULES, beam_search
from transformer.decoding.generate import generate, most_probable
from transformer.decoding.hypotheses import Hypotheses, Rules, Symbols
from transformer.errors import DataError, UsageError
from transformer.model.transformer import Transformer
from transformer.translation.model_config import ModelConfig, max_target_length
from transformer.translation.model_dir import load_model
from transformer.translation.shapes import column, group
from transformer.translation.windows import windows


class Options(Lines):
    """The options of a translation, besides the settings of [decode]."""

    sampling: Sampling | None = None
    """draw hypotheses at random instead of searching for the best"""


class Hypothesis(NamedTuple):
    """One translation of a line."""

    text: str
    score: float  # log-probability / length^alpha, EOS counted in the length
    log_probability: float  # natural logarithm; a forced end, which the model did not choose, adds 0
    tokens: tuple[str, ...]  # pieces, EOS included


EMPTY = Hypothesis("", 0.0, 0.0, ())  # for a line that is blank or skipped


@dataclass(frozen=True)
class Translation:
    """The translations of a line."""

    source: str
    hypotheses: tuple[Hypothesis, ...]
    """best first"""
    flags: tuple[str, ...]
    """"empty": the line is blank; "split": it was too long, and is translated in parts; "skipped": it was too long, and
    its translation is empty; "limit": the translation reached the length limit, where its end is forced"""

    @property
    def text(self) -> str:
        return self.hypotheses[0].text

    @property
    def score(self) -> float:
        """The score of the best hypothesis. A forced end adds 0 to the log-probability and 1 to the length."""
        return self.hypotheses[0].score


class Segment(NamedTuple):
    """A line, or one part of a line that was too long and has been split."""

    index: int  # of the line in its window
    ids: list[int]  # EOS included
    line: int  # number of the line in the input, from 0
    number: int  # of the segment in the line, from 0


class Translator:
    """A model with its tokenizers."""

    def __init__(self, model: Transformer, tokenizers: Tokenizers, config: ModelConfig):
        self.model, self.tokenizers, self.config = model, tokenizers, config
        target = tokenizers.target
        self.symbols = Symbols(target.bos_id, target.eos_id, target.never_ids)

    @staticmethod
    def load(path: str | Path) -> "Translator":
        """Loads a model directory, or the best model of a run directory; see `load_model`."""
        return Translator(*load_model(path))

    def translate(
        self,
        lines: Iterable[str | None],
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        n_best: int = 1,
        batch_tokens: int | None = None,
        sampling: Sampling | None = None,
        long: Literal["split", "skip", "fail"] = "split",
        decode: Decode | None = None,
        first_line: int = 0,
    ) -> Iterator[Translation]:
        """Yields the translation of each line, in order, as soon as its window of lines is translated.

        If `beam_size`, `length_penalty` or `batch_tokens` is None, its value is that in `decode`, by default the
        settings of the model. None in `lines` stands for a line that was too long to be read; it is skipped. With
        `sampling`, the `n_best` hypotheses of a line are independent draws, best first. They depend on its seed and
        the number of the line, counted from `first_line`.

        The call raises UsageError if an argument is invalid. Iterating raises UsageError if a line is neither a str nor
        None, and DataError if a line is too long and `long` is "fail".
        """
        if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
            raise UsageError(f"lines = {lines!r:.60}: must be several texts, as in [text]")
        changes = {"beam_size": beam_size, "length_penalty": length_penalty, "batch_tokens": batch_tokens}
        settings = with_overrides(decode or self.config.decode, changes)
        options = with_overrides(Options(), {"n_best": n_best, "long": long, "sampling": sampling})
        if n_best > settings.beam_size and sampling is None:
            raise UsageError(
                f"n_best = {n_best}: a beam of {settings.beam_size} finds fewer hypotheses; raise the beam size"
            )
        return self._translate(lines, settings, options, first_line)

    def _translate(
        self, lines: Iterable[str | None], settings: Decode, options: Options, first_line: int
    ) -> Iterator[Translation]:
        for window in windows(_checked(lines, first_line)):
            yield from self._translate_window(window, settings, options, first_line)
            first_line += len(window)

    def _translate_window(
        self, lines: Sequence[str | None], settings: Decode, options: Options, first_line: int
    ) -> Iterator[Translation]:
        tokenizer, max_tokens = self.tokenizers.source, self.config.max_length
        to_translate: list[Segment] = []
        skipped = {index for index, line in enumerate(lines) if line is None}
        tagged = [tokenizer.split_tag(line or "") for line in lines]
        for index, parts in enumerate(self._split([text for _, text in tagged], max_tokens - 1 - tokenizer.max_tags)):
            if len(parts) > 1 and options.long == "fail":
                raise DataError(
                    f"line {first_line + index + 1}: more than {max_tokens} tokens, the limit of this model;"
                    " shorten it, or use --long split or --long skip"
                )
            if len(parts) > 1 and options.long == "skip":
                skipped.add(index)
                continue
            sources = [[*tagged[index].ids, *ids, tokenizer.eos_id] for ids in parts]
            to_translate += [Segment(index, ids, first_line + index, number) for number, ids in enumerate(sources)]
        of_line: dict[int, list[tuple[Hypotheses, int]]] = defaultdict(list)
        for segment, hypotheses in zip(to_translate, self._search(to_translate, settings, options), strict=True):
            of_line[segment.index].append(hypotheses)
        for index, line in enumerate(lines):
            if index in of_line:
                yield self._join(line or "", of_line[index], settings, options.n_best)
            else:
                flag = "skipped" if index in skipped else "empty"
                yield Translation(line or "", (EMPTY,) * options.n_best, (flag,))

    def _split(self, texts: Sequence[str], max_tokens: int) -> Iterator[list[list[int]]]:
        """Yields the ids of the segments of each text: none if blank, one if of at most `max_tokens` tokens."""
        encode = self.tokenizers.source.encode_untagged
        texts = ["" if is_blank(text) else text for text in texts]
        for text, ids in zip(texts, encode(texts), strict=True):
            if len(ids) <= max_tokens:
                yield [ids] if ids else []
            else:
                from transformer.translation.segments import split_line

                yield split_line(text, encode, max_tokens)

    def _search(
        self, to_translate: Sequence[Segment], settings: Decode, options: Options
    ) -> list[tuple[Hypotheses, int]]:
        """Returns the hypotheses of each segment, as NumPy arrays without the batch axis, and its length limit."""
        found: dict[int, tuple[Hypotheses, int]] = {}
        model = self.config.model
        for length, rows, indices in group([len(segment.ids) for segment in to_translate], settings.batch_tokens):
            chosen = [to_translate[index] for index in indices]
            max_lengths = [max_target_length(len(segment.ids), settings, model) for segment in chosen]
            rules = Rules(
                self.symbols,
                cache_length=max_target_length(length, settings, model),
                min_length=settings.min_length,
                max_lengths_B=jnp.asarray(column(max_lengths, rows)),
                length_penalty=jnp.float32(settings.length_penalty),
            )
            batch = _translate_batch(
                self.model,
                pad([segment.ids for segment in chosen], rows, length, self.tokenizers.source.eos_id),
                rules,
                lines_B=column([segment.line for segment in chosen], rows),
                segments_B=column([segment.number for segment in chosen], rows),
                seed=0 if options.sampling is None else options.sampling.seed,
                beam_size=settings.beam_size,
                n_best=options.n_best,
                stop=settings.stop,
                sampling=options.sampling and options.sampling.model_copy(update={"seed": 0}),
            )
            hypotheses = jax.device_get(batch)
            for row, index in enumerate(indices):
                found[index] = jax.tree.map(lambda x, row=row: x[row], hypotheses), max_lengths[row]
        return [found[index] for index in range(len(to_translate))]

    def _join(self, source: str, parts: Sequence[tuple[Hypotheses, int]], settings: Decode, n_best: int) -> Translation:
        """Joins the translations of the segments of a line: texts by spaces; log-probabilities are added."""
        joined = []
        for k in range(n_best):
            ids = [[int(id) for id in hypotheses.tokens[k] if id >= 0] for hypotheses, _ in parts]
            texts = self.tokenizers.target.decode_batch(ids)
            log_probability = sum(float(hypotheses.log_probabilities[k]) for hypotheses, _ in parts)
            joined.append(
                Hypothesis(
                    text=without_controls(" ".join(texts)).strip(),
                    score=log_probability / max(sum(map(len, ids)), 1) ** settings.length_penalty,
                    log_probability=log_probability,
                    tokens=tuple(self.tokenizers.target.pieces(id for sentence in ids for id in sentence)),
                )
            )
        best_first = sorted(range(n_best), key=lambda k: -joined[k].score)
        flags = ["split"] * (len(parts) > 1)
        if any(hypotheses.lengths[best_first[0]] >= max_length for hypotheses, max_length in parts):
            flags.append("limit")
        return Translation(source, tuple(joined[k] for k in best_first), tuple(flags))


def _checked(lines: Iterable[Any], first_line: int) -> Iterator[str | None]:
    for number, line in enumerate(lines, first_line + 1):
        if not (line is None or isinstance(line, str)):
            raise UsageError(f"line {number} = {line!r:.60}: must be a text (str)")
        yield line


@partial(jax.jit, static_argnames=("beam_size", "n_best", "stop", "sampling"))
def _translate_batch(
    model: Transformer,
    source: Array,
    rules: Rules,
    *,
    lines_B: Array,
    segments_B: Array,
    seed: Array,
    beam_size: int,
    n_best: int,
    stop: str,
    sampling: Sampling | None,  # its seed is 0, so that one compiled program serves every seed
) -> Hypotheses:
    if sampling is None and beam_size > 1:
        cache = model.start(source, beam_size=beam_size, cache_length=rules.cache_length)
        return beam_search(model.step, cache, rules, beam_size=beam_size, stop=STOP_RULES[stop], n_best=n_best)
    choose = most_probable
    if sampling is not None:
        from transformer.decoding.sampling import Sampled, segment_keys

        choose = Sampled(segment_keys(seed, lines_B, segments_B), sampling)
    cache = model.start(source, beam_size=n_best, cache_length=rules.cache_length)
    return generate(model.step, cache, rules, choose, count=n_best)

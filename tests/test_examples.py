"""The ids of a corpus on disk: what was tokenized comes back, is used again, and is renewed when anything changes."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from transformer.config import Data
from transformer.config import Tokenizer as TokenizerSettings
from transformer.data import prepare as preparing
from transformer.data.clauses import clauses
from transformer.data.corpus import Corpus, Pair
from transformer.data.prepare import Examples, prepare_examples
from transformer.data.tokenizer import Tokenizers
from transformer.data.tokenizer_training import train_tokenizers
from transformer.errors import DataError

PAIRS = [Pair(*pair) for pair in clauses("train", 100)]


def trained(vocab_size: int, *, shared: bool = False) -> Tokenizers:
    settings = TokenizerSettings(vocab_size=vocab_size, byte_fallback=False, shared=shared)
    return train_tokenizers((pair.source for pair in PAIRS), (pair.target for pair in PAIRS), settings)


TOKENIZERS = trained(90)


def corpus(pairs: list[Pair], name: str = "toy") -> Corpus:
    return Corpus(name, lambda: iter(pairs))


def prepared(directory: Path, pairs: list[Pair], tokenizers: Tokenizers = TOKENIZERS, **settings: object) -> Examples:
    chosen = Data.model_validate({"max_left_out": 1, **settings})
    return prepare_examples(directory, [corpus(pairs)], tokenizers, chosen)[0]


def contents(found: Examples) -> list[tuple[list[int], list[int]]]:
    return [(found.source[i].tolist(), found.target[i].tolist()) for i in range(len(found))]


def times(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}


def expected(pairs: list[Pair], tokenizers: Tokenizers = TOKENIZERS) -> list[tuple[list[int], list[int]]]:
    return [
        ([*source, tokenizers.source.eos_id], [*target, tokenizers.target.eos_id])
        for source, target in zip(
            tokenizers.source.encode([pair.source for pair in pairs]),
            tokenizers.target.encode([pair.target for pair in pairs]),
            strict=True,
        )
    ]


def test_ids_survive_the_disk(tmp_path: Path) -> None:
    found = prepared(tmp_path / "ids", PAIRS)
    assert contents(found) == expected(PAIRS)
    assert found.lengths.tolist() == [[len(source), len(target)] for source, target in contents(found)]
    assert (found.start, found.end) == (TOKENIZERS.target.bos_id, TOKENIZERS.source.eos_id)
    assert TOKENIZERS.source.decode(found.source[7]) == PAIRS[7].source
    assert TOKENIZERS.target.decode(found.target[7]) == PAIRS[7].target


def test_corpora_follow_each_other_in_parts_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 7)
    corpora = [corpus(PAIRS[:31], "one"), corpus(PAIRS[31:], "other")]
    assert contents(prepare_examples(tmp_path / "ids", corpora, TOKENIZERS, Data())[0]) == expected(PAIRS)


def test_what_has_not_changed_is_used_again(tmp_path: Path) -> None:
    directory = tmp_path / "ids"
    _, outcomes = prepare_examples(directory, [corpus(PAIRS)], TOKENIZERS, Data())
    before = times(directory)
    found, again = prepare_examples(directory, [corpus(list(PAIRS))], trained(90), Data(buckets=3))
    assert times(directory) == before
    assert again == outcomes
    assert contents(found) == expected(PAIRS)


@pytest.mark.parametrize("pairs", [PAIRS[:-1], PAIRS[::-1]])
def test_another_corpus_is_tokenized_anew(tmp_path: Path, pairs: list[Pair]) -> None:
    prepared(tmp_path / "ids", PAIRS)
    assert contents(prepared(tmp_path / "ids", pairs)) == expected(pairs)


def test_another_tokenizer_of_either_side_tokenizes_anew(tmp_path: Path) -> None:
    other = trained(70)
    source, target = Tokenizers(other.source, TOKENIZERS.target), Tokenizers(TOKENIZERS.source, other.target)
    for tokenizers in (source, TOKENIZERS, target):
        assert contents(prepared(tmp_path / "ids", PAIRS, tokenizers)) == expected(PAIRS, tokenizers)


def test_other_limits_choose_anew(tmp_path: Path) -> None:
    directory, ids = tmp_path / "ids", expected(PAIRS)
    median = sorted(max(map(len, pair)) for pair in ids)[50]
    short = [pair for pair in ids if max(map(len, pair)) <= median]
    alike = [pair for pair in ids if max(map(len, pair)) <= 1.1 * min(map(len, pair))]
    assert 0 < len(alike) < len(ids) > len(short) > 0
    assert contents(prepared(directory, PAIRS)) == ids
    assert contents(prepared(directory, PAIRS, max_length=median)) == short
    assert contents(prepared(directory, PAIRS)) == ids
    assert contents(prepared(directory, PAIRS, max_ratio=1.1)) == alike


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    long, short = Pair(PAIRS[0].source * 9, PAIRS[0].target * 9), Pair(PAIRS[0].source * 2, "A")
    pairs = [PAIRS[0], Pair(" ", "a"), PAIRS[1], long, Pair("a", ""), short, Pair("a\ud800", "a"), long, PAIRS[2]]
    pairs += [Pair("\u200b", "a"), Pair("a", "\ufeff \u200b")]  # the tokenizer makes nothing of them
    limit = len(expected([long])[0][0]) - 1
    settings = Data(max_length=limit, max_ratio=3, max_left_out=1)
    found, [outcome] = prepare_examples(tmp_path / "ids", [corpus(pairs)], TOKENIZERS, settings)
    assert contents(found) == expected(PAIRS[:3])
    assert (outcome.read, outcome.kept) == (11, 3)
    assert outcome.summary.startswith("kept 3 of 11 pairs; left out: 2 ")
    for reason in (
        f"2 longer than {limit} tokens (lines 4, 8)",
        "2 empty source (lines 2, 10)",
        "2 empty target (lines 5, 11)",
        "1 invalid UTF-8 (line 7)",
        "1 one side over 3 times as long as the other (line 6)",
    ):
        assert reason in outcome.summary


def test_each_corpus_is_counted_by_itself(tmp_path: Path) -> None:
    corpora = [corpus([*PAIRS[:9], Pair("", "a")], "one"), corpus([Pair("", "a"), *PAIRS[:5]], "other")]
    _, outcomes = prepare_examples(tmp_path / "ids", corpora, TOKENIZERS, Data(max_left_out=0.2))
    assert [(outcome.name, outcome.summary) for outcome in outcomes] == [
        ("one", "kept 9 of 10 pairs; left out: 1 empty source (line 10)"),
        ("other", "kept 5 of 6 pairs; left out: 1 empty source (line 1)"),
    ]
    with pytest.raises(DataError, match=r"^other: kept 5 of 6 .* 0\.167 .* data\.max_left_out = 0\.1;"):
        prepare_examples(tmp_path / "ids", corpora, TOKENIZERS, Data())  # also of what exists


def test_many_too_long_pairs_are_told_with_the_limit_that_would_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    longest = [max(len(source), len(target)) for source, target in expected(PAIRS)]
    limit = sorted(longest)[89]
    most, nearly = (sorted(longest)[place] for place in (94, 98))
    assert limit < most < nearly
    for _ in range(2):  # told again when nothing is done again
        caplog.clear()
        prepared(tmp_path / "ids", PAIRS, max_length=limit)
        (told,) = caplog.messages
        assert told == (
            f"warning: toy: {sum(length > limit for length in longest):.1f}% of the pairs are longer than"
            f" data.max_length = {limit} tokens, and are left out; 95% have at most {most}, 99% at most {nearly}:"
            f" data.max_length = {nearly} keeps 99%"
        )
    caplog.clear()
    found = prepared(tmp_path / "ids", PAIRS, max_length=nearly)
    assert len(found) >= 99
    assert not caplog.messages


def test_what_another_version_made_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(preparing, "FORMAT", "1")
        prepared(tmp_path / "ids", PAIRS)
    old = times(tmp_path / "ids")
    assert contents(prepared(tmp_path / "ids", PAIRS)) == expected(PAIRS)
    assert times(tmp_path / "ids") != old


def test_an_interrupted_writing_is_begun_again(tmp_path: Path) -> None:
    def broken() -> Iterator[Pair]:
        yield from PAIRS[:31]
        raise DataError("line 32")

    directory, reads = tmp_path / "ids", iter([lambda: iter(PAIRS), broken])
    with pytest.raises(DataError, match="line 32"):
        prepare_examples(directory, [Corpus("toy", lambda: next(reads)())], TOKENIZERS, Data())
    assert contents(prepared(directory, PAIRS)) == expected(PAIRS)


def test_nothing_left_is_an_error_also_the_second_time(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match=r"^toy: no pair .* can be used.* 1 empty source \(line 1\)") as error:
            prepared(tmp_path / "ids", [Pair("", "a")])
        assert "\n" not in str(error.value)
    assert json.loads((tmp_path / "ids" / "manifest.json").read_text())["corpora"][0]["kept"] == 0


def test_ids_are_kept_in_four_bytes(tmp_path: Path) -> None:
    found = prepared(tmp_path / "ids", PAIRS)
    assert found.source.ids.dtype == np.int32
    assert (tmp_path / "ids" / "source.ids").stat().st_size == 4 * found.lengths[:, 0].sum()

"""What can go wrong in a line that is translated, by the ids of docs/reliability.md."""

import io
import json
import os
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from memory import at_most
from transformer.cli.input import Faults, Input
from transformer.translation import translator as module
from transformer.translation.segments import split_line
from transformer.translation.translator import Translator
from translating import SENTENCES, Command, Result, alone, joined

pytestmark = pytest.mark.mixed_dtypes

CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
BREAKS = "\r\0\v\f\x1c\x1d\x1e\x85\u2028\u2029"
ODD = ["\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff", "\ufffd", "\ufdd0", "\ue000", "\U0001f468", "\u0301", "\u05d0"]


# Lines


@pytest.mark.fault("X01")
def test_no_input_gives_no_output(translate: Command, tmp_path: Path) -> None:
    assert translate(b"") == translate(None) == Result(0, b"", "")
    (tmp_path / "in").touch()
    assert translate(b"", "-i", tmp_path / "in", "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.fault("X02")
def test_lines_that_say_nothing_stay_blank(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_translate_batch", None)  # the model is not asked
    signs = [chr(code) for code in range(sys.maxunicode + 1)]
    lines = [sign for sign in signs if sign.isspace() or unicodedata.category(sign) in ("Zs", "Zl", "Zp", "Cf", "Cc")]
    assert len(lines) > 190
    lines += ["", "\ufffd", "\ud800", "".join(lines), " \u200b\ufeff ", "▁", "\u200d" * 1000]
    for found in translator.translate(lines, n_best=2):
        assert (found.text, found.score, found.flags, len(found.hypotheses)) == ("", 0.0, ("empty",), 2)


@pytest.mark.fault("X03")
def test_control_characters_are_spaces(translator: Translator, translate: Command) -> None:
    encode = translator.tokenizers.source.encode
    for control in CONTROLS:
        for line in (f"{control}A dog sleeps.", f"A{control}dog sleeps.", f"A dog sleeps.{control}"):
            assert encode([line]) == encode(["A dog sleeps."])
    lines = [f"A{control}dog".encode() for control in CONTROLS if control != "\n"] + [b"A dog"]
    found = translate(joined(lines))
    assert len(set(found.out.splitlines())) == 1
    assert found.err == "63 lines contained control characters, which became spaces\n"  # a tab is no fault
    assert translate(joined(lines), "--quiet").err == ""


@pytest.mark.fault("X04")
def test_bytes_that_are_not_utf8_are_replaced(translate: Command) -> None:
    bad = [b"A \xff dog", b"A \xc0\xaf dog", b"A \xed\xa0\x80 dog", b"A dog \xe2\x82"]  # overlong, a surrogate, cut
    texts = [raw.decode("utf-8", "replace").encode() for raw in bad]
    found = translate(b"A dog\n" + b"\n".join(bad))
    assert found.err == "4 lines were not valid UTF-8: invalid bytes became U+FFFD\n"
    assert found.out == translate(b"A dog\n" + b"\n".join(texts)).out
    assert translate(bad[0]).err.startswith("1 line was not")


@pytest.mark.fault("X04")
def test_bytes_that_are_not_utf8_can_be_refused(translate: Command, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes("Größe\nä ".encode() + b"\xfe\n")
    found = translate(b"", "-i", tmp_path / "in", "-o", tmp_path / "out", "--on-bad-utf8", "fail")
    assert found.code == 3 and f"{tmp_path / 'in'}: line 2: byte 4 of the line, 0xfe, is not UTF-8" in found.err
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.fault("X04")
def test_every_short_sequence_is_a_line(translate: Command) -> None:
    """Those of one and two bytes, each a line with a known one behind it."""
    ends = [0x00, 0x0D, 0x41, 0x7F, 0x80, 0x9F, 0xA0, 0xBF, 0xC2, 0xE2, 0xF4, 0xFF]
    raw = [bytes([one]) for one in range(256)] + [bytes([one, two]) for one in range(256) for two in ends]
    raw = [line for line in raw if b"\n" not in line]
    check(translate, raw, "all sequences")


MEGABYTE = 1 << 20


def long_lines(size: int) -> dict[str, str]:
    return {
        "words": "the dog sees a cat " * (size // 19),
        "sentences": "The dog sleeps. " * (size // 16),
        "a word": "x" * size,
        "marks": "a" + "\u0301" * (size // 2),
        "no spaces": "日本語" * (size // 9),
        "commas": "a," * (size // 2),
        "dashes": "- " * (size // 2),
        "a gap": "x" * 99 + " " * size + "y" * 99,
    }


@pytest.mark.parametrize("name", long_lines(0))
@pytest.mark.fault("X05")
def test_cutting_takes_time_in_proportion(translator: Translator, name: str) -> None:
    """Counted in characters that are encoded: seconds depend on the machine."""
    encoded = 0

    def encode(texts: Sequence[str]) -> list[list[int]]:
        nonlocal encoded
        encoded += sum(map(len, texts))
        return translator.tokenizers.source.encode(texts)

    line = long_lines(30_000)[name]
    for most in (7, 63, 511):
        encoded = 0
        parts = split_line(line, encode, most)
        assert all(1 <= len(ids) <= most for ids in parts)
        assert encoded < 25 * len(line)
        whole = translator.tokenizers.source.encode([line])[0]
        text = translator.tokenizers.source.decode([id for ids in parts for id in ids])
        assert text.replace(" ", "") == translator.tokenizers.source.decode(whole).replace(" ", "")


@pytest.mark.fault("X05")
def test_a_long_line_is_one_line(translate: Command) -> None:
    lines = [line for text in long_lines(20_000).values() for line in (text.encode(), b"A dog")] + [b" " * MEGABYTE]
    found = translate(joined(lines), "--format", "jsonl", "--batch-tokens", 2048)
    entries = [json.loads(line) for line in found.out.splitlines()]
    assert [entry["flags"][:1] for entry in entries[:-1:2]] == [["split"]] * (len(lines) // 2)
    assert entries[-1]["flags"] == ["empty"]
    assert len({entry["translation"] for entry in entries[1::2]}) == 1
    assert found.out.count(b"\n") == len(lines)


@pytest.mark.long
@pytest.mark.parametrize("name", long_lines(0))
@pytest.mark.fault("X05")
def test_a_megabyte_takes_little_time_and_memory(translate: Command, name: str) -> None:
    line = long_lines(MEGABYTE - 200)[name].encode()
    translate(line[:1000], "--batch-tokens", 4096)  # compiles
    began = time.process_time()
    with at_most(300):
        found = translate(line, "--batch-tokens", 4096)
    assert (found.code, found.out.count(b"\n")) == (0, 1)
    assert time.process_time() - began < 120


@pytest.mark.fault("X05")
def test_long_lines_can_be_skipped_or_refused(translate: Command, translator: Translator, tmp_path: Path) -> None:
    lines = joined([b"A dog", b"the dog sees " * 40, b"A dog"])
    skipped = translate(lines, "--long", "skip", "--format", "jsonl")
    entries = [json.loads(line) for line in skipped.out.splitlines()]
    assert (entries[1]["translation"], entries[1]["score"], entries[1]["flags"]) == ("", 0.0, ["skipped"])
    assert entries[0]["translation"] == entries[2]["translation"] == alone(translator, "A dog")
    assert skipped.err == "1 line too long: left blank\n"
    refused = translate(lines, "--long", "fail", "-o", tmp_path / "out")
    remedy = "shorten it, or use --long split or --long skip"
    assert refused.code == 3
    assert refused.err == f"error: line 2: more than 64 tokens, the limit of this model; {remedy}\n"
    assert not os.listdir(tmp_path)


@pytest.mark.fault("X05")
def test_lines_of_too_many_bytes_are_not_read(translate: Command) -> None:
    lines = [b"A dog", b"the dog " * 10, b"", b"the dog " * 2 + b"sees"]
    for ends in (b"\n", b"\r\n"):
        for last in (b"", ends):
            found = translate(ends.join(lines) + last, "--max-line-bytes", 20, "--format", "jsonl")
            entries = [json.loads(line) for line in found.out.splitlines()]
            assert ["skipped" in entry["flags"] for entry in entries] == [False, True, False, False]
            assert [bool(entry["source"]) for entry in entries] == [True, False, False, True]
    assert found.err == "1 line too long: left blank\n"
    for size in range(17, 25):
        for end in (b"", b"\n", b"\r\n", b"\nA\n"):
            lines = Input(io.BytesIO(b"x" * size + end), Faults(max_line_bytes=20)).lines()
            assert list(lines) == ["x" * size if size <= 20 else None, *(["A"] if b"A" in end else [])]
    refused = translate(joined([b"A dog", b"the dog " * 10]), "--max-line-bytes", 20, "--long", "fail")
    assert refused.code == 3 and "input: line 2: more than 20 bytes (--max-line-bytes)" in refused.err


@pytest.mark.fault("X06")
def test_the_longest_line_is_not_split_and_one_more_is(translator: Translator) -> None:
    longest = translator.config.max_length
    word = "q"  # a token each, and one for the beginning
    for tokens in range(longest - 2, longest + 3):
        line = word * (tokens - 2)
        assert len(translator.tokenizers.source.encode([line])[0]) + 1 == tokens
        (found,) = translator.translate([line], beam_size=1)
        assert ("split" in found.flags) == (tokens > longest)


@pytest.mark.fault("X07")
def test_any_script_is_translated(translator: Translator) -> None:
    zoo = [
        "שלום عالم",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "\ue000\ue001",
        "\ufdd0\uffff\U0010ffff",
        "\u0378",
        "e" + "\u0301\u0323" * 15,
        "𝔸𝕓ﬁ①",
        "中文。",
    ]
    for line, found in zip(zoo, translator.translate(zoo, beam_size=1), strict=True):
        assert found.source == line and found.hypotheses[0].tokens
        assert "⁇" not in found.text


@pytest.mark.fault("X07")
def test_composed_and_decomposed_characters_are_the_same(translator: Translator) -> None:
    """Where the tokenizer normalises, as it does by default."""
    composed = [chr(code) for code in range(0xA0, 0x2FA1E) if not 0xD800 <= code < 0xE000]
    pairs = [(sign, unicodedata.normalize("NFD", sign)) for sign in composed]
    pairs = [(one, two) for one, two in pairs if one != two and unicodedata.normalize("NFC", two) == one]
    assert len(pairs) > 12_000
    one, two = ([f"a{text}b" for text in side] for side in zip(*pairs, strict=True))
    assert translator.tokenizers.source.encode(one) == translator.tokenizers.source.encode(two)


@pytest.mark.fault("X08")
def test_what_is_typed_is_never_a_control_symbol(translator: Translator) -> None:
    source = translator.tokenizers.source
    controls = {source.pad_id, source.bos_id, source.eos_id, source.unk_id}
    special = [source.pieces([index])[0] for index in sorted(controls)] + ["▁", "<0x0A>", "⁇", "<2de>", "__de__", "@@"]
    lines = []
    for piece in special:
        for line in (piece, f"A {piece} dog", f"{piece}A dog", f"A dog{piece}", f"{piece}{piece}", f"A\0{piece}\u2028"):
            (ids,) = source.encode([line])
            assert not controls & set(ids)
            lines += [line, SENTENCES[0]]
    found = [translation.text for translation in translator.translate(lines, beam_size=1)]
    assert set(found[1::2]) == {alone(translator, SENTENCES[0])}
    assert all(text for line, text in zip(lines, found, strict=True) if "dog" in line)


@pytest.mark.fault("X09", "X10", "X11")
def test_only_lf_ends_a_line(translate: Command) -> None:
    lines = [b"A dog", b"", b"A cat sleeps."]
    out = translate(joined(lines)).out
    assert translate(b"\r\n".join(lines) + b"\r\n").out == translate(b"\n".join(lines)).out == out
    assert b"\r" not in out and out.endswith(b"\n")
    for mark in BREAKS:
        marked = translate(f"A{mark}dog\n\nA cat{mark}sleeps.".encode())
        assert marked.out == out


# Fuzz


def fuzz(rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Lines of every kind of nonsense, without LF."""
    special = ["<s>", "</s>", "<pad>", "<unk>", "<0x0A>", "▁", "⁇", *BREAKS, *ODD, *CONTROLS]
    for _ in range(count):
        kind = rng.integers(6)
        sentence = SENTENCES[rng.integers(len(SENTENCES))]
        if kind == 0:
            line = rng.bytes(rng.integers(0, 24))
        elif kind == 1:
            line = bytearray(sentence.replace("a", "ä").encode())
            for place in rng.integers(0, len(line), 3):
                line[place] = rng.integers(256)
        elif kind == 2:
            line = "".join(word + special[rng.integers(len(special))] for word in sentence.split()).encode()
        elif kind == 3:
            line = "".join(special[place] for place in rng.integers(0, len(special), rng.integers(0, 6))).encode()
        elif kind == 4:
            line = "".join(map(chr, rng.integers(0, 0xD800, 4))).encode()
        else:
            line = (sentence.encode() + rng.bytes(2)) * (1 if rng.integers(50) else 30)
        yield bytes(line).replace(b"\n", b"")


def check(translate: Command, lines: Sequence[bytes], seed: object, every: int = 4) -> None:
    """Known sentences between the lines come out as alone, and every reader counts as many lines as went in."""
    known = [sentence.encode() for sentence in SENTENCES]
    mixed: list[bytes] = []
    for number, line in enumerate(lines):
        mixed += [line, known[number % len(known)]] if number % every == 0 else [line]
    found = translate(joined(mixed), "--quiet")
    assert (found.code, found.err) == (0, ""), f"seed {seed}"
    counts = [found.out.count(b"\n"), len(found.out.splitlines()), len(found.out.decode().splitlines())]
    wc = subprocess.run(["wc", "-l"], input=found.out, capture_output=True, check=True)
    assert [*counts, int(wc.stdout)] == [len(mixed)] * 4, f"seed {seed}"
    out = found.out.decode().split("\n")
    assert not set(found.out.decode()) & {control for control in CONTROLS if control != "\n"}, f"seed {seed}"
    expected = dict(zip(known, translate(joined(known)).out.decode().split("\n"), strict=False))
    for line, text in zip(mixed, out, strict=False):
        assert line not in expected or text == expected[line], f"seed {seed}: {line!r}"


@pytest.mark.fault("X22")
def test_ten_thousand_faulty_lines(translate: Command, translator: Translator) -> None:
    seed = 1
    lines = list(fuzz(np.random.default_rng(seed), 10_000))
    check(translate, lines, seed)
    for sentence, text in zip(
        SENTENCES, translate("\n".join(SENTENCES).encode()).out.decode().split("\n"), strict=False
    ):
        assert alone(translator, sentence) == text


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100))
@pytest.mark.fault("X22")
def test_a_million_faulty_lines(translate: Command, seed: int) -> None:
    check(translate, list(fuzz(np.random.default_rng(1000 + seed), 10_000)), 1000 + seed)

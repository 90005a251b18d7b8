"""What can go wrong when lines are translated, by the ids of the fault catalogue (X01 to X25)."""

import gzip
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from memory import at_most
from streams import windows_of
from transformer.cli import main as door
from transformer.cli.input import Faults, Input
from transformer.cli.output import Output, open_output
from transformer.data.clauses import clauses
from transformer.errors import DataError
from transformer.translation import translator as module
from transformer.translation import windows
from transformer.translation.model_config import max_target_length
from transformer.translation.model_dir import save_model
from transformer.translation.segments import split_line
from transformer.translation.translator import Translator

pytestmark = pytest.mark.mixed_dtypes

ROOT = Path(__file__).parents[1]
FULL = "error: the output: cannot be written: {}; free some space, and run the same command again\n"
SENTENCES = [english for english, _ in clauses("test", 60) if len(english) < 30][:6]  # of few lengths
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
BREAKS = "\r\0\v\f\x1c\x1d\x1e\x85\u2028\u2029"
ODD = ["\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff", "\ufffd", "\ufdd0", "\ue000", "\U0001f468", "\u0301", "\u05d0"]


class Result(NamedTuple):
    code: int
    out: bytes
    err: str


Command = Callable[..., Result]


@pytest.fixture(scope="module")
def model_dir(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    save_model(path, translator.model, translator.tokenizers, translator.config)
    return path


@pytest.fixture
def translate(
    model_dir: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """The command in this process. Greedy: there are fewer programs to compile."""

    def call(stdin: bytes | None, *words: object, model: Path = model_dir) -> Result:
        monkeypatch.setattr(sys, "stdin", None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        caplog.clear()
        code = door.main(["translate", "--model", str(model), "--beam-size", "1", *map(str, words)])
        out, err = capsysbinary.readouterr()
        warnings = [f"{entry.message}\n" for entry in caplog.records if entry.levelname == "WARNING"]  # on stderr too
        return Result(code, out, err.decode() + "".join(warnings))

    return call


def alone(translator: Translator, line: str) -> str:
    return next(translator.translate([line], beam_size=1)).text


def joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


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


# Streams and signals


def process(model_dir: Path, *words: object, **streams: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "translate.py"), "--model", str(model_dir), "--quiet", "--beam-size", "1"]
    return subprocess.Popen([*command, *map(str, words)], cwd=ROOT, **streams)


@pytest.mark.fault("X12")
def test_a_command_ends_with_its_reader(model_dir: Path) -> None:
    """At once and without a word, though it has nothing to write: its next batch may take long."""
    pipe = subprocess.PIPE
    with process(model_dir, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as running:
        running.stdin.write(b"A dog sleeps.\n")
        assert running.stdout.readline().endswith(b"\n")
        running.stdout.close()
        assert running.wait(5) == 141
        assert running.stderr.read() == b""


@pytest.mark.fault("X14")
def test_sigterm_leaves_whole_lines(model_dir: Path, translate: Command) -> None:
    lines = b"A dog sleeps.\nA cat\n" * 50_000
    whole = translate(b"A dog sleeps.\nA cat\n").out * 50_000
    pipe = subprocess.PIPE
    with process(model_dir, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        os.set_blocking(running.stdin.fileno(), False)
        out = b""
        given = 0
        while out.count(b"\n") < 3000:
            if given < len(lines) and select.select([], [running.stdin], [], 0.01)[1]:
                given += os.write(running.stdin.fileno(), lines[given : given + 4096])
            if select.select([running.stdout], [], [], 0.01)[0]:
                out += os.read(running.stdout.fileno(), 1 << 16)
        running.terminate()
        rest, err = running.communicate()
        assert (running.returncode, err) == (143, b"")
    assert whole.startswith(out + rest) and (out + rest).endswith(b"\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.fault("X14")
def test_a_signal_waits_for_what_is_being_written(number: int, code: int) -> None:
    class Signalled(io.BytesIO):
        def write(self, content: bytes) -> int:
            super().write(content[:3])
            signal.raise_signal(number)
            return 3 + super().write(content[3:])

    stream = Signalled()
    handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    outside = signal.signal(number, handler)  # a shell's background job has SIGINT ignored, and that would stay so
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end, Output(stream).handling_signals() as output:
        output.write(b"a line\n")
    assert (end.value.code, stream.getvalue()) == (code, b"a line\n")
    with pytest.raises(SystemExit) as end, Output(io.BytesIO()).handling_signals():
        signal.raise_signal(number)
    assert end.value.code == code
    assert signal.getsignal(number) is before
    signal.signal(number, outside)


@pytest.mark.fault("X14")
def test_a_signal_in_a_callback_of_jax_is_obeyed_at_the_next_line() -> None:
    """Nothing that is raised there is heard of, but for a traceback on stderr."""

    def _xla_gc_callback() -> None:
        signal.raise_signal(signal.SIGTERM)

    outside = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(SystemExit) as end, Output(io.BytesIO()).handling_signals() as output:
        _xla_gc_callback()
        output.raise_if_stopped()
    assert end.value.code == 143
    signal.signal(signal.SIGTERM, outside)


@pytest.mark.parametrize("command", ["translate", "evaluate", "score"])
@pytest.mark.fault("X14")
def test_a_signal_while_programs_are_compiled_ends_it_quietly(model_dir: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "in").write_text("A dog sleeps.\n" * 40)
    files = {
        "translate": ["-i", "in", "-o", "out"],
        "evaluate": ["--source", "in", "--reference", "in"],
        "score": ["--source", "in", "--target", "in", "-o", "out"],
    }[command]
    words = [sys.executable, "-c", COMPILING, command, "--model", str(model_dir), *files]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (143, b"", b"")
    assert os.listdir(tmp_path) == ["in"]


COMPILING = """
import os, signal, sys, threading
from jax._src import compiler
from transformer.cli.main import exit_process, main
from transformer.translation.translator import Translator
compiled, load = compiler.backend_compile_and_load, Translator.load
def signalled(*words, **options):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    return compiled(*words, **options)
def loaded(path):
    translator = load(path)
    compiler.backend_compile_and_load = signalled
    return translator
Translator.load = staticmethod(loaded)
exit_process(main(sys.argv[1:]))
"""


@pytest.mark.fault("X13")
def test_nothing_is_lost_without_a_buffer(model_dir: Path, translate: Command, tmp_path: Path) -> None:
    """PYTHONUNBUFFERED, and a disk that takes a part of what is written."""
    lines = b"A dog sleeps.\n" * 300
    (tmp_path / "in").write_bytes(lines)
    whole = translate(lines).out
    size = len(whole) // 2
    words = [str(size), "translate", "--model", str(model_dir), "--quiet", "--beam-size", "1", "-i", "in"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # its files would be cut too
    with open(tmp_path / "out", "wb") as out:
        run = subprocess.run(
            [sys.executable, "-c", LITTLE_ROOM, *words],
            cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (run.returncode, run.stderr) == (4, FULL.format("File too large").encode())
    assert (tmp_path / "out").read_bytes() == whole[:size]


LITTLE_ROOM = """
import resource, sys
from transformer.cli.main import exit_process, main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
exit_process(main(sys.argv[2:]))
"""


@pytest.mark.fault("X14")
def test_the_exit_code_does_not_depend_on_who_reads_stderr(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, str(ROOT / "translate.py"), "--model", str(tmp_path)]
    assert subprocess.run(words, stderr=writer, check=False).returncode == 2
    os.close(writer)
    with open("/dev/full", "wb") as full:
        assert subprocess.run(words, stderr=full, check=False).returncode == 2


@pytest.mark.parametrize("platform", ["cuda", "foo"])
def test_devices_that_are_not_there_are_told(model_dir: Path, platform: str) -> None:
    words = [sys.executable, str(ROOT / "translate.py"), "--model", str(model_dir)]
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    run = subprocess.run(words, env=environment, input=b"A dog\n", capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (4, b"")
    assert run.stderr.splitlines()[-1].startswith(f"error: JAX_PLATFORMS={platform}: JAX finds no such".encode())
    assert b"Traceback" not in run.stderr


@pytest.mark.fault("X14")
def test_a_signal_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Output(io.BytesIO()).handling_signals() as output:
            signal.raise_signal(signal.SIGINT)
            output.write(b"a\n")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.fault("X15")
def test_a_killed_command_leaves_no_half_file(model_dir: Path, translate: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with process(model_dir, "-o", out, stdin=subprocess.PIPE, bufsize=0) as running:
        running.stdin.write(b"A dog sleeps.\n")
        unfinished = tmp_path / "out.unfinished"
        while not (unfinished.exists() and unfinished.stat().st_size):
            time.sleep(0.02)
        running.kill()
    assert not out.exists()
    assert translate(b"A dog sleeps.\n", "-o", out).code == 0
    assert os.listdir(tmp_path) == ["out"] and out.read_bytes().count(b"\n") == 1
    assert "the output and an input" in translate(b"", "-i", out, "-o", out).err
    assert translate(b"", "-i", out, "-o", out).code == 2


@pytest.mark.fault("X15")
def test_the_disk_has_the_file_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_size))
    replaced = os.replace
    monkeypatch.setattr(os, "replace", lambda one, two: (done.append("name"), replaced(one, two)))
    with open_output(str(tmp_path / "out")) as output:
        output.write(b"line\n")
    assert done == [5, "name"]


@pytest.mark.fault("X16")
def test_half_a_line_keeps_nobody_waiting() -> None:
    descriptor, writer = os.pipe()
    with open(descriptor, "rb") as stream, open(writer, "wb", buffering=0) as pipe:
        read_windows = windows_of(Input(stream, patience=0.3), 10)
        pipe.write(b"A dog\n")
        threading.Timer(0.05, lambda: pipe.write(b"A c")).start()
        threading.Timer(2, lambda: pipe.write(b"at\n")).start()
        began = time.monotonic()
        assert next(read_windows) == ["A dog"]
        assert time.monotonic() - began < 1.5
        assert next(read_windows) == ["A cat"]


@pytest.mark.fault("X16")
def test_a_terminal_gets_its_answers_line_by_line() -> None:
    master, slave = os.openpty()
    with open(slave, "rb") as stream, open(master, "wb", buffering=0) as typed:
        read_windows = windows_of(Input(stream, patience=0.001), 10)
        for line in ("A dog", "", "A cat"):
            typed.write(f"{line}\n".encode())
            assert next(read_windows) == [line]
        typed.write(b"no LF\x04\x04")  # Ctrl-D
        assert list(read_windows) == [["no LF"]]


# Models


@pytest.mark.fault("X17")
def test_places_without_a_model_are_told(translate: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name in ("none", "file", "empty"):
        found = translate(b"A dog\n", model=tmp_path / name)
        assert (found.code, found.out) == (2, b"")
        assert re.fullmatch(rf"error: {tmp_path / name}: no model here; expected a run directory.*\n", found.err)


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("9.1.0", "written by transformer-translation 9.1.0: install that version or a newer one"),
        ("x\nerror", "install another version of transformer-translation"),
    ],
)
@pytest.mark.fault("X18")
def test_a_newer_format_says_what_to_install(
    translate: Command, model_dir: Path, tmp_path: Path, version: str, advice: str
) -> None:
    manifest = json.loads((model_dir / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": 999, "version": version}))
    found = translate(b"A dog\n", model=tmp_path)
    assert found.code == 2 and "model format 999, this version reads 1; " in found.err and advice in found.err
    assert found.err.count("\n") == 1


# The same for everybody


@pytest.mark.fault("X21")
def test_a_model_that_never_ends_is_stopped(translator: Translator) -> None:
    settings, model = translator.config.decode, translator.config.model
    lines = [SENTENCES[0], "\ue000" * 3, "q" * 9, "1 2 3"]
    for options in ({"beam_size": 1}, {"beam_size": 3, "n_best": 3}):
        for found in translator.translate(lines, **options):
            tokens = len(translator.tokenizers.source.encode([found.source])[0]) + 1
            assert all(len(one.tokens) <= max_target_length(tokens, settings, model) for one in found.hypotheses)


@pytest.mark.fault("X22")
def test_lines_keep_their_order_and_equal_lines_are_equal(translate: Command) -> None:
    order = np.random.default_rng(1).integers(0, len(SENTENCES), 300)
    once = translate("\n".join(SENTENCES).encode()).out.splitlines()
    assert translate("\n".join(SENTENCES[i] for i in order).encode()).out.splitlines() == [once[i] for i in order]


@pytest.mark.fault("X23")
def test_neighbours_order_and_stream_change_nothing(translate: Command, tmp_path: Path) -> None:
    """Neither text nor score; another --batch-tokens may change the last bits of scores, and no text here."""
    lines = [sentence.encode() for sentence in SENTENCES] + [b"the dog " * 40, b"\xff", b""]
    objects = [json.loads(line) for line in translate(joined(lines), "--format", "jsonl").out.splitlines()]
    said = {entry["source"]: (entry["translation"], entry["score"], entry["flags"]) for entry in objects}
    for seed in range(3):
        mixed = joined([lines[i] for i in np.random.default_rng(seed).permutation(len(lines) * 3) % len(lines)])
        (tmp_path / "in.gz").write_bytes(gzip.compress(mixed))
        for found in (
            translate(mixed, "--format", "jsonl"),
            translate(b"", "-i", tmp_path / "in.gz", "--format", "jsonl"),
        ):
            for entry in map(json.loads, found.out.splitlines()):
                assert (entry["translation"], entry["score"], entry["flags"]) == said[entry["source"]], f"seed {seed}"
    other = translate(joined(lines[:6]), "--format", "jsonl", "--batch-tokens", 64).out.splitlines()
    for entry in map(json.loads, other):
        assert entry["translation"] == said[entry["source"]][0]
        assert entry["score"] == pytest.approx(said[entry["source"]][1], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.fault("X23")
def test_a_thousand_sentences_in_batches_of_other_sizes(translate: Command, beam: int) -> None:
    lines = joined([english.encode() for english, _ in clauses("test", 1000)])
    found = [translate(lines, "--beam-size", beam, "--batch-tokens", size).out.split(b"\n") for size in (256, 64, 2048)]
    assert len(found[0]) == 1001
    for other in found[1:]:
        assert sum(a != b for a, b in zip(found[0], other, strict=True)) <= 1


@pytest.mark.fault("X24")
def test_windows_are_bounded_in_bytes() -> None:
    read = 0

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            nonlocal read
            buffer[:] = b"x" * (len(buffer) - 1) + (b"\n" if read >> 20 != (read + len(buffer)) >> 20 else b"x")
            read += len(buffer)
            return len(buffer)

    read_windows = windows_of(Input(io.BufferedReader(Endless()), Faults(max_line_bytes=2 << 20)))
    for number in (1, 2, 3):
        window = next(read_windows)
        assert sum(len(line or "") for line in window) < 3 << 20
        assert read < (number * 3) << 20


@pytest.mark.fault("X24")
def test_a_line_without_end_is_not_held_in_memory() -> None:
    import tracemalloc

    stream = io.BytesIO(b"x" * (50 << 20) + b"\nA dog\n")
    tracemalloc.start()
    try:
        assert list(windows_of(Input(stream), 10)) == [[None, "A dog"]]
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.fault("X24")
def test_a_translator_takes_few_long_lines_at_a_time(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "CHARACTERS", 19)
    taken = []

    def lines() -> Iterator[str]:
        for line in ("A dog", "", "A cat sleeps.", "A", "A man"):
            taken.append(line)
            yield line

    found = translator.translate(lines(), beam_size=1)
    assert [next(found).source, len(taken)] == ["A dog", 4]
    assert len(list(found)) == 4


@pytest.mark.long
@pytest.mark.fault("X24")
def test_memory_does_not_grow_with_the_input(translate: Command, tmp_path: Path) -> None:
    lines = joined([sentence.encode() for sentence in SENTENCES])
    for count in (5_000, 20_000):
        (tmp_path / "in").write_bytes(lines * count)
        with at_most(1000 if count == 5_000 else 20):
            assert translate(b"", "-i", tmp_path / "in", "-o", tmp_path / "out").code == 0


BARE = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "urllib.Request"):
        os._exit(99)
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) and isinstance(arguments[0], str):
        opened.append(arguments[0])
opened = []
sys.addaudithook(watch)
sys.path.insert(0, sys.argv[3])
from transformer.cli.main import main
words = ["translate", "--model", sys.argv[1], "--quiet", "--beam-size", "1"]
assert main([*words, "-i", "in", "-o", sys.argv[2]]) == 0
strange = [path for path in opened if path != sys.argv[2] + ".unfinished" and not path.startswith("/dev/")]
assert not strange, strange
sys.exit(main([*words, "-i", "in"]))
"""


@pytest.mark.fault("X13", "X25", "M04")
def test_a_bare_environment_without_network_and_a_full_output(
    model_dir: Path, translate: Command, tmp_path: Path
) -> None:
    """No variables but a home that cannot be written to, no network, and a stdout that is full."""
    (tmp_path / "in").write_bytes(b"A dog\nGr\xc3\xbc\xc3\x9fe\n")
    offline = ["unshare", "-rn"]
    if subprocess.run([*offline, "true"], capture_output=True, check=False).returncode:
        offline = []
    command = [sys.executable, "-B", "-c", BARE, str(model_dir), str(tmp_path / "out"), str(ROOT)]
    environment = {"HOME": "/dev/null/home", "JAX_PLATFORMS": "cpu"}
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [*offline, *command], cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    said = run.stderr.decode().splitlines()
    assert (run.returncode, said[-1:]) == (4, [FULL.format("No space left on device").strip()])
    assert "Traceback" not in run.stderr.decode() and "Exception ignored" not in run.stderr.decode()
    assert (tmp_path / "out").read_bytes() == translate((tmp_path / "in").read_bytes()).out
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


@pytest.mark.fault("X13")
def test_closed_streams_are_told(translate: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        code = door.main(["translate", "--model", str(tmp_path)])
    assert code == 2
    with monkeypatch.context() as patch, pytest.raises(Exception, match="stdout is closed"):
        patch.setattr(sys, "stdout", None)
        open_output("-").__enter__()


def test_long_and_bad_lines_fail_as_data(translator: Translator) -> None:
    with pytest.raises(DataError, match=r"^line 12: more than 64 tokens"):
        list(translator.translate(["A dog", "the dog " * 60], long="fail", first_line=10))

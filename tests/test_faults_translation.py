"""What can go wrong with the model that translates, and what is the same for every line, by the ids of
docs/reliability.md."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from memory import at_most
from streams import windows_of
from transformer.cli import main as door
from transformer.cli.input import Faults, Input
from transformer.cli.output import open_output
from transformer.data.clauses import clauses
from transformer.errors import DataError
from transformer.translation import windows
from transformer.translation.model_config import max_target_length
from transformer.translation.translator import Translator
from translating import FULL, ROOT, SENTENCES, Command, joined

pytestmark = pytest.mark.mixed_dtypes


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

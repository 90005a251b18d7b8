"""Models given to CTranslate2, another program with the same mathematics: it says the same."""

import importlib
import json
import os
import re
import resource
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import ctranslate2
import numpy as np
import pytest

from numpy_marian import TAGS, change_json, change_tensors, write_folder
from random_models import random_translator
from transformer.cli import main as door
from transformer.commands.export import QUANTIZATIONS
from transformer.config import Tokenizer as Settings
from transformer.data.clauses import clauses
from transformer.data.corpus import Pair
from transformer.data.lines import without_controls
from transformer.data.tokenizer import Tokenizers
from transformer.data.tokenizer_training import train_tokenizers
from transformer.data.vocabulary import ImportedTokenizer, Vocabulary
from transformer.interop.agreement import agreement
from transformer.interop.ctranslate2.export import CTranslate2, exporter
from transformer.model.parameters import named
from transformer.translation.model_dir import save_model
from transformer.translation.scoring import score
from transformer.translation.translator import Translator

pytestmark = pytest.mark.mixed_dtypes

SOURCES = ("Does she carry", "Do you arrive", "His shirt is", "Who calls your", "In the evening", "The princes who")
LINES = [*SOURCES, "They see it."]
PAIRS = [Pair(line, target[:12]) for line, (_, target) in zip(LINES, clauses("test", 7), strict=True)]
SHAPES: list[dict[str, Any]] = [  # each value of each setting
    {"norm": "pre", "tie_embeddings": "all", "activation": "relu"},
    {
        "norm": "post", "tie_embeddings": "decoder", "activation": "gelu", "positions": "learned",
        "output_bias": True, "scale_embeddings": False, "norm_epsilon": 1e-3, "seed": 3, "end": 0, "rise": 3,
    },
    {"norm": "post", "tie_embeddings": "none", "activation": "silu", "output_bias": True, "norm_epsilon": 1e-6,
     "seed": 3},
    {
        "norm": "pre", "tie_embeddings": "none", "activation": "gelu", "positions": "learned",
        "scale_embeddings": False, "norm_epsilon": 0.1, "end": 0, "rise": 4,
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def separate() -> Tokenizers:
    english, german = zip(*clauses("train", 300), strict=True)
    return train_tokenizers(english, german, Settings(vocab_size=330, shared=False))


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: f"{shape['norm']}-{shape['tie_embeddings']}")
def ours(request: pytest.FixtureRequest, tokenizers: Tokenizers) -> Translator:
    return random_translator(tokenizers, **request.param)


@pytest.fixture(scope="module")
def exported(ours: Translator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ctranslate2") / "model"
    exporter(ours.model, ours.tokenizers, ours.config)(path)
    return path


def pieces(ours: Translator, lines: list[str]) -> list[list[str]]:
    tokenizer = ours.tokenizers.source
    return [tokenizer.pieces(ids) for ids in tokenizer.encode(lines)]


# The same


def test_log_probabilities_of_tokens_are_the_same(ours: Translator, exported: Path) -> None:
    scored = score(ours, PAIRS)
    theirs = ctranslate2.Translator(str(exported)).score_batch(
        pieces(ours, LINES), [list(one.tokens[:-1]) for one in scored]
    )
    for one, other in zip(scored, theirs, strict=True):
        assert list(one.tokens) == other.tokens
        np.testing.assert_allclose(one.token_log_probabilities, other.log_probs, atol=1e-4, rtol=0)
    everything = np.concatenate([one.token_log_probabilities for one in scored])
    assert everything.std() > 0.5


def test_translations_are_the_same(ours: Translator, exported: Path) -> None:
    """Greedy ones to their limit; of a beam, those that end before it."""
    their = ctranslate2.Translator(str(exported))
    for one, other in zip(
        ours.translate(LINES, beam_size=1),
        their.translate_batch(pieces(ours, LINES), beam_size=1, max_decoding_length=40, min_decoding_length=0),
        strict=True,
    ):
        tokens = one.hypotheses[0].tokens[:-1]
        assert tokens == tuple(other.hypotheses[0][: len(tokens)])
        assert "limit" in one.flags or len(tokens) == len(other.hypotheses[0])
    options = {"beam_size": 4, "max_decoding_length": 40, "min_decoding_length": 0, "return_scores": True}
    ending = 0
    for one, other in zip(ours.translate(LINES), their.translate_batch(pieces(ours, LINES), **options), strict=True):
        if "limit" not in one.flags:
            ending += 1
            assert one.hypotheses[0].tokens[:-1] == tuple(other.hypotheses[0])
            assert abs(one.score - other.scores[0]) < 1e-4
    assert ending > 2


def test_the_check_of_the_command_finds_them_the_same(ours: Translator, exported: Path) -> None:
    found = agreement(ours, CTranslate2(exported, ours.tokenizers, ours.config), LINES)
    assert not found.fault(exact=True) and found.sentences and found.tokens
    assert found.equal == {1: found.sentences, 4: found.sentences}


def test_two_vocabularies_travel(separate: Tokenizers, tmp_path: Path) -> None:
    ours = random_translator(separate, **SHAPES[2])
    exporter(ours.model, separate, ours.config)(tmp_path / "out")
    test_log_probabilities_of_tokens_are_the_same(ours, tmp_path / "out")
    test_the_vocabulary_travels(ours, tmp_path / "out")


def test_the_vocabulary_travels(ours: Translator, exported: Path) -> None:
    for name, tokenizer in (("source", ours.tokenizers.source), ("target", ours.tokenizers.target)):
        path = exported / "shared_vocabulary.json"
        path = path if path.exists() else exported / f"{name}_vocabulary.json"
        assert json.loads(path.read_text()) == tokenizer.pieces(range(tokenizer.vocab_size))
    again = Tokenizers.load(exported)
    assert again.shared == ours.tokenizers.shared
    assert (again.source.identity, again.target.identity) == (
        ours.tokenizers.source.identity, ours.tokenizers.target.identity
    )  # fmt: skip


def test_a_wrong_number_is_seen(tokenizers: Tokenizers, tmp_path: Path) -> None:
    """The bound is tight enough for a weight that is off by a hundredth."""
    ours = random_translator(tokenizers, **SHAPES[0])
    exporter(ours.model, ours.tokenizers, ours.config)(tmp_path / "out")
    kernel = ours.model.encoder.self_attention.value.kernel
    values = np.array(kernel[...])
    values[0, 0, 0] += 0.01
    kernel[...] = values
    found = agreement(ours, CTranslate2(tmp_path / "out", tokenizers, ours.config), LINES)
    assert found.difference > 1e-4 and "log-probability" in found.fault(exact=True)


# What stands beside it


def run_note(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[str, dict[str, Any]]:
    """What the block of README.md prints, and its names."""
    (block,) = re.findall(r"```python\n(.*?)```", (directory / "README.md").read_text("utf8"), re.DOTALL)
    monkeypatch.chdir(directory)
    names: dict[str, Any] = {}
    capsys.readouterr()
    exec(compile(block, "README.md", "exec"), names)
    return capsys.readouterr().out, names


def test_the_note_runs_as_it_stands(
    ours: Translator, exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed, names = run_note(exported, monkeypatch, capsys)
    lines = ["A line.", *LINES]
    found = list(ours.translate(lines))
    texts = names["translate"](lines)
    assert printed == f"{texts[0]}\n"
    for one, text in zip(found, texts, strict=True):
        assert "limit" in one.flags or one.text == without_controls(text).strip()


def test_no_translation_is_asked_to_be_longer_than_there_are_positions(tokenizers: Tokenizers, tmp_path: Path) -> None:
    settings = {"positions": "learned", "max_positions": 31}
    ours = random_translator(tokenizers, **settings)
    exporter(ours.model, tokenizers, ours.config)(tmp_path / "out")
    assert "max_decoding_length=31," in (tmp_path / "out" / "README.md").read_text()


# A model of other hands


@pytest.fixture
def of_opus(tmp_path: Path) -> Path:
    """An imported folder of Marian's, and lines that have a tag."""
    write_folder(tmp_path / "folder")
    size = json.loads((tmp_path / "folder" / "config.json").read_text())["vocab_size"]
    change_json(tmp_path / "folder" / "generation_config.json", {"early_stopping": True})
    bias = np.zeros((1, size), np.float16)
    bias[0, [0, 1, -1]] = 4, -20, -20  # translations end, and neither <unk> nor <pad> is what they come near to
    bias[0, -3:-1] = -20  # the tags, which the note would show
    change_tensors(tmp_path / "folder", lambda tensors: tensors.update(final_logits_bias=bias))
    (tmp_path / "nothing").write_text("")
    words = ["import", tmp_path / "folder", tmp_path / "model", "--from", "marian", "--check", tmp_path / "nothing"]
    assert door.main([str(word) for word in words]) == 0
    return tmp_path / "model"


def test_tags_and_a_vocabulary_of_its_own(
    of_opus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, out = Translator.load(of_opus), tmp_path / "out"
    exporter(ours.model, ours.tokenizers, ours.config)(out)
    lines = [f">>deu<<{LINES[0]}", *(f">>fra<< {line}" for line in LINES), *LINES[:4], ">> quoted", ">>fra<< ☃ <pad>"]
    found = agreement(ours, CTranslate2(out, ours.tokenizers, ours.config), lines)
    assert not found.fault(exact=True)
    assert found.equal == {1: found.sentences, 4: found.sentences} and found.sentences > 10
    printed, names = run_note(out, monkeypatch, capsys)
    texts = names["translate"](lines)
    assert printed == f"{names['translate']([f'{TAGS[0]} A line.'])[0]}\n"
    ending = [pair for pair in zip(ours.translate(lines), texts, strict=True) if "limit" not in pair[0].flags]
    assert all(one.text == text for one, text in ending) and len({text for _, text in ending}) > 1
    known = set(ours.tokenizers.source.pieces(range(ours.config.source_vocabulary)))
    asked = Mock()
    asked.translate_batch.return_value = []
    names["translator"] = asked
    names["translate"](lines)
    (tokens,) = asked.translate_batch.call_args.args
    assert [[piece if piece in known else "<unk>" for piece in line] for line in tokens] == pieces(ours, lines)
    names_of_sides = {f"{side}{end}" for side in ("source", "target") for end in (".spm", ".vocabulary.json")}
    assert {path.name for path in out.iterdir()} - names_of_sides == {
        "README.md", "config.json", "model.bin", "shared_vocabulary.json"
    }  # fmt: skip


def test_a_tag_of_strangers_is_no_program(tokenizers: Tokenizers, tmp_path: Path) -> None:
    ours = random_translator(tokenizers)
    tag = '>>"]) + [open("x", "w")] + (["\\<<'
    pieces = tokenizers.source.pieces(range(tokenizers.source.vocab_size))
    pieces[300] = tag
    own = ImportedTokenizer(
        tokenizers.source.model_bytes,
        Vocabulary(pieces=tuple(pieces), pad=0, start=1, end=2, unknown=3, never=(0, 1)),
    )
    card = ours.config.model_copy(update={"source": "en\n```python\nraise"})
    exporter(ours.model, Tokenizers(own, own), card)(tmp_path / "out")
    (block,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text("utf8"), re.DOTALL)
    (said,) = re.findall(r"^for line in translate\(\[(.*)\]\):$", block, re.MULTILINE)
    assert json.loads(said) == f"{tag} A line."


# Precisions


@pytest.mark.parametrize("quantization", [name for name in QUANTIZATIONS if "bfloat16" not in name])
def test_each_precision_loads_and_translates(tokenizers: Tokenizers, tmp_path: Path, quantization: str) -> None:
    ours = random_translator(tokenizers, **SHAPES[0])
    before = {name: np.array(values) for name, values in named(ours.model).items()}
    exporter(ours.model, tokenizers, ours.config, quantization)(tmp_path / "out")
    for name, values in named(ours.model).items():
        np.testing.assert_array_equal(values, before[name])
    numbers = sum(values.size for values in before.values()) + 1024 * 16  # and the positions
    size = (tmp_path / "out" / "model.bin").stat().st_size
    assert (size > 3.5 * numbers) == (quantization == "float32")
    found = agreement(ours, CTranslate2(tmp_path / "out", tokenizers, ours.config), LINES)
    # Where the processor has nothing better, CTranslate2 computes integers of 16 bits with 8, and those saturate.
    bound = {"float32": 1e-5, "float16": 0.02}.get(quantization, 2.0)
    assert found.difference < bound and (found.difference > 1e-4) == (quantization != "float32")


# The command


@pytest.fixture
def model(tmp_path: Path, tokenizers: Tokenizers) -> Path:
    ours = random_translator(tokenizers, **SHAPES[0])
    save_model(tmp_path / "model", ours.model, tokenizers, ours.config)
    (tmp_path / "lines").write_text("".join(f"{line}\n" for line in [*LINES, ""]))
    return tmp_path / "model"


def command(model: Path, out: Path, *more: object) -> list[str]:
    words = ["export", out, "--model", model, "--to", "ctranslate2", "--check", model.with_name("lines"), *more]
    return [str(word) for word in words]


def fails(capsys: pytest.CaptureFixture[str], words: list[str], code: int = 2) -> str:
    capsys.readouterr()
    assert door.main(words) == code
    out, told = capsys.readouterr()
    assert out == "" and told.startswith("error: ") and told.count("\n") == 1
    return told


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_it_is_written_checked_and_told(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "out").mkdir()
    for name in ("out", "deep/again"):
        assert door.main(command(model, tmp_path / name)) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "deep" / "again")
    size = sum(map(len, contents(tmp_path / "out").values())) / 1e6
    told = [message for message in caplog.messages if "JAX" not in message]
    assert told[0] == f"exported {model} to {tmp_path / 'out'}: {size:.2f} MB"
    assert re.fullmatch(
        r"checked against CTranslate2 \S+: (\d+) of \1 translations are equal with greedy decoding,"
        r" (\d+) of \2 translations are equal with a beam of 4; log-probabilities of \d+ tokens within \S+",
        told[1],
    )
    assert len(told) == 4 and sorted(os.listdir(tmp_path)) == ["deep", "lines", "model", "out"]


def test_nothing_compared_is_reported(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "lines").write_text("\n \n")
    assert door.main(command(model, tmp_path / "out")) == 0
    assert "log-probabilities of 0 tokens" in caplog.text and "no line of the 2 lines" in caplog.text


def test_refusals_come_before_anything_is_written(
    model: Path, tmp_path: Path, tokenizers: Tokenizers, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert "exists" in fails(capsys, command(model, tmp_path / "full"))
    assert "is inside" in fails(capsys, command(model, model / "inside"))
    assert "no model here" in fails(capsys, command(tmp_path / "none", tmp_path / "out"))
    assert "no such file" in fails(capsys, [*command(model, tmp_path / "out"), "--check", f"{tmp_path}/no"], code=3)
    assert "--quantization" in fails(capsys, command(model, tmp_path / "out", "--quantization", "int4"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("symbol", ["end", "unknown"])
def test_two_names_of_a_symbol_are_refused(
    tokenizers: Tokenizers, tmp_path: Path, capsys: pytest.CaptureFixture[str], symbol: str
) -> None:
    pieces = tokenizers.source.pieces(range(tokenizers.source.vocab_size))
    ids = {"pad": 0, "start": 1, "end": 2, "unknown": 3}
    was, pieces[ids[symbol]] = pieces[ids[symbol]], "<other>"
    vocabulary = Vocabulary(pieces=tuple(pieces), never=(0, 1), **ids)
    own = ImportedTokenizer(tokenizers.source.model_bytes, vocabulary)
    ours = random_translator(Tokenizers(tokenizers.source, own), tie_embeddings="none")
    save_model(tmp_path / "model", ours.model, ours.tokenizers, ours.config)
    told = fails(capsys, ["export", f"{tmp_path}/out", "--model", f"{tmp_path}/model", "--to", "ctranslate2"])
    assert f"the {symbol} symbol is {was} in the source and <other> in the target" in told
    assert os.listdir(tmp_path) == ["model"]


def test_a_package_that_is_missing_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if "ctranslate2" in name:
            raise ModuleNotFoundError("No module named 'ctranslate2'")
        return whole(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    told = fails(capsys, command(model, tmp_path / "out"))
    assert "No module named 'ctranslate2'" in told and "pip install ctranslate2" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("quantization", [name for name in QUANTIZATIONS if "bfloat16" in name])
def test_what_needs_pytorch_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quantization: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = fails(capsys, command(model, tmp_path / "out", "--quantization", quantization))
    assert f"--quantization {quantization}: CTranslate2 needs PyTorch" in told
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_full_leaves_nothing(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (100, 10_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))  # Python ignores the signal
        try:
            told = fails(capsys, command(model, tmp_path / "out"), code=4)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert f"{tmp_path / 'out'}: cannot be written" in told
        assert sorted(os.listdir(tmp_path)) == ["lines", "model"]

"""A folder or a model that Marian cannot be is refused in one line, which names the file and the fault."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marian_commands import bring, fails, give
from numpy_marian import D, Tensors, change_json, change_tensors, write_folder
from random_models import random_translator
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.interop.marian.import_ import import_marian
from transformer.translation.model_dir import save_model


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No lines: where another program is installed, it is not asked."""
    path = tmp_path_factory.mktemp("nothing") / "lines"
    path.write_text("")
    return path


@pytest.fixture
def joint(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    write_folder(path)
    return path


# What cannot be, in one line


FC1 = "model.encoder.layers.1.fc1.weight"
TENSOR_FAULTS: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "missing": (lambda t: t.pop(FC1), f"the tensor {FC1} is missing"),
    "no table": (lambda t: t.pop("model.shared.weight"), "the tensor model.shared.weight is missing"),
    "of one layer": (lambda t: t.update({FC1: t[FC1][1:].copy()}), "encoder.feed_forward.up.kernel"),
    "misshapen": (lambda t: t.update({"model.shared.weight": t["model.shared.weight"][1:].copy()}), "source_embedding"),
    "a number": (lambda t: t.update({"model.shared.weight": np.ones((), "f2")}), "source_embedding"),
    "unknown\nname": (lambda t: t.update({"a\nb\x85": np.ones(D, "f2")}), "the tensor a b  does not"),
    "unknown": (lambda t: t.update({"model.encoder.layer_norm.weight": np.ones(D, "f2")}), "encoder.layer_norm.weight"),
    "one layer more": (lambda t: t.update({FC1.replace("1.fc1", "2.fc1"): t[FC1].copy()}), "encoder.layers.2.fc1"),
    "infinite": (lambda t: t[FC1].__setitem__((0, 0), np.inf), "encoder.feed_forward.up.kernel have NaN or"),
    "not numbers": (lambda t: t["final_logits_bias"].fill(np.nan), "output_bias have NaN or infinite values"),
    "integers": (lambda t: t.update({FC1: t[FC1].astype("i2")}), "the tensors are of float16, int16; float32"),
    "doubles": (lambda t: t.update({FC1: t[FC1].astype("f8")}), "the tensors are of float16, float64; float32"),
} | {
    f"positions {values.shape}": (
        lambda t, values=values: t.update({"model.decoder.embed_positions.weight": values}),
        "the tensor model.decoder.embed_positions.weight is not the table of sinusoidal positions",
    )
    for values in (
        np.zeros((9, D)),
        np.full((8, D), np.nan),
        np.zeros((5, D + 2)),
        np.zeros((7, 1)),
        np.ones(D),
        np.ones(()),
    )
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_tensors_at_fault_are_named(
    joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    change, told = TENSOR_FAULTS[fault]
    change_tensors(joint, change)
    assert told in refused(joint, tmp_path, capsys)


def refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    told = fails(capsys, "import", folder, tmp_path / "out", "--from", "marian")
    assert told.startswith(f"error: {folder}") and os.listdir(tmp_path) == [folder.name]
    return told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"normalize_before": True}, "normalize_before is True"),
        ({"add_final_layer_norm": True}, "add_final_layer_norm is True"),
        ({"normalize_embedding": True}, "normalize_embedding is True"),
        ({"static_position_embeddings": False}, "static_position_embeddings is False"),
        ({"model_type": "bart"}, "model_type is 'bart'"),
        ({"decoder_attention_heads": 4}, "encoder_attention_heads and decoder_attention_heads differ: 2 and 4"),
        ({"decoder_ffn_dim": 32}, "encoder_ffn_dim and decoder_ffn_dim differ: 24 and 32"),
        ({"activation_function": "quick_gelu"}, "activation_function is 'quick_gelu'"),
        ({"encoder_attention_heads": 3, "decoder_attention_heads": 3}, "16 is not divisible"),
        ({"encoder_layers": 3}, "model.encoder.layers.2.self_attn.q_proj.weight is missing"),
        ({"d_model": 32}, "config.json asks for"),
        ({"vocab_size": 20}, "vocab.json: an id is not a number, or not below the 20 of config.json"),
        ({"vocab_size": 1 << 40}, "vocab_size: "),
        ({"eos_token_id": 1 << 30}, "there is no id"),
        ({"share_encoder_decoder_embeddings": False}, "embed_tokens.weight is missing"),
    ],
)
def test_settings_at_fault_are_named(
    joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    change_json(joint / "config.json", changes)
    if "share_encoder_decoder_embeddings" in changes:
        change_tensors(joint, lambda t: t.update({"lm_head.weight": t.pop("model.shared.weight")}))
    assert told in refused(joint, tmp_path, capsys)


@pytest.mark.parametrize(
    ("changes", "drop", "told"),
    [
        ({"▁new": 100_000}, "", "an id is not a number, or not below the"),
        ({"▁new": -1}, "", "an id is not a number"),
        ({"▁new": "7"}, "", "an id is not a number"),
        ({"▁new": True}, "", "an id is not a number"),
        ({"▁new": 7}, "", "vocab.json: two pieces have the same id"),
        ({}, "<unk>", "vocab.json: has no <unk>"),
        ({"\ud800": 1}, "<unk>", "vocab.json: has no <unk>"),
        ({"\ud800": 5}, "", ""),
    ],
)
def test_vocabularies_at_fault_are_named(
    joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], drop: str, told: str
) -> None:
    path = joint / "vocab.json"
    content = json.loads(path.read_text("utf8")) | changes
    content.pop(drop, None)
    path.write_text(json.dumps(content))
    assert told in refused(joint, tmp_path, capsys)


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "source.spm", "target.spm", "model.safetensors"])
def test_missing_and_broken_files_are_named(
    joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    whole = (joint / name).read_bytes()
    (joint / name).unlink()
    assert name in refused(joint, tmp_path, capsys)
    for content in (b"", whole[: len(whole) // 2], b"[]", b"\xff\xfe", b"null", b"[" * 100_000):
        (joint / name).write_bytes(content)
        assert name in refused(joint, tmp_path, capsys)
    (joint / name).unlink()
    (joint / name).mkdir()
    assert name in refused(joint, tmp_path, capsys)


def test_a_place_without_a_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path / 'none' / 'config.json'}: is missing" in fails(
        capsys, "import", tmp_path / "none", tmp_path / "out", "--from", "marian"
    )
    assert not any(tmp_path.iterdir())


VALUES = (None, "x", "", [], [1], [[]], [["x"]], [1.5], {}, {"a": 1}, -1, 0, 1 << 40, 1.5, float("nan"), True, "\ud800")


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer_config.json", "card.json"])
def test_settings_of_any_kind_are_a_model_or_a_line(joint: Path, tmp_path: Path, nothing: Path, file: str) -> None:
    if file == "card.json":
        joint = give(bring(joint, tmp_path / "model", nothing), tmp_path / "given", nothing)
    whole = json.loads((joint / file).read_text())
    for number, key in enumerate(whole):
        for value in VALUES if len(whole) < 3 else VALUES[number % 4 :: 4]:
            (joint / file).write_text(json.dumps(whole | {key: value}))
            try:
                found = import_marian(joint)
            except UsageError as problem:
                assert str(problem).startswith(str(joint)) and str(problem).isprintable(), (key, value)
            else:
                assert found.config.model_dump_json() and found.tokenizers.source.identity, (key, value)


# What no Marian model can be


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"norm": "pre"}, "model.norm = 'pre': Marian supports only 'post'"),
        ({"norm": "post", "positions": "learned"}, "model.positions = 'learned': Marian supports only 'sinusoidal'"),
        ({"norm": "post", "norm_epsilon": 1e-6}, "model.norm_epsilon = 1e-06: Marian supports only 1e-05"),
    ],
)
def test_what_no_marian_model_can_be_is_refused_by_its_key(
    tokenizers: Tokenizers, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], told: str
) -> None:
    ours = random_translator(tokenizers, **settings)
    save_model(tmp_path / "ours", ours.model, ours.tokenizers, ours.config)
    assert told in fails(capsys, "export", tmp_path / "out", "--model", tmp_path / "ours", "--to", "marian")
    words = ["export", tmp_path / "out", "--model", tmp_path / "ours", "--to", "marian", "--quantization", "int8"]
    assert "--quantization" in fails(capsys, *words)
    assert os.listdir(tmp_path) == ["ours"]

"""Models of Hugging Face's Marian: the same numbers, the same ids, there and back."""

import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from safetensors.numpy import load_file, save_file

from marian_commands import bring, fails, give
from numpy_marian import FOREIGN, TAGS, D, change_json, change_tensors, ids_by_hand, logits, write_folder
from random_models import random_translator
from torch_files import save as save_as_torch
from torch_files import tensor as as_torch
from transformer.cli import main as door
from transformer.config import Tokenizer as Settings
from transformer.data.clauses import clauses
from transformer.data.tokenizer import Tokenizers
from transformer.data.tokenizer_training import train_tokenizers
from transformer.translation.model_dir import save_model
from transformer.translation.translator import Segment, Translator

pytestmark = pytest.mark.mixed_dtypes

LINES = [" ".join(english.split()[:3]) for english, _ in clauses("test", 12)]


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No lines: where another program is installed, it is not asked."""
    path = tmp_path_factory.mktemp("nothing") / "lines"
    path.write_text("")
    return path


@pytest.fixture(scope="module", params=["joint", "separate"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that no test changes."""
    path = tmp_path_factory.mktemp("marian") / request.param
    write_folder(path, separate=request.param == "separate")
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "folder"))


@pytest.fixture
def joint(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    write_folder(path)
    return path


@pytest.fixture(scope="module")
def imported(folder: Path, nothing: Path) -> Path:
    return bring(folder, folder.with_name(f"imported-{folder.name}"), nothing)


@pytest.fixture(scope="module")
def model(imported: Path) -> Translator:
    return Translator.load(imported)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def ids_of(folder: Path, side: str = "source") -> dict[str, int]:
    own = folder / "target_vocab.json"
    return json.loads((own if side == "target" and own.exists() else folder / "vocab.json").read_text("utf8"))


# The same numbers


def test_logits_are_those_of_marian(folder: Path, model: Translator) -> None:
    tensors, vocabulary = load_file(folder / "model.safetensors"), model.config.target_vocabulary
    rng = np.random.default_rng(2)
    source, target = rng.integers(0, vocabulary, (2, 3, 8))
    target[:, 0] = vocabulary - 1
    lengths = (8, 5, 1)
    padded = np.where(np.arange(8) < np.array(lengths)[:, None], source, -1).astype(np.int32)
    found = np.asarray(model.model.decode(target.astype(np.int32), model.model.encode(padded)))
    for row, length in enumerate(lengths):
        expected = logits(tensors, list(source[row, :length]), list(target[row]))
        np.testing.assert_allclose(found[row], expected, atol=1e-4, rtol=0)
        assert expected.std() > 0.5


def test_a_greedy_translation_is_the_most_probable_step_by_step(folder: Path, model: Translator) -> None:
    tensors, pieces = load_file(folder / "model.safetensors"), model.tokenizers.target.pieces
    pad = model.config.target_vocabulary - 1
    texts = set()
    for line, found in zip(LINES[:4], model.translate(LINES[:4], beam_size=1), strict=True):
        source, target = ids_by_hand(folder, line), [pad]
        while target[-1] != 0 and len(target) < 2 * len(source) + 20:
            scores = logits(tensors, source, target)[-1]
            scores[pad] = -np.inf
            target.append(int(scores.argmax()))
        assert found.hypotheses[0].tokens[: len(target) - 1] == tuple(pieces(target[1:]))
        texts.add(found.text)
    assert len(texts) > 1


def test_the_settings_are_those_of_the_folder(folder: Path, imported: Path, model: Translator) -> None:
    card, settings = model.config, model.config.model
    assert (card.source, card.target, card.max_length, card.weights) == ("en", "de", 512, "float16")
    assert (settings.norm, settings.activation, settings.positions) == ("post", "silu", "sinusoidal")
    assert (settings.scale_embeddings, settings.output_bias, settings.norm_epsilon) == (True, True, 1e-5)
    assert settings.tie_embeddings == ("all" if folder.name == "joint" else "decoder")
    assert (card.decode.beam_size, card.decode.stop, card.decode.length_penalty) == (4, "unlikely", 1.0)
    size = ids_of(folder)["<pad>"] + 1
    assert model.symbols == (size - 1, 0, (size - 1,))
    assert not (imported / "tokenizer.spm").exists()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"num_beams": 6, "early_stopping": True}, (6, 1.0, "full", 0)),
        ({"length_penalty": 0.6, "early_stopping": "never", "min_new_tokens": 3}, (4, 0.6, "certain", 3)),
        ({"num_beams": None, "length_penalty": None, "early_stopping": None}, (5, 1.0, "unlikely", 0)),
    ],
)
def test_decoding_follows_generation_config(
    joint: Path, tmp_path: Path, nothing: Path, told: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    change_json(joint / "generation_config.json", told)
    decode = Translator.load(bring(joint, tmp_path / "out", nothing)).config.decode
    assert (decode.beam_size, decode.length_penalty, decode.stop, decode.min_length) == expected


# The same ids


def test_ids_are_those_of_vocab_json(folder: Path, model: Translator) -> None:
    lines = [*LINES, "The queen ☃ sleeps", "a  b", "Ä", " >", "qqq"]
    for side, tokenizer in (("source", model.tokenizers.source), ("target", model.tokenizers.target)):
        by_hand = [ids_by_hand(folder, line, side=side)[:-1] for line in lines]
        assert tokenizer.encode(lines) == by_hand
        for tag in TAGS:
            by_hand = [ids_by_hand(folder, line, side=side, tag=tag)[:-1] for line in lines]
            assert tokenizer.encode([tag + line for line in lines]) == by_hand
        known = ids_of(folder, side)
        assert {known["<unk>"]} < {index for ids in by_hand for index in ids}
        assert tokenizer.pieces([known[piece] for piece in known]) == list(known)


SIGNS = st.sampled_from(
    [*TAGS, ">>xyz<<", "<pad>", "</s>", "<unk>", "<s>", " ", ">>", "<<", "dog", "q", "☃", "▁", "\t"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SIGNS | st.text(max_size=5), max_size=8).map("".join))
def test_whatever_is_typed_is_no_symbol_but_a_tag_before_it(model: Translator, text: str) -> None:
    tokenizer = model.tokenizers.source
    tag = next((tag for tag in TAGS if text.startswith(tag)), "")
    (ids,) = tokenizer.encode([text])
    end, tags = tokenizer.eos_id, tokenizer.pieces(ids[:1]) if tag else []
    assert tags == [tag] * bool(tag)
    forbidden = {tokenizer.pad_id, end, *range(tokenizer.pad_id - len(TAGS), tokenizer.pad_id)}
    assert not forbidden & set(ids[bool(tag) :])
    assert all(0 <= index < tokenizer.vocab_size for index in ids)
    (parted,) = [tokenizer.split_tag(text)]
    assert "".join([*tags, parted.text]) == text
    if not tag:
        assert ids == tokenizer.encode_untagged([text])[0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_text_is_the_pieces_of_ids_and_nothing_of_symbols(model: Translator, data: st.DataObject) -> None:
    tokenizer = model.tokenizers.target
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=8))
    hidden = {tokenizer.eos_id, tokenizer.unk_id, *range(tokenizer.pad_id - len(TAGS), tokenizer.vocab_size + 9)}
    shown = tokenizer.pieces(index for index in ids if index not in hidden)
    text = tokenizer.decode(ids)
    assert text == text.strip() and "▁" not in text
    assert text.split() == "".join(shown).replace("▁", " ").split()


def test_what_the_tokenizer_does_not_know_is_shown(folder: Path, model: Translator) -> None:
    target = model.tokenizers.target
    index = ids_of(folder, "target")[FOREIGN]
    assert target.decode([index, index]) == "foreign foreign"


def test_each_part_of_a_long_line_has_its_tag(folder: Path, imported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = Translator.load(imported)
    translator.config = translator.config.model_copy(update={"max_length": 16})
    text = "The dog sleeps. A child runs. The old dog sees a child. A cat sings."
    seen: list[list[int]] = []
    search = translator._search

    def watched(segments: list[Segment], *arguments: Any) -> Any:
        seen.extend(segment.ids for segment in segments)
        return search(segments, *arguments)

    monkeypatch.setattr(translator, "_search", watched)
    (found,) = translator.translate([f">>deu<<{text}"], beam_size=1)
    assert "split" in found.flags and len(seen) > 1
    vocabulary = ids_of(folder)
    assert {ids[0] for ids in seen} == {vocabulary[">>deu<<"]} and {ids[-1] for ids in seen} == {0}
    assert all(len(ids) <= 16 and vocabulary[">>deu<<"] not in ids[1:] for ids in seen)
    together = [index for ids in seen for index in ids[1:-1]]
    assert together == ids_by_hand(folder, text)[:-1]
    (blank,) = translator.translate([">>deu<< "], beam_size=1)
    assert blank.flags == ("empty",)


# What is imported is a model like any other


def test_it_translates_scores_and_is_evaluated(
    joint: Path, tmp_path: Path, nothing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_tensors(joint, lambda tensors: tensors["final_logits_bias"][0].__setitem__(0, -50))  # no empty translation
    imported = bring(joint, tmp_path / "out", nothing)
    source, target = tmp_path / "source", tmp_path / "target"
    lines = [line for line in LINES if len(line) < 12]
    source.write_text("".join(f">>deu<< {line}\n" for line in lines))
    for words in (
        ["translate", "-i", source, "-o", target],
        ["score", "--source", source, "--target", target],
        ["evaluate", "--source", source, "--reference", target],
    ):
        assert door.main([str(word) for word in (*words, "--model", imported)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(target.read_text().splitlines()) == len(lines) > 1
    numbers = [float(line) for line in out[: len(lines)]]
    assert all(number < 0 for number in numbers)
    assert out[len(lines)] == "BLEU 100.0"


def test_the_padding_never_comes_out(joint: Path, tmp_path: Path, nothing: Path) -> None:
    """However likely the model finds it."""
    change_tensors(joint, lambda tensors: tensors["final_logits_bias"][0].__setitem__(-1, 50))
    translator = Translator.load(bring(joint, tmp_path / "out", nothing))
    for beam_size in (1, 4):
        for found in translator.translate(LINES, beam_size=beam_size):
            assert "<pad>" not in found.hypotheses[0].tokens and "<pad>" not in found.text


# There and back


def test_export_and_import_again_is_the_same(imported: Path, tmp_path: Path, nothing: Path) -> None:
    back = give(imported, tmp_path / "back", nothing)
    assert contents(bring(back, tmp_path / "again", nothing)) == contents(imported)
    assert contents(give(tmp_path / "again", tmp_path / "twice", nothing)) == contents(back)


@pytest.mark.parametrize("tied", ["all", "decoder", "none"])
@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_a_model_of_ours_comes_back_the_same(
    tokenizers: Tokenizers, separate: Tokenizers, tmp_path: Path, nothing: Path, tied: str, weights: str
) -> None:
    bias = weights == "float32"
    both = tokenizers if tied == "all" else separate
    ours = random_translator(both, norm="post", tie_embeddings=tied, output_bias=bias, activation="gelu", dropout=0.3)
    card = ours.config.model_copy(update={"weights": weights})
    save_model(tmp_path / "ours", ours.model, ours.tokenizers, card)
    out = give(tmp_path / "ours", tmp_path / "marian", nothing)
    assert contents(bring(out, tmp_path / "again", nothing)) == contents(tmp_path / "ours")


@pytest.fixture(scope="module")
def separate() -> Tokenizers:
    english, german = zip(*clauses("train", 300), strict=True)
    return train_tokenizers(english, german, Settings(vocab_size=330, shared=False))


def test_without_our_card_weights_and_vocabulary_come_back(imported: Path, tmp_path: Path, nothing: Path) -> None:
    """As Transformers saves a folder that it has loaded: it does not know the file."""
    back = give(imported, tmp_path / "back", nothing)
    (back / "card.json").unlink()
    again = bring(back, tmp_path / "again", nothing)
    before, after = contents(imported), contents(again)
    same = before.keys() - {"config.json", "manifest.json"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert json.loads(after["config.json"])["model"] == json.loads(before["config.json"])["model"]


def test_tied_tables_under_each_name_that_transformers_writes(joint: Path, tmp_path: Path, nothing: Path) -> None:
    expected = contents(bring(joint, tmp_path / "out", nothing))
    tensors = load_file(joint / "model.safetensors")
    table = tensors.pop("model.shared.weight")
    copies = ("model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
    angles = np.arange(20)[:, None] / 10000 ** (np.arange(0, D, 2) / D)
    places = {"model.encoder.embed_positions.weight": np.concatenate([np.sin(angles), np.cos(angles)], 1, dtype="f2")}
    for number, names in enumerate(([*copies, "lm_head.weight"], copies[1:2], copies[2:], ["lm_head.weight"])):
        save_file(tensors | places | {name: table.copy() for name in names}, joint / "model.safetensors")
        assert contents(bring(joint, tmp_path / str(number), nothing)) == expected


@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch_model_bin_is_taken_where_there_is_no_other(
    joint: Path, tmp_path: Path, nothing: Path, legacy: bool
) -> None:
    expected = contents(bring(joint, tmp_path / "out", nothing))
    tensors = load_file(joint / "model.safetensors")
    state = {name: as_torch(values, str(key), "Half") for key, (name, values) in enumerate(tensors.items())}
    save_as_torch(joint / "pytorch_model.bin", state, legacy=legacy)
    (joint / "model.safetensors").unlink()
    assert contents(bring(joint, tmp_path / "again", nothing)) == expected


def test_bfloat16_and_mixed_tensors(joint: Path, tmp_path: Path, nothing: Path) -> None:
    tensors = load_file(joint / "model.safetensors")
    save_file({name: values.astype(bfloat16) for name, values in tensors.items()}, joint / "model.safetensors")
    assert Translator.load(bring(joint, tmp_path / "b", nothing)).config.weights == "bfloat16"
    other = {"final_logits_bias": np.ones((1, tensors["final_logits_bias"].size), "f4")}
    save_file(tensors | other, joint / "model.safetensors")
    assert Translator.load(bring(joint, tmp_path / "m", nothing)).config.weights == "float32"


def test_a_disk_that_is_full_leaves_nothing(
    imported: Path, folder: Path, nothing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (100, 5_000):  # bytes a file: nothing fits, the weights do not
        for words in (
            ["export", tmp_path / "out", "--model", imported, "--to", "marian"],
            ["import", folder, tmp_path / "out", "--from", "marian"],
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))  # Python ignores the signal
            try:
                told = fails(capsys, *words, code=4)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert f"{tmp_path / 'out'}: " in told and not os.listdir(tmp_path)

"""Models in other precisions: each value is rounded once, and what a model thinks hardly changes."""

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from transformer.cli import main as door
from transformer.data.clauses import clauses
from transformer.data.corpus import Pair
from transformer.errors import UsageError
from transformer.files.model_files import read_tensors
from transformer.model.parameters import named, with_values
from transformer.translation.model_config import ModelConfig
from transformer.translation.model_dir import load_model, save_model
from transformer.translation.scoring import score
from transformer.translation.translator import Translator

pytestmark = pytest.mark.mixed_dtypes

PRECISIONS = ("float32", "float16", "bfloat16")


@pytest.fixture
def model(tmp_path: Path, translator: Translator) -> Path:
    path = tmp_path / "model"
    save_model(path, translator.model, translator.tokenizers, translator.config)
    return path


def convert(source: Path, precision: str, name: str | None = None) -> Path:
    """The converted model, beside it."""
    out = source.with_name(name or precision)
    assert door.main(["convert", str(source), str(out), "--dtype", precision]) == 0
    return out


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def fails(capsys: pytest.CaptureFixture[str], *words: object, code: int = 2) -> str:
    assert door.main([str(word) for word in words]) == code
    out, told = capsys.readouterr()
    assert out == "" and told.startswith("error: ") and told.count("\n") == 1
    return told


def rounded(values: np.ndarray, precision: str) -> np.ndarray:
    """To the nearest number of the precision, to the even one of two, as float32."""
    if precision != "bfloat16":
        return values.astype(precision).astype(np.float32)
    bits = values.view(np.uint32)  # of which bfloat16 keeps the first half
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_values_are_rounded_once_and_read_as_float32(model: Path, translator: Translator, precision: str) -> None:
    out = convert(model, precision)
    with safe_open(out / "model.safetensors", framework="numpy") as file:
        names = file.keys()
        stored = {file.get_slice(name).get_dtype() for name in names}
    assert stored == {{"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[precision]}
    assert json.loads((out / "config.json").read_text())["weights"] == precision
    found, _, card = load_model(out)
    assert card == translator.config.model_copy(update={"weights": precision})
    before = named(translator.model)
    for name, value in named(found).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, rounded(np.asarray(before[name]), precision), err_msg=name)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_converted_again_has_the_same_bytes(model: Path, precision: str) -> None:
    """In the precision that it has, and in float32 and back."""
    out = convert(model, precision)
    assert contents(convert(out, precision, "again")) == contents(out)
    assert contents(convert(convert(out, "float32", "wide"), precision, "back")) == contents(out)
    if precision == "float32":
        assert contents(out) == contents(model)


def test_a_number_takes_two_bytes_and_the_sizes_are_told(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    numbers = sum(value.size for value in named(load_model(model)[0]).values())
    for precision in ("float16", "bfloat16"):
        out = convert(model, precision)
        before, after = ((place / "model.safetensors").stat().st_size for place in (model, out))
        assert abs(before - after - 2 * numbers) < 1000  # the headers differ by a few letters
        told = f"from float32 to {precision} in {out}: {before / 1e6:.2f} MB -> {after / 1e6:.2f} MB"
        assert f"converted {model} {told}" in caplog.messages


@pytest.mark.parametrize(("precision", "bound"), [("float16", 0.004), ("bfloat16", 0.03)])
def test_log_probabilities_hardly_change(model: Path, translator: Translator, precision: str, bound: float) -> None:
    """Of each token, by a third of the bound where it was measured."""
    pairs = [Pair(*texts) for texts in clauses("test", 100)]
    before = score(translator, pairs)
    after = score(Translator.load(convert(model, precision)), pairs)
    differences = [
        np.subtract(x.token_log_probabilities, y.token_log_probabilities) for x, y in zip(before, after, strict=True)
    ]
    assert 0 < np.abs(np.concatenate(differences)).max() < bound


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_converted_model_translates(model: Path, tmp_path: Path, precision: str) -> None:
    (tmp_path / "in").write_text("the dog sleeps\n\nA child runs.\n")
    out = convert(model, precision)
    words = ["translate", "--model", out, "-i", tmp_path / "in", "-o", tmp_path / "translated"]
    assert door.main([str(word) for word in words]) == 0
    lines = (tmp_path / "translated").read_text().splitlines()
    assert len(lines) == 3 and lines[1] == "" and lines[0]


def test_what_a_precision_cannot_hold_is_refused(
    model: Path, translator: Translator, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {name: np.array(value) for name, value in named(translator.model).items()}
    name = sorted(values)[3]
    for precision, value in (("float16", 65520.0), ("bfloat16", 3.4e38)):  # 65520 is the least that becomes infinite
        values[name].flat[0] = -value
        save_model(model, with_values(translator.model, values), translator.tokenizers, translator.config)
        told = fails(capsys, "convert", model, model.with_name("out"), "--dtype", precision)
        assert f"the tensor {name} has {value:.6g}, which {precision} cannot represent" in told
        assert [path.name for path in model.parent.iterdir()] == ["model"]
    values[name].flat[0] = 65519.0
    save_model(model, with_values(translator.model, values), translator.tokenizers, translator.config)
    assert named(load_model(convert(model, "float16"))[0])[name].flat[0] == 65504


def test_a_file_in_another_precision_than_the_card_is_refused(model: Path, translator: Translator) -> None:
    shapes = {name: value.shape for name, value in named(translator.model).items()}
    for stored in PRECISIONS:
        path = convert(model, stored) / "model.safetensors"
        for told in set(PRECISIONS) - {stored}:
            with pytest.raises(UsageError, match=r"config\.json asks for (F16|BF16|F32) "):
                read_tensors(path, shapes, told)


def test_a_card_that_tells_no_precision_is_of_a_float32_model(translator: Translator) -> None:
    fields = translator.config.model_dump()
    del fields["weights"]
    assert ModelConfig.model_validate(fields).weights == "float32"


# Where it is put


def test_only_a_free_place_is_taken(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "link").symlink_to(model)
    for suffix in ("new", "old"):
        (tmp_path / f"{suffix}.{suffix}").mkdir()
    before = sorted(tmp_path.rglob("*")), contents(model)
    for name, told in {
        "model": "exists",
        "link": "exists",
        "file": "exists",
        "full": "exists",
        "link/inside": f"is inside {model}",
        "model/deep/inside": f"is inside {model}",
        "new": "new.new is in the way",
        "old": "old.old is in the way",
    }.items():
        line = fails(capsys, "convert", model, tmp_path / name, "--dtype", "float16")
        assert line.startswith(f"error: {tmp_path / name}: ") and told in line
        assert (sorted(tmp_path.rglob("*")), contents(model)) == before


def test_an_empty_directory_is_free(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert door.main(["convert", str(model), str(tmp_path / "link"), "--dtype", "float16"]) == 0
    assert (tmp_path / "link").is_symlink()
    assert load_model(tmp_path / "empty")[2].weights == "float16"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "link", "model"]


def test_a_disk_that_is_full_leaves_nothing(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (100, 10_000):  # bytes a file: config.json does not fit, model.safetensors does not
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))  # Python ignores the signal
        try:
            told = fails(capsys, "convert", model, tmp_path / "out", "--dtype", "float16", code=4)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert f"{tmp_path / 'out'}: cannot be written" in told
        assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("flags", [[], ["--dtype", "int8"], ["--dtype"]])
def test_a_precision_is_asked_for(model: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    assert "--dtype" in fails(capsys, "convert", model, model.with_name("out"), *flags)


def test_a_place_without_a_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no model here" in fails(capsys, "convert", tmp_path / "none", tmp_path / "out", "--dtype", "float16")
    assert not any(tmp_path.iterdir())

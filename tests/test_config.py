"""Settings: file, then flags; every bound and every pair that does not fit is one line with the key and the value."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.cli.arguments import config_of, config_parser
from transformer.config import Config
from transformer.config.loading import load, sections, settings
from transformer.errors import UsageError
from transformer.run.run_dir import to_toml

BASE = """
run_dir = "runs/x"
[data]
source = "en"
target = "no"
train = ["a"]
valid = ["b"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(BASE, encoding="utf8")
    return path


def parsed(file: Path, *flags: str) -> Config:
    return config_of(config_parser("train", "about").parse([str(file), *flags]))


def refused(file: Path, *flags: str) -> str:
    """The one line that these flags give."""
    with pytest.raises(UsageError) as problem:
        parsed(file, *flags)
    text = str(problem.value)
    assert "\n" not in text
    return text


def refused_text(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf8")
    text = refused(file)
    assert text.startswith(f"{file}: ")
    return text


def test_flags_win_over_the_file_and_the_file_over_the_defaults(file: Path) -> None:
    file.write_text(BASE + "[train]\nsteps = 7\nkeep = 5\n", encoding="utf8")
    config = parsed(file, "--train.steps", "9")
    assert (config.train.steps, config.train.keep, config.train.log_every) == (
        9,
        5,
        Config.model_fields["train"].default.log_every,
    )


def test_a_flag_may_open_a_section_that_the_file_lacks(file: Path) -> None:
    assert parsed(file, "--model.d-model=24").model.d_model == 24


def test_keys_may_be_written_with_dashes_or_underscores(file: Path) -> None:
    assert parsed(file, "--train.eval-every", "3") == parsed(file, "--train.eval_every", "3")


def test_flags_know_their_types(file: Path) -> None:
    config = parsed(file, "--tokenizer.shared", "false", "--model.tie-embeddings", "none", "--model.remat", "true",
                    "--data.train", "x", "y", "--train.learning-rate", "1e-4", "--mesh.data", "-1")  # fmt: skip
    assert (config.tokenizer.shared, config.model.remat, config.data.train) == (False, True, ("x", "y"))
    assert (config.train.learning_rate, config.mesh.data) == (1e-4, -1)


def test_the_norwegian_code_is_a_language(file: Path) -> None:
    assert parsed(file).data.target == "no"


BAD_VALUES = [
    ("train.steps", "0", "greater than or equal to 1"),
    ("train.steps", "2.5", "integer"),
    ("train.steps", "many", "integer"),
    ("train.learning_rate", "0", "greater than 0"),
    ("train.learning_rate", "nan", "finite"),
    ("train.ema_decay", "1", "less than 1"),
    ("train.warmup_steps", "-1", "greater than or equal to 0"),
    ("train.schedule", "linear", "'cosine'"),
    ("model.dropout", "-0.1", "greater than or equal to 0"),
    ("model.remat", "perhaps", "boolean"),
    ("data.max_ratio", "0.5", "greater than or equal to 1"),
    ("data.buckets", "65", "less than or equal to 64"),
    ("tokenizer.vocab_size", "15", "greater than or equal to 16"),
    ("tokenizer.character_coverage", "1.5", "less than or equal to 1"),
    ("decode.beam_size", "1025", "less than or equal to 1024"),
    ("decode.length_penalty", "11", "less than or equal to 10"),
    ("mesh.data", "-2", "greater than or equal to -1"),
    ("seed", "-3", "greater than or equal to 0"),
    ("seed", "4294967296", "less than or equal to 4294967295"),
    ("seed", "9223372036854775808", "less than or equal to 4294967295"),
    ("train.steps", "10000000000", "less than or equal to 1073741824"),
    ("train.warmup_steps", "10000000000", "less than or equal to 1073741824"),
    ("train.cooldown_steps", "10000000000", "less than or equal to 1073741824"),
]


@pytest.mark.parametrize(("key", "value", "way_out"), BAD_VALUES)
def test_a_bound_is_refused_with_key_value_and_bound(file: Path, key: str, value: str, way_out: str) -> None:
    text = refused(file, f"--{key}={value}")
    assert f"{key} = {value!r}" in text and way_out in text


@given(data=st.data())
def test_every_number_has_a_least_value(data: st.DataObject) -> None:
    """No setting takes any number: each refuses one that is far below."""
    numbers = [setting for setting in settings() if re.fullmatch(r"-?[\d.e-]+", setting.default)]
    key = data.draw(st.sampled_from(numbers)).key
    *section, name = key.split(".")
    values = {"run_dir": "r", "data": {"source": "a", "target": "b", "train": ["c"], "valid": ["d"]}}
    place = values.setdefault(section[0], {}) if section else values
    place[name] = -(10**9)
    with pytest.raises(ValueError, match=name):
        Config.model_validate(values)


MISFITS = [
    (["--run-dir="], "run_dir: missing", "--run-dir"),
    (["--data.source="], "data.source: missing", "--data.source"),
    (["--data.target="], "data.target: missing", "--data.target"),
    (["--data.train"], "data.train: missing", "--data.train"),
    (["--data.valid"], "data.valid: missing", "--data.valid"),
    (["--data.target=en"], "data.target: 'en'", "use another code"),
    (["--model.d-model=10", "--model.num-heads=4"], "model.d_model: 10", "model.num_heads = 4"),
    (["--model.d-model=9", "--model.num-heads=3"], "model.d_model: 9", "need it even"),
    (["--model.positions=learned", "--data.max-length=600"], "data.max_length: 600", "model.max_positions = 512"),
    (["--mesh.tensor=3"], "mesh.tensor: 3", "model.num_heads = 8"),
    (["--mesh.data=0"], "mesh.data: 0", "-1"),
    (["--tokenizer.models", "a", "b", "c"], "tokenizer.models: more than two", "one for both sides"),
    (["--tokenizer.shared=no"], "model.tie_embeddings", '"decoder" or "none"'),
    (["--tokenizer.vocab-size=260"], "tokenizer.vocab_size: 260", "tokenizer.byte_fallback = false"),
    (["--train.batch-tokens=100"], "train.batch_tokens: 100", "data.max_length = 128"),
]


@pytest.mark.parametrize(("flags", "fault", "way_out"), MISFITS)
def test_settings_that_do_not_fit_are_refused(file: Path, flags: list[str], fault: str, way_out: str) -> None:
    text = refused(file, *flags)
    assert text.startswith(f"{file}: {fault}") and way_out in text


def test_an_odd_width_is_fine_with_learned_positions(file: Path) -> None:
    assert parsed(file, "--model.d-model=9", "--model.num-heads=3", "--model.positions=learned").model.d_model == 9


def test_unknown_keys_and_sections_name_the_nearest(file: Path) -> None:
    assert "unknown key train.step; did you mean train.steps?" in refused_text(file, BASE + "[train]\nstep = 1\n")
    assert "unknown key modle; did you mean model?" in refused_text(file, BASE + "[modle]\nd_model = 8\n")
    assert "unknown key train.d_model; did you mean model.d_model?" in refused_text(file, BASE + "[train]\nd_model=8\n")
    assert "did you mean --train.steps?" in refused(file, "--train.stebs", "3")


def test_wrong_types_are_refused(file: Path) -> None:
    assert "data.train = 'a': should be a list" in refused_text(file, BASE.replace('["a"]', '"a"'))
    assert "data.source = 5" in refused_text(file, BASE.replace('"en"', "5"))
    assert "train = 5: must be a section; write [train]" in refused_text(file, "train = 5\n" + BASE)
    file.write_text("train = 5\n" + BASE, encoding="utf8")
    assert "train = 5: must be a section; write [train]" in refused(file, "--train.steps", "3")


def test_files_that_are_no_config_are_named(file: Path, tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.toml'}: no such config file" in refused(tmp_path / "none.toml")
    assert f"{tmp_path}: cannot be read" in refused(tmp_path)
    assert "not valid TOML" in refused_text(file, "steps = = 3")
    file.write_bytes(b"run_dir = '\xff'")
    assert "cannot be read as a config" in refused(file)


def test_a_boolean_is_no_number(file: Path) -> None:
    assert refused_text(file, "seed = true\n" + BASE).startswith(f"{file}: seed = true: must not be a boolean")
    for setting in settings():
        section, _, name = setting.key.rpartition(".")
        if section in ("model", "train") and re.fullmatch(r"[\d.e-]+", setting.default):
            told = refused_text(file, f"{BASE}[{section}]\n{name} = false\n")
            assert told.startswith(f"{file}: {setting.key} = false: must not be a boolean")


def test_a_name_with_nul_is_refused(file: Path) -> None:
    for line in ('run_dir = "runs/x"', 'train = ["a"]', 'valid = ["b"]', 'source = "en"'):
        told = refused_text(file, BASE.replace(line, line.replace('"', '"\\u0000', 1)))
        assert f"{line.split()[0]} = " in told and told.endswith(": contains a NUL character; remove it")
    assert "tokenizer.models = ['a\\x00']: contains" in refused_text(
        file, BASE + '[tokenizer]\nmodels = ["a\\u0000"]\n'
    )


def test_toml_that_python_cannot_hold_is_refused(file: Path) -> None:
    assert "too deep" in refused_text(file, "a = " + "[" * 3000 + "]" * 3000)
    assert "too deep" in refused_text(file, "a = " + "{b = " * 3000 + "1" + "}" * 3000)
    assert "not valid TOML" in refused_text(file, "seed = " + "1" * 5000)
    with pytest.raises(UsageError, match=r"cannot be read as a config: embedded null"):
        load("a\0b.toml")
    assert "seed: an integer of more than 64 bits" in refused_text(file, "seed = 0x" + "f" * 5000)
    assert "train.keep: an integer of more" in refused_text(file, f"{BASE}[train]\nkeep = {1 << 63}\n")
    assert "unknown key" in refused_text(file, BASE + ".".join("a" * 3000) + " = 1")


def test_the_name_of_a_config_stays_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.toml"
    assert refused(path) == f"{str(path)!r}: no such config file"
    for text in ("steps = = 3", "seed = -1", "train = 5"):
        path.write_text(text, encoding="utf8")
        assert refused(path, "--train.keep", "1").startswith(f"{str(path)!r}: ")
    path.write_bytes(b"\xff")
    assert refused(path).startswith(f"{str(path)!r}: ")
    path.unlink()
    path.mkdir()
    assert refused(path) == f"{str(path)!r}: cannot be read as a config: Is a directory"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_config_written_and_read_is_the_same(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    name = f"./{name}" if name.startswith("~") else name  # a leading ~ is a home directory
    values = {
        "run_dir": name,
        "seed": 3,
        "data": {"source": "en", "target": "no", "train": [name, "b"], "valid": ["b"]},
    }
    config = Config.model_validate(
        values | {"train": {"learning_rate": 1e-7, "clip_norm": 0}, "model": {"remat": True}}
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(to_toml(config), encoding="utf8", newline="")
    assert load(path) == config


def test_the_resolved_config_says_every_setting(file: Path) -> None:
    text = to_toml(parsed(file))
    assert all(re.search(rf"^{setting.key.split('.')[-1]} = ", text, re.MULTILINE) for setting in settings())


def test_every_setting_has_a_meaning_and_stands_in_the_help(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parsed(file, "--help")
    assert not end.value.code
    shown = " ".join(capsys.readouterr().out.split())
    for setting in settings():
        assert len(setting.meaning) > 5
        assert f"--{setting.key.replace('_', '-')} " in shown
        assert f"(default: {setting.default})" in shown
    assert len({setting.key for setting in settings()}) == len(settings())
    assert all(meaning for meaning in sections().values())
    assert json.loads(settings()[0].default) == ""
    assert "--decode.stop {full,unlikely,certain} " in shown and "--decode.beam-size BEAM_SIZE" in shown

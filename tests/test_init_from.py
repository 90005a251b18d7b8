"""Training that starts from a model: its weights, its tokenizer and its settings, whatever becomes of it later."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from runs import ROOT, all_but_speed, ended, metrics, model_bytes, small, wait_for
from transformer.cli import main as door
from transformer.config import Config, Decode, Model, loading
from transformer.data.tokenizer import Tokenizers
from transformer.data.vocabulary import ImportedTokenizer, Vocabulary
from transformer.errors import Preempted, ResourceError, UsageError
from transformer.model.parameters import named
from transformer.model.transformer import Transformer
from transformer.run import hooks, initial_model, trainer
from transformer.run.checkpoints import Checkpoints
from transformer.run.initial_model import complete
from transformer.run.trainer import train
from transformer.training import loop
from transformer.training.update import batch_losses
from transformer.translation.model_dir import ModelConfig, load_model, save_model

pytestmark = pytest.mark.mixed_dtypes

TUNING = """
[data]
train = ["builtin:clauses:train:100"]
valid = ["builtin:clauses:valid:20"]
buckets = 1

[train]
steps = 60
batch_tokens = 512
learning_rate = 3e-3
schedule = "constant"
warmup_steps = 10
log_every = 7
eval_every = 30
save_every = 10
best_metric = "nll"
"""


def tuning(run_dir: Path, model: Path | str, **changes: Any) -> Config:
    """The config of a training that starts from a model; `changes` as in runs.small."""
    file = run_dir.parent / "tuning.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(TUNING, encoding="utf8")
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return loading.load(file, {"run_dir": str(run_dir), "train.init_from": str(model), **overrides})


def start(run_dir: Path, model: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
    """The same as a process of its own."""
    tuning(run_dir, model)
    words = [
        "train.py",
        str(run_dir.parent / "tuning.toml"),
        "--run-dir",
        str(run_dir),
        "--train.init-from",
        str(model),
    ]
    return subprocess.Popen(
        [sys.executable, *words, *flags], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | environment
    )


def weights(directory: Path) -> dict[str, np.ndarray]:
    return load_file(directory / "model" / "model.safetensors")


def refused(config: Config) -> str:
    """The one line of a training that cannot be."""
    with pytest.raises(UsageError) as problem:
        train(config)
    text = str(problem.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt a little, with settings that are not the defaults."""
    directory = tmp_path_factory.mktemp("base") / "base"
    train(small(directory, data__max_length=90, decode__beam_size=3, decode__stop="certain", train__best_metric="nll"))
    return directory


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from it that nothing has stopped."""
    directory = tmp_path_factory.mktemp("tuned") / "run"
    train(tuning(directory, base))
    return directory


@pytest.fixture
def foreign(tmp_path: Path, tokenizers: Tokenizers) -> Path:
    """A model as an import may leave it: ids of its own, learned positions, float16, other names of the languages."""
    V = tokenizers.source.vocab_size
    pieces = tokenizers.source.pieces(range(V))[::-1]
    ids = {"pad": V - 1, "start": V - 1, "end": V - 3, "unknown": V - 4, "never": (V - 1, V - 4)}
    own = ImportedTokenizer(tokenizers.source.model_bytes, Vocabulary(pieces=tuple(pieces), **ids))
    card = ModelConfig(
        source="eng",
        target="deu",
        source_vocabulary=V,
        target_vocabulary=V,
        max_length=70,
        model=Model(
            d_model=12, d_ff=20, num_heads=3, encoder_layers=1, decoder_layers=1, activation="silu", norm="post",
            positions="learned", max_positions=70, dropout=0.25, attention_dropout=0.125, output_bias=True,
        ),
        decode=Decode(beam_size=7, length_penalty=0.5),
        weights="float16",
    )  # fmt: skip
    model = Transformer(card.model, V, V, rng=jax.random.key(11))
    save_model(tmp_path / "foreign", model, Tokenizers(own, ImportedTokenizer(own.model_bytes, own.vocabulary)), card)
    return tmp_path / "foreign"


def test_a_hundred_sentences_make_a_model_better(base: Path, tuned: Path) -> None:
    """From where it stood: the validation before the first update is the best of the model that is started from."""
    found = {line["step"]: line["valid_nll"] for line in metrics(tuned) if "valid_nll" in line}
    assert list(found) == [0, 30, 60]
    before = [line["valid_nll"] for line in metrics(base) if "valid_nll" in line]
    assert found[0] == pytest.approx(min(before), rel=1e-6)
    assert found[60] < found[0] - 0.1


@pytest.mark.fault("T09")
def test_the_model_may_move_but_not_become_another(
    base: Path, tuned: Path, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    shutil.copytree(base / "model", tmp_path / "elsewhere")
    before = model_bytes(run)
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "elsewhere", "elsewhere", base / "model"):
        train(tuning(run, place))
    assert model_bytes(run) == before
    assert "train.init_from = " in refused(tuning(run, foreign))
    assert "train.init_from = " in refused(tuning(run, tmp_path / "none"))
    assert "train.init_from: " in refused(tuning(run, "", data__source="en", data__target="de"))


def test_the_first_state_is_the_model(base: Path, tmp_path: Path) -> None:
    """Weights and their average to the bit, and nothing else is remembered; the dropout is that of the config."""
    config = tuning(tmp_path / "run", base, model__dropout=0.4)
    (tmp_path / "run").mkdir()
    setup, _, _ = trainer._prepare(config, allow_changes=False)
    state, _ = trainer._initial(setup, loop.state_shapes(setup))
    for model in (state.model, state.average):
        assert model is not None and model.settings.dropout == 0.4
        jax.tree.map(np.testing.assert_array_equal, named(model), weights(base))
    assert int(state.step) == 0 and int(state.skipped) == 0
    assert not any(np.any(moment) for moment in jax.tree.leaves(state.optimizer))


def test_the_first_loss_is_that_of_the_model_and_an_update_of_no_size_leaves_it(base: Path, tmp_path: Path) -> None:
    changes = {"model__dropout": 0.0, "train__steps": 1, "train__log_every": 1, "train__learning_rate": 1e-30}
    config = tuning(tmp_path / "run", base, **changes)
    train(config)
    [first] = [line for line in metrics(tmp_path / "run") if "nll" in line]
    setup, _, _ = trainer._prepare(config, allow_changes=False)
    losses = batch_losses(load_model(base)[0], setup.batches(0), smoothing=0.1)
    assert first["nll"] == pytest.approx(float(losses.nll / losses.tokens), rel=1e-5)
    restored = Checkpoints(tmp_path / "run" / "checkpoints", 2).restore(loop.state_shapes(setup))
    assert restored and restored[1].step == 1
    for model in (restored[0].model, restored[0].average):
        for name, value in named(model).items():
            np.testing.assert_allclose(value, weights(base)[name], rtol=1e-6, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path / "run"), weights(base))
    for name in ("source.spm", "target.spm"):
        assert model_bytes(tmp_path / "run")[name] == model_bytes(base)[name]


def test_a_model_that_does_not_become_better_stays_the_best(base: Path, tmp_path: Path) -> None:
    train(tuning(tmp_path / "run", base, train__steps=30, train__learning_rate=10.0, train__clip_norm=0.0))
    jax.tree.map(np.testing.assert_array_equal, weights(tmp_path / "run"), weights(base))
    assert (tmp_path / "run" / "checkpoints" / "0").is_dir()


def test_killed_and_resumed_without_the_model(base: Path, tuned: Path, tmp_path: Path) -> None:
    """The bits of a run that was not stopped, though the model has gone meanwhile."""
    model = tmp_path / "base"
    shutil.copytree(base, model)
    process = start(tmp_path / "run", model)
    wait_for((tmp_path / "run" / "checkpoints" / "20").exists, process)
    process.kill()
    process.communicate()
    shutil.rmtree(model)
    code, told = ended(start(tmp_path / "run", model))
    assert code == 0, told
    assert "resumed from step" in told
    assert model_bytes(tmp_path / "run") == model_bytes(tuned)
    assert all_but_speed(tmp_path / "run") == all_but_speed(tuned)


def test_resumed_after_the_model_has_become_another(
    base: Path, tuned: Path, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal cuts off the very first validation, after which the model is another one."""
    model, real = tmp_path / "model", hooks.validate
    shutil.copytree(base / "model", model)
    config = tuning(tmp_path / "run", model)

    def validate(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(hooks, "validate", validate)
    with pytest.raises(Preempted):
        train(config)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "model").exists()
    shutil.rmtree(model)
    shutil.copytree(foreign, model)
    train(config)
    assert model_bytes(tmp_path / "run") == model_bytes(tuned)
    assert all_but_speed(tmp_path / "run") == all_but_speed(tuned)


def test_until_there_is_a_checkpoint_the_model_counts_as_it_is(base: Path, tmp_path: Path, foreign: Path) -> None:
    for number, model in enumerate((base, foreign)):
        config, _ = complete(tuning(tmp_path / "run", model))
        assert config.model.d_model == (16, 12)[number]
    assert load_model(tmp_path / "run" / "data" / "initial")[2].source == "eng"


def test_what_is_not_set_is_as_the_model_has_it(foreign: Path, tmp_path: Path) -> None:
    config, found = complete(tuning(tmp_path / "run", foreign))
    _, tokenizers, card = load_model(foreign)
    assert config.model == card.model and config.decode == card.decode
    assert (config.data.source, config.data.target, config.data.max_length) == ("eng", "deu", 70)
    assert found and found.source.identity == tokenizers.source.identity
    assert found.target.identity == tokenizers.target.identity


def test_what_is_set_and_free_stays_as_it_is_set(foreign: Path, tmp_path: Path) -> None:
    free = {
        "model__dropout": 0.5, "model__attention_dropout": 0.0, "model__compute_dtype": "bfloat16",
        "model__remat": True, "decode__beam_size": 2, "data__source": "en", "data__target": "de",
        "data__max_length": 33, "seed": 5,
    }  # fmt: skip
    same = {"model__d_ff": 20, "model__activation": "silu"}
    config, _ = complete(tuning(tmp_path / "run", foreign, **free, **same))
    for key, value in (free | same).items():
        section, _, name = key.rpartition("__")
        assert getattr(getattr(config, section) if section else config, name) == value
    assert config.decode.length_penalty == 0.5


def test_an_imported_model_is_trained_further(foreign: Path, tmp_path: Path) -> None:
    """Its tokenizers stay as they are, files of ids included; what becomes of it can be trained further again."""
    plain = {"model__dropout": 0.0, "model__attention_dropout": 0.0}  # random numbers take long to compile
    languages = {"data__source": "en", "data__target": "de"}
    train(tuning(tmp_path / "run", foreign, train__steps=30, **languages, **plain))
    train(tuning(tmp_path / "again", tmp_path / "run", train__steps=1, **plain))
    names = {"source.spm", "target.spm", "source.vocabulary.json", "target.vocabulary.json"}
    for run in (tmp_path / "run", tmp_path / "again"):
        found = model_bytes(run)
        assert {name for name in found if "source" in name or "target" in name} == names
        assert all(found[name] == (foreign / name).read_bytes() for name in names)
    first, last = (line["valid_nll"] for line in metrics(tmp_path / "run") if "valid_nll" in line)
    assert last < first
    assert json.loads(model_bytes(tmp_path / "again")["config.json"])["source"] == "en"


def test_the_config_of_a_run_is_enough_to_run_it_again(base: Path, tuned: Path, tmp_path: Path) -> None:
    path = tuned / "config.toml"
    config = loading.load(path, {"run_dir": str(tmp_path / "run")})
    assert complete(config)[0] == config
    assert config.decode.beam_size == 3 and config.data.max_length == 90 and config.data.source == "en"
    train(config)
    assert model_bytes(tmp_path / "run") == model_bytes(tuned)
    assert train(loading.load(path)) is None  # and to go on with the run itself


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model__d_model": 32}, r"^model\.d_model = 32: is 16 in the model of train\.init_from = {base}; leave"),
        ({"model__positions": "learned"}, r"^model\.positions = 'learned': is 'sinusoidal' in the model of .*leave it"),
        ({"model__num_heads": 4, "model__dropout": 0.2}, r"^model\.num_heads = 4: is 2 in "),
        ({"tokenizer__vocab_size": 300}, r"^tokenizer\.vocab_size = 300: the model of .* {base} has its own; leave it"),
        ({"tokenizer__kind": "unigram"}, r"^tokenizer\.kind = 'unigram': the model of "),  # the default, but said
        ({"data__source": "de"}, r"^data\.target: 'de' is the source language too; .*train\.init_from = {base}\)$"),
        ({"train__batch_tokens": 80}, r"^train\.batch_tokens: 80 cannot hold a sentence of data\.max_length = 90 \("),
        ({"train__init_from": "none"}, r"^train\.init_from = none: none: no model here; expected a run directory"),
        ({"run_dir": "{base}"}, r"this run has no|started with"),
        ({"run_dir": "{base}/model"}, r"^train\.init_from = {base}: is in run_dir = {base}/model, .*choose another"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(base: Path, tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    before = model_bytes(base)
    changes = {key: value.format(base=base) if isinstance(value, str) else value for key, value in changes.items()}
    arguments = {"run_dir": tmp_path / "run", "model": base}
    config = tuning(**arguments, **{key: value for key, value in changes.items() if key != "run_dir"})
    config = config.model_copy(update={"run_dir": changes.get("run_dir", config.run_dir)})
    with pytest.raises(UsageError, match=told.format(base=base)):
        train(config)
    assert not (tmp_path / "run" / "data").exists()
    (base / "model" / "lock").unlink(missing_ok=True)
    assert model_bytes(base) == before


def test_settings_are_checked_with_what_the_model_gives(foreign: Path, tmp_path: Path) -> None:
    told = refused(tuning(tmp_path / "run", foreign, data__max_length=80))
    assert told.startswith("data.max_length: 80 is more than model.max_positions = 70 (with the model of ")


def test_a_run_that_has_begun_cannot_start_from_elsewhere(base: Path, tuned: Path, tmp_path: Path) -> None:
    told = refused(tuning(tuned, tmp_path / "other"))
    assert f"train.init_from = {tmp_path / 'other'}: " in told and "no model here" in told
    told = refused(tuning(base, tuned))
    assert f"{base}: this run has no {base / 'data' / 'initial'}; restore that, set" in told
    shutil.copytree(tuned, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "data" / "initial")
    assert "this run has no" in refused(tuning(tmp_path / "run", base))


def test_a_damaged_model_or_copy_is_named(base: Path, tuned: Path, tmp_path: Path) -> None:
    model, run = (Path(shutil.copytree(path, tmp_path / path.name)) for path in (base, tuned))
    for place in (model / "model", run / "data" / "initial"):
        content = bytearray((place / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (place / "model.safetensors").write_bytes(content)
    told = f"{model / 'model' / 'model.safetensors'}: differs from manifest.json"
    assert f"train.init_from = {model}: {told}" in refused(tuning(tmp_path / "new", model))
    assert f"{run / 'data' / 'initial' / 'model.safetensors'}: differs" in refused(tuning(run, base))


def test_a_full_disk_is_told(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(initial_model, "save_model", full)
    with pytest.raises(ResourceError, match=r"No space left on device"):
        train(tuning(tmp_path / "run", base))


def test_prepare_takes_the_tokenizer_of_the_model(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning(tmp_path / "run", base)
    words = [
        "prepare",
        str(tmp_path / "tuning.toml"),
        "--run-dir",
        str(tmp_path / "run"),
        "--train.init-from",
        str(base),
    ]
    assert door.main(words) == 0
    shown = capsys.readouterr().out
    assert "100 pairs" in shown
    tokenizer = load_model(base)[1].source
    ids = np.fromfile(tmp_path / "run" / "data" / "train" / "source.ids", np.int32)
    assert " ".join(tokenizer.pieces(ids[: list(ids).index(tokenizer.eos_id) + 1])) in shown
    assert not (tmp_path / "run" / "data" / "tokenizer").exists()
    assert door.main([*words, "--tokenizer.vocab-size", "300"]) == 2
    assert "tokenizer.vocab_size = 300" in capsys.readouterr().err


@pytest.mark.long
def test_eight_devices_start_as_one(base: Path, tmp_path: Path) -> None:
    flags = ("--model.dropout", "0", "--train.steps", "2", "--train.log-every", "1", "--mesh.fsdp")
    for devices, axes in ((1, ("1",)), (8, ("2", "--mesh.tensor", "2"))):
        run, environment = tmp_path / str(devices), {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        code, told = ended(start(run, base, *flags, *axes, **environment))
        assert code == 0, told
    one, eight = (metrics(tmp_path / devices) for devices in ("1", "8"))
    assert len(one) == 4  # validations before and after two updates
    for line, other in zip(one, eight, strict=True):
        for key in {"nll", "valid_nll"} & line.keys():
            assert line[key] == pytest.approx(other[key], rel=1e-4)

"""Averages of checkpoints: the right steps, the exact mean, and a run that is only read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as orbax
from safetensors.numpy import load_file

from runs import small
from transformer.cli import main as door
from transformer.config import Config, Train
from transformer.errors import UsageError
from transformer.run import checkpoints as checkpoint
from transformer.run.averaging import average, best_steps, newest_steps, read_config
from transformer.run.trainer import train
from transformer.translation.model_dir import load_model, save_model
from transformer.translation.translator import Translator

pytestmark = pytest.mark.mixed_dtypes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With checkpoints of the steps 10, 20, 30 and 40, each of them validated."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    train(small(directory, train__steps=40, train__eval_every=10, train__keep=9, train__best_metric="nll"))
    return directory


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    """The bytes of each file, and when they were written."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def state(run: Path, step: int) -> dict[str, np.ndarray]:
    """All that a checkpoint has, as Orbax reads it by itself."""
    return {name: np.asarray(x) for name, x in orbax.load(run / "checkpoints" / str(step) / "state").items()}


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that is refused."""
    assert door.main([str(word) for word in words]) == 2
    out, told = capsys.readouterr()
    assert out == "" and told.startswith("error: ") and told.count("\n") == 1
    return told


@pytest.mark.filterwarnings("ignore:Sharding info not provided")  # by Orbax
@pytest.mark.parametrize(("decay", "part"), [("0.999", "average."), ("0.0", "model.")])
def test_the_weights_are_the_means_of_those_that_validation_uses(
    copy: Path, tmp_path: Path, decay: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = copy / "config.toml"
    settings.write_text(settings.read_text().replace("ema_decay = 0.999", f"ema_decay = {decay}"))
    before, out = contents(copy), tmp_path / "out"
    assert door.main(["average", str(copy), str(out), "--last", "3"]) == 0
    assert f"averaged steps 20, 30, 40 of {copy} into {out}" in caplog.messages
    assert contents(copy) == before
    states = [state(copy, step) for step in (20, 30, 40)]
    found = load_file(out / "model.safetensors")
    assert set(found) == {name.removeprefix(part) for name in states[0] if name.startswith(part)}
    for name, value in found.items():
        mean = np.mean([other[part + name].astype(np.float64) for other in states], axis=0)
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, mean.astype(np.float32))
        assert part == "average." or not np.array_equal(value, states[-1][part + name])


def test_the_average_of_the_best_alone_is_the_model_of_the_run(run: Path, tmp_path: Path) -> None:
    """To the byte, whatever file."""
    assert door.main(["average", str(run), str(tmp_path / "out"), "--best", "1"]) == 0
    names = {path.name for path in (run / "model").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (run / "model" / name).read_bytes()


def test_an_average_translates(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("the dog sleeps\nA child runs.\n")
    assert door.main(["average", str(run), str(tmp_path / "out"), "--best", "2"]) == 0
    words = ["translate", "--model", tmp_path / "out", "-i", tmp_path / "in", "-o", tmp_path / "translated"]
    assert door.main([str(word) for word in words]) == 0
    expected = [
        found.text for found in Translator.load(tmp_path / "out").translate(["the dog sleeps", "A child runs."])
    ]
    assert (tmp_path / "translated").read_text().splitlines() == expected


def test_the_settings_are_those_that_the_run_goes_on_with(copy: Path) -> None:
    settings = copy / "config.toml"
    settings.write_text(settings.read_text().replace("beam_size = 5", "beam_size = 7"))
    card = average(copy, [40], read_config(copy))[2]
    assert card.decode.beam_size == 7 and card.model == read_config(copy).model
    assert card.model_copy(update={"decode": load_model(copy)[2].decode}) == load_model(copy)[2]


def test_the_best_are_chosen_by_the_metric_of_the_run(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5, 6, 10):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    lines = [
        {"step": step, "valid_nll": nll, "valid_bleu": bleu, "valid_chrf": chrf}
        for step, nll, bleu, chrf in [
            (1, 5.0, 1.0, 9.0),
            (2, 4.0, 7.0, 8.0),
            (3, 3.0, 7.0, 7.0),
            (4, 2.0, 7.0, 1.0),
            (5, None, 99.0, 99.0),  # diverged
            (8, 0.1, 99.0, 99.0),  # its checkpoint is not kept
            (10, 2.5, 0.0, 0.0),
        ]
    ]
    told = [json.dumps(line) for line in [*lines, {"step": 6, "loss": 0.1}]]
    cut = '{"step": 6, "valid_nll": 0.1, "valid_bleu": 99.0, "valid_chrf": 9'  # as a training is about to write it
    (tmp_path / "metrics.jsonl").write_text("\n".join([*told, "[]", cut]))

    def best(count: int, metric: str) -> list[int]:
        return best_steps(tmp_path, count, Config.model_construct(train=Train(best_metric=metric)))

    assert best(2, "nll") == [4, 10]
    assert best(2, "bleu") == [2, 3]  # the earlier of equals, as a training keeps them
    assert best(3, "chrf") == [1, 2, 3]
    assert best(5, "chrf") == [1, 2, 3, 4, 10]
    with pytest.raises(
        UsageError, match=r"6 validated checkpoints, there are 5 \(1, 2, 3, 4, 10\).*train\.keep: it is 2"
    ):
        best(6, "chrf")
    assert newest_steps(tmp_path, 3, Train()) == [5, 6, 10]


def test_too_few_checkpoints_are_counted(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "cannot average 5 checkpoints, there are 4 (10, 20, 30, 40)" in fails(
        capsys, "average", copy, out, "--last", 5
    )
    assert "train.keep: it is 9" in fails(capsys, "average", copy, out, "--best", 5)
    (copy / "metrics.jsonl").unlink()
    assert "there are 0 (none)" in fails(capsys, "average", copy, out, "--best", 1)
    shutil.rmtree(copy / "checkpoints")
    assert "there are 0 (none)" in fails(capsys, "average", copy, out, "--last", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_damaged_checkpoint_is_named_and_left_where_it_is(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next((copy / "checkpoints" / "30" / "state").rglob("d/*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (copy / "checkpoints" / "50.unfinished").mkdir()
    before = contents(copy)
    told = fails(capsys, "average", copy, tmp_path / "out", "--last", 3)
    assert f"{copy / 'checkpoints' / '30'}: this checkpoint is damaged (" in told and file.name in told
    assert contents(copy) == before and (copy / "checkpoints" / "50.unfinished").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert door.main(["average", str(copy), str(tmp_path / "out"), "--last", "1"]) == 0


@pytest.mark.parametrize("call", ["metadata", "load"])
@pytest.mark.parametrize("late", [False, True])
def test_a_checkpoint_that_goes_while_it_is_read_is_named(
    copy: Path, monkeypatch: pytest.MonkeyPatch, call: str, late: bool
) -> None:
    whole = getattr(orbax, call)

    def read(place: Path, *arguments: object) -> object:
        if late:
            found = whole(place, *arguments)
        shutil.rmtree(place.parent)
        return found if late else whole(place, *arguments)

    monkeypatch.setattr(checkpoint.orbax, call, read)
    with pytest.raises(UsageError, match=r"checkpoints/20: a training process has just removed this checkpoint"):
        average(copy, [20, 40], read_config(copy))


def another_model(run: Path) -> None:
    model, tokenizers, card = load_model(run)
    other = card.model.model_copy(update={"d_ff": 31})
    values = jax.eval_shape(
        lambda: type(model)(other, card.source_vocabulary, card.target_vocabulary, rng=jax.random.key(1))
    )
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), values)
    save_model(run / "model", zeros, tokenizers, card.model_copy(update={"model": other}))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda run: shutil.rmtree(run / "model"), "this run has no model yet"),
        (lambda run: (run / "config.toml").unlink(), "not a run directory"),
        (another_model, "checkpoint 40 belongs to another model than"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None], told: str
) -> None:
    harm(copy)
    assert told in fails(capsys, "average", copy, tmp_path / "out", "--last", 1)
    assert not (tmp_path / "out").exists()


def test_a_place_in_the_run_that_is_taken_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(copy)
    for place in ("model", "model/new", "checkpoints", "checkpoints/40/new", "config.toml", ""):
        assert str(copy / place) in fails(capsys, "average", copy, copy / place, "--last", 2)
    assert contents(copy) == before
    assert door.main(["average", str(copy), str(copy / "average"), "--last", "2"]) == 0


@pytest.mark.parametrize(
    "flags", [[], ["--last", "1", "--best", "1"], ["--last", "0"], ["--best", "-1"], ["--last", "x"]]
)
def test_one_positive_number_is_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert "--" in fails(capsys, "average", run, tmp_path / "out", *flags)
    assert not any(tmp_path.iterdir())

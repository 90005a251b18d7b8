"""Checkpoints: what was saved comes back, damage is found, and what a crash leaves behind harms nothing."""

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from orbax.checkpoint import v1 as orbax

from runs import as_format_1, files_of_at_most, rewrite
from transformer.errors import ResourceError, UsageError
from transformer.run.checkpoints import FORMAT, Checkpoint, Checkpoints, TrainingProgress, _read, recover

pytestmark = pytest.mark.mixed_dtypes

State = dict[str, Array]
ENVIRONMENT, ORIGIN = {"jax": "0"}, {"tokenizers": "1"}


def state(step: int) -> State:
    return {"a": jax.random.normal(jax.random.key(step), (7, 11)), "b": jax.random.normal(jax.random.key(-step), (13,))}


def progress(step: int, best: int = 1) -> TrainingProgress:
    return TrainingProgress(
        best=0.5, best_step=best, validated=step, pending=[{"kl": 0.1, "nll": step / 3}], pending_seconds=0.7
    )


def save(checkpoints: Checkpoints, step: int, best: int = 1) -> None:
    checkpoints.save(step, state(step), progress(step, best), ENVIRONMENT, ORIGIN)


def restored(directory: Path) -> int:
    """The step of the checkpoint that a new process would go on from, whose arrays are those that were saved."""
    found = Checkpoints(directory, 2).restore(state(0))
    assert found is not None
    values, checkpoint = found
    jax.tree.map(np.testing.assert_array_equal, values, state(checkpoint.step))
    assert checkpoint.progress == progress(checkpoint.step)
    assert (checkpoint.environment, checkpoint.origin) == (ENVIRONMENT, ORIGIN)
    return checkpoint.step


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    checkpoints = Checkpoints(directory, 2)
    for step in (1, 2, 3, 4):
        save(checkpoints, step)
    return directory


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def test_the_latest_and_the_best_are_kept(saved: Path) -> None:
    assert Checkpoints(saved, 2).steps == [1, 3, 4]
    assert restored(saved) == 4


def test_without_any_there_is_nothing_to_restore(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "checkpoints", 2).restore(state(0)) is None


def flip(path: Path) -> None:
    """Changes one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [flip, cut, empty, Path.unlink])
@pytest.mark.fault("T05")
def test_damage_to_any_file_is_found(copy: Path, harm, caplog: pytest.LogCaptureFixture) -> None:
    files = sorted(path.relative_to(copy) for path in (copy / "4").rglob("*") if path.is_file())
    assert len(files) > 5
    for file in files:
        shutil.copytree(copy, copy.with_name("other"))
        if (copy / file).stat().st_size or harm is Path.unlink:
            harm(copy.with_name("other") / file)
            with caplog.at_level(logging.WARNING):
                assert restored(copy.with_name("other")) == 3, file
            named = file.relative_to("4").as_posix()
            assert f"checkpoint 4 is damaged ({named}: " in caplog.text or file.name == "manifest.json"
            assert "using 3" in caplog.text
            caplog.clear()
        shutil.rmtree(copy.with_name("other"))


@pytest.mark.fault("T05")
def test_no_bit_of_a_manifest_can_change(copy: Path) -> None:
    """Nothing lists its sha256 but itself."""
    file = copy / "4" / "manifest.json"
    whole = file.read_bytes()
    assert isinstance(_read(copy / "4", 4), Checkpoint)
    for place in range(len(whole)):
        for bit in range(8):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            assert not isinstance(_read(copy / "4", 4), Checkpoint), (place, bit)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.fault("T05")
def test_a_hundred_flips(copy: Path, seed: int) -> None:
    """Each of one bit, anywhere in any file of the newest checkpoint."""
    places = np.random.default_rng(seed)
    files = sorted(path for path in (copy / "4").rglob("*") if path.is_file() and path.stat().st_size)
    whole = shutil.copytree(copy, copy.with_name("whole"))
    for _ in range(100):
        file = files[places.integers(len(files))]
        content = bytearray(file.read_bytes())
        content[places.integers(len(content))] ^= 1 << int(places.integers(8))
        file.write_bytes(content)
        assert restored(copy) == 3, f"seed {seed}: {file}"
        shutil.rmtree(copy)
        shutil.copytree(whole, copy)


@pytest.mark.fault("T05")
def test_a_damaged_checkpoint_is_put_aside_and_written_again(copy: Path) -> None:
    flip(next((copy / "4" / "state").rglob("d/*")))
    checkpoints = Checkpoints(copy, 2)
    assert checkpoints.restore(state(0))
    assert (copy / "4.damaged").is_dir()
    save(checkpoints, 4)
    assert restored(copy) == 4


@pytest.mark.fault("T05")
def test_when_all_are_damaged_nothing_starts_from_scratch(copy: Path) -> None:
    for step in ("1", "3", "4"):
        cut(copy / step / "manifest.json")
    with pytest.raises(UsageError, match=r"every checkpoint is damaged \(4: .*; 3: .*; 1: "):
        Checkpoints(copy, 2).restore(state(0))
    assert Checkpoints(copy, 2).steps == [1, 3, 4]


@pytest.mark.fault("T05")
def test_a_directory_without_files_and_a_stolen_name(copy: Path) -> None:
    (copy / "6").mkdir()
    shutil.copytree(copy / "3", copy / "5")
    assert restored(copy) == 4
    assert (copy / "5.damaged").is_dir() and (copy / "6.damaged").is_dir()


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.fault("T01")
def test_a_checkpoint_is_there_while_it_is_replaced(copy: Path, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Death before the n-th renaming in the directory of the checkpoints."""
    checkpoints, rename, calls = Checkpoints(copy, 2), os.rename, []

    def dying(one: Path, two: Path) -> None:
        if Path(one).parent == copy:
            calls.append(one)
            if len(calls) == call:
                raise KeyboardInterrupt
        rename(one, two)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", dying)
        save(checkpoints, 4)
    recover(copy)
    assert restored(copy) == 4
    save(Checkpoints(copy, 2), 4)
    assert restored(copy) == 4
    assert sorted(path.name for path in copy.iterdir()) == ["1", "3", "4"]


@pytest.mark.fault("T06")
def test_leftovers_go_and_what_is_not_ours_stays(copy: Path) -> None:
    shutil.copytree(copy / "4", copy / "5.unfinished")
    shutil.copytree(copy / "1", copy / "2.unfinished1")
    (copy / "notes.txt").write_text("mine")
    (copy / "step_9").mkdir()
    (copy / "my.unfinished.notes").mkdir()
    assert restored(copy) == 4
    assert sorted(path.name for path in copy.iterdir()) == ["1", "3", "4", "my.unfinished.notes", "notes.txt", "step_9"]


@pytest.mark.fault("T03")
def test_a_failed_save_leaves_the_others_alone(copy: Path) -> None:
    before = sorted(path.relative_to(copy) for path in copy.rglob("*"))
    checkpoints = Checkpoints(copy, 2)
    with (
        files_of_at_most(100),
        pytest.raises(ResourceError, match=r"the checkpoint of step 5 cannot be written: File too large \("),
    ):
        save(checkpoints, 5)
    there = sorted(path.relative_to(copy) for path in copy.rglob("*"))
    assert [path for path in there if "unfinished" not in str(path)] == before  # late writes of Orbax may bring it back
    (copy / "4.unfinished").mkdir()
    save(checkpoints, 5)
    assert not (copy / "4.unfinished").exists()
    assert restored(copy) == 5


@pytest.mark.fault("T03")
def test_what_finds_no_room_is_not_begun(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state has 7 x 11 and 13 numbers of four bytes."""
    checkpoints, free = Checkpoints(copy, 2), [359]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[0]))
    with monkeypatch.context() as patch, pytest.raises(ResourceError, match=r"step 5 .*No space left on device \("):
        patch.setattr(orbax, "save", lambda *arguments: pytest.fail("it was begun"))
        save(checkpoints, 5)
    free[0] = 360
    save(checkpoints, 5)
    assert restored(copy) == 5


@pytest.mark.fault("T22")
def test_the_step_counts_and_not_the_time(copy: Path) -> None:
    save(Checkpoints(copy, 2), 10)
    for step, when in ((10, 0), (4, 1e9)):
        for path in [copy / str(step), *(copy / str(step)).rglob("*")]:
            os.utime(path, (when, when))
    assert restored(copy) == 10


def test_what_it_says_of_itself(saved: Path) -> None:
    manifest = json.loads((saved / "4" / "manifest.json").read_text(encoding="utf8"))
    present = {path.relative_to(saved / "4").as_posix() for path in (saved / "4").rglob("*") if path.is_file()}
    assert set(manifest["files"]) == present - {"manifest.json"}
    assert manifest["step"] == 4


# Formats: what another version has written


def test_format_1_is_read_by_names(copy: Path) -> None:
    rewrite(copy / "4", lambda manifest: as_format_1(manifest, ""))
    found = _read(copy / "4", 4)
    assert isinstance(found, Checkpoint), found
    metrics = {"kl": 6.0, "nll": 7.0, "tokens": 8.0, "gradient_norm": 0.5, "learning_rate": 0.1, "skipped": 0.0}
    assert found.progress == replace(progress(4), measure="", pending=[metrics])
    assert found.environment == {**ENVIRONMENT, "mesh": {"data": -1, "fsdp": 2, "tensor": 1}}
    assert (found.origin, found.format) == ({"tokenizers": "1"}, 1)
    assert Checkpoints(copy, 2).restore(state(0))


@pytest.mark.parametrize("change", ["added", "missing", "reordered"])
def test_fields_of_other_versions_harm_nothing(copy: Path, change: str) -> None:
    def changed(manifest: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = manifest["progress"]
        if change == "added":
            fields = {"of_later": [1, 2], **fields, "too": None}
        elif change == "missing":
            fields = {name: value for name, value in fields.items() if name not in ("without_better", "pending")}
        else:
            fields = dict(reversed(fields.items()))
        return {**dict(reversed(manifest.items())), "progress": fields, "also": 7}

    rewrite(copy / "4", changed)
    found = Checkpoints(copy, 2).restore(state(0))
    assert found is not None and found[1].step == 4
    expected = replace(progress(4), pending=[]) if change == "missing" else progress(4)
    assert found[1].progress == expected


def test_a_newer_format_is_named_and_neither_damaged_nor_passed_over(copy: Path) -> None:
    rewrite(copy / "4", lambda manifest: {**manifest, "format": FORMAT + 1, "version": "7.8"})
    fault = rf"4/manifest\.json: checkpoint format {FORMAT + 1}, this version reads up to {FORMAT}; .* 7\.8"
    with pytest.raises(UsageError, match=fault):
        Checkpoints(copy, 2).restore(state(0))
    assert Checkpoints(copy, 2).steps == [1, 3, 4]


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        ({"a": (7, 11)}, "has an array b, which this run does not have"),
        ({"a": (7, 11), "b": (13,), "c": (2,)}, "lacks the array c"),
        ({"a": (7, 12), "b": (13,)}, "has the array a with the shape"),
    ],
)
def test_a_state_with_other_arrays_is_refused_by_their_names(
    copy: Path, other: dict[str, tuple[int, ...]], fault: str
) -> None:
    with pytest.raises(UsageError, match=fault):
        Checkpoints(copy, 2).restore({name: jnp.zeros(shape) for name, shape in other.items()})


@pytest.mark.parametrize("written", [True, "2", 0, None, 1.5, -1])
def test_a_format_that_is_none_is_damage(copy: Path, written: object) -> None:
    rewrite(copy / "4", lambda manifest: {**manifest, "format": written})
    assert restored(copy) == 3

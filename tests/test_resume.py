"""Runs whose files have moved: what counts is the content of corpora, tokenizers and models, not their names."""

import gzip
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from runs import Death, all_but_speed, as_format_1, dying_after, metrics, model_bytes, rewrite, small
from transformer.config import Tokenizer
from transformer.data.clauses import clauses
from transformer.data.tokenizer import Tokenizers
from transformer.data.tokenizer_training import train_tokenizer
from transformer.errors import UsageError
from transformer.run import trainer
from transformer.run.resume import load_config
from transformer.run.trainer import train

pytestmark = pytest.mark.mixed_dtypes

SHORT = {"train__steps": 12, "train__eval_every": 6, "train__save_every": 4, "train__log_every": 5}
PATHS = {
    "data__train": ["data/a", "data/b.tsv"],
    "data__valid": ["data/valid"],
    "tokenizer__models": ["pieces/both.spm"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tokenizers: Tokenizers) -> Path:
    """Corpora, a tokenizer, a run that nothing has stopped (whole/), and one that died after step 5 (run/)."""
    place = tmp_path_factory.mktemp("module") / "project"
    (place / "data").mkdir(parents=True)
    (place / "pieces").mkdir()
    pairs = list(clauses("train", 200))
    for side, name in enumerate(("en", "de")):
        (place / "data" / f"a.{name}").write_text("".join(f"{pair[side]}\n" for pair in pairs[:120]), encoding="utf8")
        (place / "data" / f"valid.{name}").write_text(
            "".join(f"{pair[side]}\n" for pair in pairs[180:]), encoding="utf8"
        )
    (place / "data" / "b.tsv").write_text("".join("\t".join(pair) + "\n" for pair in pairs[120:180]), encoding="utf8")
    tokenizers.source.save(place / "pieces" / "both.spm")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        start(place / "whole")
        start(place / "run", until=5)
    return place


@pytest.fixture
def folder(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, which is the working directory."""
    place = Path(shutil.copytree(project, tmp_path / "project"))
    monkeypatch.chdir(place)
    return place


def start(run: Path, until: int | None = None, **changes: Any) -> None:
    """Trains, up to the death of the process when all is done that is due after a step."""
    config = small(run, **SHORT | PATHS | changes)
    if until is None:
        train(config)
        return
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Death):
        dying_after(patch, until)
        train(config)


def absolute(folder: Path) -> dict[str, Any]:
    return {key: [str(folder / path) for path in paths] for key, paths in PATHS.items()}


def dotted(folder: Path) -> dict[str, Any]:
    return {key: [f"./data/../{path}" for path in paths] for key, paths in PATHS.items()}


def moved(folder: Path) -> dict[str, Any]:
    """Elsewhere, and under other names."""
    shutil.move("data", "../elsewhere")
    Path("pieces/both.spm").rename("../other.model")
    for name in ("en", "de"):
        Path(f"../elsewhere/a.{name}").rename(f"../elsewhere/first.{name}")
    train, valid = ["../elsewhere/first", "../elsewhere/b.tsv"], ["../elsewhere/valid"]
    return {"data__train": train, "data__valid": valid, "tokenizer__models": ["../other.model"]}


def packed(folder: Path) -> dict[str, Any]:
    for path in [*Path("data").iterdir()]:
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    return PATHS | {"data__train": ["data/a", "data/b.tsv.gz"]}


def linked(folder: Path) -> dict[str, Any]:
    Path("link").symlink_to(folder)
    return {key: [f"link/{path}" for path in paths] for key, paths in PATHS.items()}


@pytest.mark.parametrize("move", [absolute, dotted, moved, packed, linked])
def test_a_run_whose_files_have_moved_is_resumed(
    folder: Path, move: Callable[[Path], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    paths = move(folder)
    with caplog.at_level(logging.INFO, logger="transformer"):
        start(folder / "run", **paths)
    assert "resumed from step 4" in caplog.text
    assert model_bytes(folder / "run") == model_bytes(folder / "whole")
    assert all_but_speed(folder / "run") == all_but_speed(folder / "whole")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"data__train": ["data/b.tsv", "data/a"]}, "in another order"),
        ({"data__train": ["data/a"]}, "another content"),
        ({"data__train": ["data/a", "data/a"]}, "another content"),
        ({"data__valid": ["data/valid", "data/valid"]}, "data.valid"),
        ({"tokenizer__models": ["other.spm"]}, "other tokenizers"),
        ({"tokenizer__models": []}, "tokenizer.models: "),
        ({"train__init_from": "whole"}, "train.init_from"),
        ({"train__steps": 2}, "train.steps"),
        ({"model__d_ff": 64}, "model.d_ff"),
    ],
)
def test_other_content_is_refused_before_anything_is_rebuilt(
    folder: Path, tokenizers: Tokenizers, change: dict[str, Any], fault: str
) -> None:
    sentences = [english for english, _ in clauses("train", 400)]
    train_tokenizer(sentences, Tokenizer(vocab_size=400)).save("other.spm")
    before = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    for allow_changes in (False, True):
        if fault == "data.valid" and allow_changes:
            continue
        with pytest.raises(UsageError, match=fault):
            train(small(folder / "run", **SHORT | PATHS | change), allow_changes=allow_changes)
    assert before == {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}


def test_a_config_that_leaves_all_to_the_record_resumes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("short.toml").write_text('run_dir = "run"\n', encoding="utf8")
    with caplog.at_level("INFO"):
        train(load_config("short.toml"))
    assert "train.save_every = 4" in caplog.text and "model.d_model = 16" in caplog.text  # reported as kept
    assert model_bytes(folder / "run") == model_bytes(folder / "whole")


def test_a_run_records_each_environment_and_reports_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An option that JAX on CPU does not read: the bits stay the same, and the report does not know that."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with caplog.at_level("INFO"):
        start(folder / "run")
    assert "NVIDIA_TF32_OVERRIDE  -> 0" in caplog.text
    entries = json.loads((folder / "run" / "environment.json").read_text(encoding="utf8"))
    assert [(entry["from_step"], entry["NVIDIA_TF32_OVERRIDE"]) for entry in entries] == [(0, ""), (4, "0")]
    assert model_bytes(folder / "run") == model_bytes(folder / "whole")


# Validation corpora


def best(run: Path) -> tuple[float, int]:
    """The best value and its step, as the newest checkpoint has them."""
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    progress = json.loads((newest / "manifest.json").read_text(encoding="utf8"))["progress"]
    return progress["best"], progress["best_step"]


def excel(run: Path) -> None:
    """Makes the best of a run so good that no model is better."""
    for directory in (run / "checkpoints").iterdir():
        rewrite(directory, lambda manifest: {**manifest, "progress": {**manifest["progress"], "best": -0.1}})


def make_old(run: Path) -> None:
    """Rewrites the records of a run as versions before format 2 wrote them."""
    for directory in (run / "checkpoints").iterdir():
        rewrite(directory, lambda manifest: as_format_1(manifest, "nll of data/valid"))
    path = run / "data" / "corpora.json"
    corpora = json.loads(path.read_text(encoding="utf8"))
    old = {split: {one["corpus"]: one["content"] for one in corpora[split]} for split in ("train", "valid")}
    path.write_text(json.dumps(old), encoding="utf8")


def test_other_validation_text_under_the_same_name_gets_a_best_model_of_its_own(folder: Path) -> None:
    """The old best, which no model could reach, is not compared with it."""
    start(folder / "own", until=8, train__best_metric="nll")
    assert best(folder / "own")[1] == 6
    excel(folder / "own")
    for name in ("en", "de"):
        Path(f"data/valid.{name}").write_text("Qqqq zzzz xyxy\n" * 9 + "Jjjj wwww\n", encoding="utf8")
    with pytest.raises(UsageError, match=r"data/valid has changed .*--allow-config-change"):
        start(folder / "own", train__best_metric="nll")
    train(small(folder / "own", **SHORT | PATHS, train__best_metric="nll"), allow_changes=True)
    value, step = best(folder / "own")
    assert step == 12 and value < -0.1


def test_the_same_validation_text_under_another_name_is_compared(folder: Path) -> None:
    start(folder / "own", until=8, train__best_metric="nll")
    excel(folder / "own")
    for name in ("en", "de"):
        Path(f"data/valid.{name}").rename(f"data/dev.{name}")
    start(folder / "own", train__best_metric="nll", data__valid=["data/dev"])
    assert best(folder / "own") == (-0.1, 6)


@pytest.mark.parametrize("other", [False, True])
def test_a_best_of_format_1_is_compared_where_the_text_is_the_same(folder: Path, other: bool) -> None:
    """It was of the corpora by their paths."""
    start(folder / "own", until=8, train__best_metric="nll")
    excel(folder / "own")
    make_old(folder / "own")
    if other:
        for name in ("en", "de"):
            Path(f"data/valid.{name}").write_text("Qqqq zzzz xyxy\n" * 9 + "Jjjj wwww\n", encoding="utf8")
    train(small(folder / "own", **SHORT | PATHS, train__best_metric="nll"), allow_changes=other)
    value, step = best(folder / "own")
    assert (step == 12 and value < -0.1) if other else (value, step) == (-0.1, 6)


@pytest.mark.parametrize("decides", ["all", "mean", "data/b.tsv"])
def test_each_validation_corpus_has_its_scores_and_one_rule_decides(
    folder: Path, decides: str, caplog: pytest.LogCaptureFixture
) -> None:
    corpora = {"data__valid": ["data/valid", "data/b.tsv"], "train__best_corpus": decides}
    with caplog.at_level(logging.INFO, logger="transformer"):
        start(folder / "own", **corpora, train__best_metric="chrf")
    last = metrics(folder / "own")[-1]
    for name in ("nll", "bleu", "chrf"):
        one, two = last[f"valid_{name}/valid"], last[f"valid_{name}/b.tsv"]
        if decides == "mean":
            assert last[f"valid_{name}"] == pytest.approx((one + two) / 2)
        elif decides == "all":
            assert min(one, two) - 1e-9 <= last[f"valid_{name}"] <= max(one, two) + 1e-9 or name != "nll"
        else:
            assert last[f"valid_{name}"] == two
    assert last["valid_nll/valid"] != last["valid_nll/b.tsv"]
    assert best(folder / "own")[0] in {line["valid_chrf"] for line in metrics(folder / "own") if "valid_chrf" in line}
    assert "of valid" in caplog.text and "of b.tsv" in caplog.text


@pytest.mark.parametrize("change", [{"tokenizer__models": ["other.spm"]}, {"train__steps": 2}])
def test_a_refused_run_of_format_1_stays_as_it_is(folder: Path, change: dict[str, Any]) -> None:
    sentences = [english for english, _ in clauses("train", 400)]
    train_tokenizer(sentences, Tokenizer(vocab_size=400)).save("other.spm")
    make_old(folder / "run")
    before = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    with pytest.raises(UsageError):
        train(small(folder / "run", **SHORT | PATHS | change), allow_changes=True)
    assert before == {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    start(folder / "run")


@pytest.mark.parametrize("ended", ["by patience", "at its last step"])
def test_a_run_that_has_ended_gets_a_best_model_for_new_validation_text(folder: Path, ended: str) -> None:
    few = {"train__patience": 1} if ended == "by patience" else {}
    few |= {"train__best_metric": "nll", "train__eval_every": 4}
    start(folder / "own", **few)
    excel(folder / "own")
    last = max(int(path.name) for path in (folder / "own" / "checkpoints").iterdir())
    for name in ("en", "de"):
        Path(f"data/valid.{name}").write_text("Qqqq zzzz xyxy\n" * 9 + "Jjjj wwww\n", encoding="utf8")
    train(small(folder / "own", **SHORT | PATHS | few), allow_changes=True)
    value, step = best(folder / "own")
    assert value < -0.1 and step >= last
    found = [line["step"] for line in metrics(folder / "own") if "valid_nll" in line]
    assert found == sorted(set(found)) and last in found


def test_a_best_of_format_1_is_not_compared_after_a_kill_either(folder: Path) -> None:
    """The first attempt with other text is killed before it saves, when it has recorded that text already."""
    start(folder / "own", until=8, train__best_metric="nll")
    excel(folder / "own")
    make_old(folder / "own")
    for name in ("en", "de"):
        Path(f"data/valid.{name}").write_text("Qqqq zzzz xyxy\n" * 9 + "Jjjj wwww\n", encoding="utf8")
    config = small(folder / "own", **SHORT | PATHS, train__best_metric="nll")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Death):
        patch.setattr(trainer, "run_updates", Mock(side_effect=Death))
        train(config, allow_changes=True)
    train(config)
    value, step = best(folder / "own")
    assert value < -0.1 and step == 12


def test_a_changed_about_reaches_the_model_of_a_run(folder: Path) -> None:
    start(folder / "own", about__licence="CC0")
    before = model_bytes(folder / "own")
    start(folder / "own", about__licence="CC BY 4.0")
    after = model_bytes(folder / "own")
    assert b"CC BY 4.0" in after["config.json"] and b"CC0" not in after["config.json"]
    assert after["model.safetensors"] == before["model.safetensors"]
    start(folder / "own")
    assert model_bytes(folder / "own") == after


def test_a_damaged_model_of_a_run_is_reported_and_stops_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(folder / "whole" / "model", folder / "run" / "model", dirs_exist_ok=True)
    (folder / "run" / "model" / "config.json").write_text("{", encoding="utf8")
    start(folder / "run", about__name="new")
    assert "model/config.json: " in caplog.text and (folder / "run" / "checkpoints" / "12").is_dir()


@pytest.mark.parametrize("line", ["data = 3", "train = 'x'", "[data]\nvalid = 3", "[train]\nbest_corpus = 3"])
def test_a_config_of_wrong_types_is_one_line_for_a_run_that_has_begun_too(folder: Path, line: str) -> None:
    run = str(folder / "run")
    Path("wrong.toml").write_text(f'run_dir = "{run}"\n{line}\n', encoding="utf8")
    with pytest.raises(UsageError, match=r"^wrong\.toml: ") as failure:
        load_config("wrong.toml")
    assert "\n" not in str(failure.value)

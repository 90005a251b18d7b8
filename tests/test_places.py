"""Places that a user names by mistake: what is there, and what to name instead."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from transformer.cli import main as door
from transformer.data.clauses import clauses
from transformer.errors import UsageError
from transformer.files.model_files import find_model

pytestmark = pytest.mark.mixed_dtypes

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    "part",
    [
        "checkpoints/20", "checkpoints/10", "checkpoints", "checkpoints/20/state", "checkpoints/20/manifest.json",
        "data", "data/train", "data/valid_survey", "data/tokenizer", "model/model.safetensors", "config.toml",
        "checkpoints/30",
    ],
)  # fmt: skip
@pytest.mark.parametrize("relative", [False, True])
def test_a_part_of_a_run_names_the_run(part: str, relative: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run = GOLDEN / "run"
    if relative:
        monkeypatch.chdir((run / part).parent if (run / part).parent.exists() else run)
        path = Path((run / part).name if (run / part).parent.exists() else part)
    else:
        path = run / part
    with pytest.raises(UsageError) as failure:
        find_model(path)
    text = str(failure.value)
    named = text.split("a part of the run ")[1].split(", not a model")[0]
    assert Path(named).resolve() == run and "average" in text and "\n" not in text


@pytest.mark.parametrize("part", ["", "model"])
def test_a_run_and_its_model_are_taken(part: str) -> None:
    assert find_model(GOLDEN / "run" / part) == GOLDEN / "run" / "model"


def test_a_link_to_a_part_of_a_run_names_the_run(tmp_path: Path) -> None:
    for part in ("checkpoints/20", "data/tokenizer"):
        link = tmp_path / part.replace("/", "_")
        link.symlink_to(GOLDEN / "run" / part)
        with pytest.raises(UsageError, match="a part of the run "):
            find_model(link)


def test_models_of_other_programs_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="import --from marian"):
        find_model(GOLDEN / "marian")
    (tmp_path / "model.bin").touch()
    with pytest.raises(UsageError, match="CTranslate2"):
        find_model(tmp_path)


def test_the_copy_of_a_first_model_in_a_run_is_a_model(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "run", tmp_path / "run")
    shutil.copytree(GOLDEN / "model", tmp_path / "run" / "data" / "initial")
    assert find_model(tmp_path / "run" / "data" / "initial") == tmp_path / "run" / "data" / "initial"


def test_a_tilde_in_an_argument_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = ["--source", "en", "--target", "de"]
    assert door.main(["corpus", "builtin:clauses:test:2", "~/out/x", *words]) == 0
    assert (tmp_path / "out" / "x.en").read_text(encoding="utf8").count("\n") == 2
    assert door.main(["translate", "--model=~/none"]) == 2
    assert f"{tmp_path}/none: no model here" in capsys.readouterr().err
    assert door.main(["corpus", "builtin:clauses:test:2", "~nobody-here/x", *words]) == 2
    assert "no home directory ~nobody-here" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# Corpora in other encodings


def two_files(folder: Path, encoding: str) -> str:
    for side, name in enumerate(("en", "de")):
        text = "".join(f"{pair[side]} ü\n" for pair in clauses("test", 30))
        (folder / f"x.{name}").write_bytes(text.encode(encoding))
    return str(folder / "x")


def tsv(folder: Path, encoding: str) -> str:
    text = "".join("\t".join(pair) + " ü\n" for pair in clauses("test", 30))
    (folder / "x.tsv").write_bytes(text.encode(encoding))
    return str(folder / "x.tsv")


def jsonl(folder: Path, encoding: str) -> str:
    text = "".join(f'{{"en": "{english}", "de": "{german} ü"}}\n' for english, german in clauses("test", 30))
    (folder / "x.jsonl").write_bytes(text.encode(encoding))
    return str(folder / "x.jsonl")


@pytest.mark.parametrize("write", [two_files, tsv, jsonl])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "latin-1"])
def test_a_corpus_in_another_encoding_is_refused_and_leaves_no_file(
    write: Callable[[Path, str], str], encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write(tmp_path, encoding)
    words = ["corpus", corpus, str(tmp_path / "out"), "--source", "en", "--target", "de"]
    assert door.main(words) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and ("iconv" in told or "JSON" in told or "no tab" in told)
    assert encoding not in ("utf-16", "utf-32") or encoding.upper() in told
    assert not list(tmp_path.glob("out*"))


def test_as_many_pairs_may_be_left_out_as_the_user_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.en").write_text("a\n" * 8 + " \n" * 2, encoding="utf8")
    (tmp_path / "x.de").write_text("b\n" * 10, encoding="utf8")
    words = ["corpus", str(tmp_path / "x"), str(tmp_path / "out"), "--source", "en", "--target", "de"]
    assert door.main(words) == 3
    assert "0.2 is left out, more than --max-left-out = 0.1" in capsys.readouterr().err
    assert door.main([*words, "--max-left-out", "0.2"]) == 0
    assert (tmp_path / "out.de").read_text(encoding="utf8") == "b\n" * 8
    assert door.main([*words, "--max-left-out", "2"]) == 2

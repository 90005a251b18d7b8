"""[about]: what its author says about a model goes wherever the model goes."""

import json
from pathlib import Path

import pytest

from random_models import random_translator
from runs import small
from transformer.cli import main as door
from transformer.config import About
from transformer.data.tokenizer import Tokenizers
from transformer.errors import UsageError
from transformer.run.initial_model import complete
from transformer.translation.model_dir import load_model, save_model

pytestmark = pytest.mark.mixed_dtypes

ABOUT = About(
    name="Captions ▁ 1.0",
    licence="CC BY-NC 4.0;\n  no \"warranty\"",
    data="Multi30k (Elliott et al. 2016), Flickr's terms\tapply\u2028to the images ```",
)  # fmt: skip


@pytest.fixture
def model(tokenizers: Tokenizers, tmp_path: Path) -> Path:
    ours = random_translator(tokenizers, norm="post", end=4)
    save_model(tmp_path / "model", ours.model, tokenizers, ours.config.model_copy(update={"about": ABOUT}))
    return tmp_path / "model"


def test_config_json_keeps_it_to_the_letter(model: Path) -> None:
    assert load_model(model)[2].about == ABOUT
    assert json.loads((model / "config.json").read_text(encoding="utf8"))["about"] == ABOUT.model_dump()


def test_a_model_without_it_is_as_before(model: Path, tmp_path: Path) -> None:
    parameters, tokenizers, card = load_model(model)
    save_model(tmp_path / "silent", parameters, tokenizers, card.model_copy(update={"about": About()}))
    assert "about" not in json.loads((tmp_path / "silent" / "config.json").read_text(encoding="utf8"))


def test_it_is_kept_in_every_export_and_comes_back(model: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("Does she carry\n")
    for program in ("ctranslate2", "marian"):
        words = ["export", str(tmp_path / program), "--model", str(model), "--to", program, "--check", str(lines)]
        assert door.main(words) == 0
        told = (tmp_path / program / "README.md").read_text(encoding="utf8").splitlines()
        assert "Name: Captions ▁ 1.0" in told
        assert 'Licence: CC BY-NC 4.0; no "warranty"' in told
        assert "Data: Multi30k (Elliott et al. 2016), Flickr's terms apply to the images ```" in told
    assert door.main(["import", str(tmp_path / "marian"), str(tmp_path / "again"), "--from", "marian"]) == 0
    assert load_model(tmp_path / "again")[2].about == ABOUT
    assert door.main(["convert", str(model), str(tmp_path / "half"), "--dtype", "float16"]) == 0
    assert load_model(tmp_path / "half")[2].about == ABOUT


@pytest.mark.parametrize("own", ["", "CC0"])
def test_a_training_that_starts_from_a_model_keeps_what_it_does_not_say_itself(
    model: Path, tmp_path: Path, own: str
) -> None:
    given = {"about__licence": own} if own else {}
    config = small(tmp_path / "run", train__init_from=str(model), **given)
    config = config.model_copy(update={"model": type(config.model)(), "tokenizer": type(config.tokenizer)()})
    config.directory.mkdir()
    completed, _ = complete(config)
    assert completed.about == ABOUT.model_copy(update={"licence": own} if own else {})


def test_a_book_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"about\.data = "):
        small(tmp_path / "run", about__data="a" * 10_001)

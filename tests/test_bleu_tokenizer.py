"""The tokenizer of BLEU follows the target language, and is one and the same in train, evaluate and average."""

import json
import logging
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.tokenizers import tokenizer_ja_mecab, tokenizer_ko_mecab

from calling import Caller
from runs import metrics, small
from transformer.data.clauses import clauses
from transformer.errors import UsageError
from transformer.evaluation.bleu_tokenizer import bleu_tokenizer, check_bleu_tokenizer, explain_tokens
from transformer.evaluation.metrics import bleu
from transformer.run.averaging import best_steps, read_config
from transformer.run.low_bleu import low_bleu_reason
from transformer.run.resume import load_config
from transformer.run.trainer import train
from transformer.translation.model_dir import load_model

pytestmark = pytest.mark.mixed_dtypes


@pytest.fixture(autouse=True)
def without_mecab(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the extras, whatever is installed here."""
    monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
    monkeypatch.setattr(tokenizer_ko_mecab, "MeCab", None)


@pytest.mark.parametrize(
    ("languages", "tokenizer"),
    [
        ("zh zh-TW zho_Hans zho_Hant zh_CN cmn yue yue_Hant lzh wuu nan zh-Hant-HK", "zh"),
        ("ja ja_XX jpn_Jpan JA", "ja-mecab"),
        ("ko ko_KR kor_Hang", "ko-mecab"),
        ("th tha_Thai th_TH lo lao_Laoo km khm_Khmr my mya_Mymr my_MM shn bo bod_Tibt dz dzo nod", "char"),
        ("de en_XX hi tam_Taml ar vi he ka am el fi zh-Latn ja_Latn ind_Latn xx forward", "13a"),
    ],
)
def test_every_language_has_its_tokenizer(languages: str, tokenizer: str) -> None:
    assert {code: bleu_tokenizer(code) for code in languages.split()} == dict.fromkeys(languages.split(), tokenizer)
    assert bleu_tokenizer(languages.split()[0], "intl") == "intl"


def test_a_language_without_a_code_gets_13a() -> None:
    assert bleu_tokenizer("") == "13a"


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_missing_packages_are_an_error_with_the_extra(language: str) -> None:
    with pytest.raises(UsageError, match=rf"KEY auto: .*{language}-mecab.*\[{language}\].*KEY char"):
        check_bleu_tokenizer(bleu_tokenizer(language), "KEY", "auto")
    check_bleu_tokenizer("char", "KEY", "char")


SENTENCES = {
    "th": "วันนี้อากาศดีมากเราไปเดินเล่นที่สวน",
    "km": "ថ្ងៃនេះអាកាសធាតុល្អណាស់យើងទៅដើរលេង",
    "my": "ဒီနေ့ရာသီဥတုကောင်းတယ်ငါတို့ပန်းခြံသွားမယ်",
    "zh": "今天天气很好我们去公园散步。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_texts_without_spaces_get_a_bleu_and_13a_explains_why_not(language: str) -> None:
    references = [SENTENCES[language], SENTENCES[language][::-1]] * 5
    hypotheses = [line[:-3] + line[-2:] for line in references]
    tokenizer = bleu_tokenizer(language)
    assert bleu(hypotheses, references, tokenize=tokenizer).value > 50
    assert bleu(hypotheses, references).value < 1
    assert not explain_tokens(references, tokenizer) and " tokens of a reference" in explain_tokens(references, "13a")


@pytest.mark.parametrize(
    "references", [["Il pleut sur la ville aujourd'hui."], ["oui", "non"], ["हाँ", "यह मेरी किताब है"]]
)
def test_texts_with_spaces_and_short_ones_are_not_explained_by_the_tokenizer(references: list[str]) -> None:
    assert explain_tokens(references, "13a") == ""


def history(nlls: list[float | None], bleu: float = 0.0, chrf: float = 5.0) -> list[dict[str, Any]]:
    return [{"valid_nll": nll, "valid_bleu": bleu, "valid_chrf": chrf} for nll in nlls]


def test_a_low_bleu_is_reported_once_when_nll_falls() -> None:
    falling = [5.0, 4.0, 3.0, 2.5, 2.0]
    assert [bool(low_bleu_reason(history(falling[:count]), "few")) for count in range(6)] == [0, 0, 0, 1, 0, 0]
    assert "few" in low_bleu_reason(history(falling[:3]), "few")
    assert "chrF" in low_bleu_reason(history(falling[:3], chrf=30.0), "")
    for other in (history([5.0, 5.1, 4.0]), history([5.0, None, 4.0]), history([5.0, 4.0, 3.0], bleu=2.0)):
        assert low_bleu_reason(other, "few") == ""
    assert low_bleu_reason(history(falling[:3]), "") == ""  # the model is only at its beginning


# Runs

SHORT: dict[str, Any] = {"train__steps": 6, "train__eval_every": 2, "train__save_every": 2, "train__keep": 9}


def corpus(prefix: Path, target: str, count: int) -> str:
    """English clauses, and German ones without spaces in place of a language that has none."""
    pairs = list(clauses("train", count))
    for side, name in enumerate(("en", target)):
        lines = (pair[side] if side == 0 else pair[side].replace(" ", "") for pair in pairs)
        Path(f"{prefix}.{name}").write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    return str(prefix)


def of_language(folder: Path, target: str, **changes: Any) -> Any:
    files = {"data__train": [corpus(folder / "a", target, 300)], "data__valid": [corpus(folder / "v", target, 20)]}
    return small(folder / "run", data__target=target, **(SHORT | files | changes))


@pytest.fixture(scope="module")
def thai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a training to Thai."""
    config = of_language(tmp_path_factory.mktemp("thai"), "th")
    train(config)
    return config.directory


def old_record(run: Path) -> None:
    """Makes a run one of a version without train.bleu_tokenizer."""
    record = run / "config.toml"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(line for line in lines if not line.startswith("bleu_tokenizer")))
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().replace('"valid_bleu_signature"', '"other"'))


def validations(run: Path) -> list[dict[str, Any]]:
    return [line for line in metrics(run) if "valid_bleu" in line]


def test_validations_have_the_signature_and_the_model_names_no_setting(thai: Path) -> None:
    assert [line["step"] for line in validations(thai)] == [2, 4, 6]
    assert all("|tok:char|" in line["valid_bleu_signature"] for line in validations(thai))
    assert "bleu_tokenizer" not in json.loads((thai / "model" / "config.json").read_text())
    assert tomllib.loads((thai / "config.toml").read_text())["train"]["bleu_tokenizer"] == "auto"


def test_evaluate_uses_the_tokenizer_of_the_model(thai: Path, tmp_path: Path, call: Caller) -> None:
    words = ["--source", thai.parent / "v.en", "--reference", shutil.copy(thai.parent / "v.th", tmp_path / "ref")]
    shown = call("evaluate", "--model", thai, *words, "--format", "json", "--metrics", "bleu")
    assert "|tok:char|" in json.loads(shown.out)["BLEU"]["signature"]
    model = load_model(thai)[2]
    assert model.model_copy(update={"bleu_tokenizer": "intl"}).content()["bleu_tokenizer"] == "intl"


def test_a_low_bleu_of_a_run_is_reported_with_its_setting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = of_language(tmp_path, "lo", train__bleu_tokenizer="13a")
    with caplog.at_level(logging.WARNING, logger="transformer"):
        train(config)
    found = [message for message in caplog.messages if "train.bleu_tokenizer" in message]
    assert len(found) == 1 and "13a" in found[0] and " tokens of a reference" in found[0]
    assert load_model(config.directory)[2].bleu_tokenizer == "13a"
    assert all("|tok:13a|" in line["valid_bleu_signature"] for line in validations(config.directory))


@pytest.mark.fault("X28")
@pytest.mark.parametrize("language", ["ja", "kor_Hang"])
def test_a_training_that_needs_missing_packages_computes_nothing(language: str, tmp_path: Path, call: Caller) -> None:
    config = of_language(tmp_path, language)
    words = [tmp_path / "config.toml", "--run-dir", config.run_dir, "--data.target", language]
    words += ["--data.train", config.data.train[0], "--data.valid", config.data.valid[0]]
    error = call.fails(2, "train", *words)
    assert "--train.bleu-tokenizer auto" in error and f"[{language[:2]}]" in error and "char" in error
    assert {path.name for path in config.directory.iterdir()} == {"lock"}


@pytest.mark.fault("X28")
def test_an_evaluation_that_needs_missing_packages_reads_nothing(tmp_path: Path, call: Caller) -> None:
    words = ["evaluate", "--hypothesis", tmp_path / "none", "--reference", tmp_path / "none.ja"]
    assert "[ja]" in call.fails(2, *words)
    assert "[ko]" in call.fails(2, *words, "--target-language", "ko_KR")
    assert "none" in call.fails(3, *words, "--tokenize", "char")


def test_an_older_run_keeps_13a_and_may_change_it(thai: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(shutil.copytree(thai.parent, tmp_path / "copy"))
    run = folder / "run"
    old_record(run)
    config = of_language(folder, "th", train__steps=8)
    resumed = load_config(folder / "config.toml", {"run_dir": str(run), **paths(config), "train.steps": 8})
    assert resumed.train.bleu_tokenizer == "13a" and read_config(run).train.bleu_tokenizer == "13a"
    train(resumed, allow_changes=True)
    assert "|tok:13a|" in validations(run)[-1]["valid_bleu_signature"]
    changed = load_config(
        folder / "config.toml",
        {"run_dir": str(run), **paths(config), "train.steps": 8, "train.bleu_tokenizer": "auto"},
    )
    with pytest.raises(UsageError, match=r"train\.bleu_tokenizer: '13a' -> 'char'"):
        train(changed)
    train(changed, allow_changes=True)
    assert "the best model is chosen again from step 8" in caplog.text
    assert best_steps(run, 1, read_config(run)) == [8]  # that is the only validation with char


def paths(config: Any) -> dict[str, Any]:
    return {
        "data.target": config.data.target,
        "data.train": list(config.data.train),
        "data.valid": list(config.data.valid),
        "train.eval_every": 2,
        "train.save_every": 2,
        "train.keep": 9,
    }


def test_an_older_run_to_a_language_with_spaces_is_unchanged(tmp_path: Path) -> None:
    record = tmp_path / "config.toml"
    record.write_text('run_dir = "run"\n[data]\nsource = "en"\ntarget = "de"\ntrain = ["a"]\nvalid = ["b"]\n')
    assert read_config(tmp_path).train.bleu_tokenizer == "auto"


def test_the_best_are_those_with_the_tokenizer_of_the_run(thai: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(thai, tmp_path / "run"))
    lines = validations(run)
    for line, (value, tokenizer) in zip(lines, [(9.0, "13a"), (2.0, "char"), (1.0, "char")], strict=True):
        line |= {"valid_bleu": value, "valid_bleu_signature": f"nrefs:1|tok:{tokenizer}|smooth:exp"}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert best_steps(run, 1, read_config(run)) == [4]
    assert best_steps(run, 2, read_config(run)) == [4, 6]
    with pytest.raises(UsageError, match="there are 2"):
        best_steps(run, 3, read_config(run))

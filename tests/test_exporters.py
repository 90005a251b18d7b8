"""Exporters fail closed: what is not supported is refused by its name, and what they write gives the same results."""

import io
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from sentencepiece import SentencePieceTrainer

from random_models import random_translator
from transformer.cli import main as door
from transformer.cli import model_output
from transformer.config import Decode, Model
from transformer.data.clauses import clauses
from transformer.data.tokenizer import Tokenizer, Tokenizers
from transformer.errors import UsageError
from transformer.interop import supported
from transformer.interop.agreement import Agreement
from transformer.interop.ctranslate2 import export as ctranslate2
from transformer.interop.marian import export as marian_export
from transformer.translation.model_dir import load_model, save_model
from transformer.translation.translator import Translator

pytestmark = pytest.mark.mixed_dtypes

# One layer compiles faster; the order of several is tested in test_ctranslate2.py and test_marian.py.
small_translator = partial(random_translator, encoder_layers=1, decoder_layers=1)
EXPORTERS = {"ctranslate2": ctranslate2, "marian": marian_export}
KEYS = [f"{name}.{key}" for name, part in (("model", Model), ("decode", Decode)) for key in part.model_fields]
LINES = ["Does she carry", "Do you arrive", "His shirt is", "Who calls your", "<s> a </s>", "<pad>"]


@pytest.fixture
def model(tmp_path: Path, tokenizers: Tokenizers) -> Path:
    """One that both programs support."""
    return saved(small_translator(tokenizers, norm="post", end=4), tmp_path)


def saved(ours: Translator, tmp_path: Path, **decode: Any) -> Path:
    card = ours.config.model_copy(update={"decode": ours.config.decode.model_copy(update=decode)})
    save_model(tmp_path / "model", ours.model, ours.tokenizers, card)
    (tmp_path / "lines").write_text("".join(f"{line}\n" for line in LINES), encoding="utf8")
    return tmp_path / "model"


def export(model: Path, program: str, *more: str) -> int:
    out, lines = str(model.with_name("out")), str(model.with_name("lines"))
    return door.main(["export", out, "--model", str(model), "--to", program, "--check", lines, *more])


def refused(model: Path, program: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line of an export that cannot be, after which nothing is there."""
    capsys.readouterr()
    assert export(model, program, *more) == 2
    _, told = capsys.readouterr()
    assert told.startswith("error: ") and told.count("\n") == 1
    assert sorted(os.listdir(model.parent)) == ["lines", "model"]
    return told


@pytest.mark.parametrize("program", EXPORTERS)
def test_every_setting_of_a_model_is_known_to_every_exporter(program: str) -> None:
    assert sorted(EXPORTERS[program].SUPPORTED) == sorted(KEYS)


@pytest.mark.parametrize("program", EXPORTERS)
@pytest.mark.parametrize("key", ["model.positions", "model.remat", "decode.max_extra"])
def test_a_setting_that_an_exporter_does_not_know_is_refused(
    model: Path, program: str, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a setting of a later version would be."""
    monkeypatch.delitem(EXPORTERS[program].SUPPORTED, key)
    assert f"error: {key} = " in refused(model, program, capsys)


@pytest.mark.parametrize("program", EXPORTERS)
def test_a_parameter_that_an_exporter_does_not_read_is_refused(
    model: Path, program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = supported.named
    more = {"encoder.self_attention.relative.table": np.zeros(3)}
    monkeypatch.setattr(supported, "named", lambda model: {**named(model), **more})
    assert "no equivalent of the parameter encoder.self_attention.relative.table" in refused(model, program, capsys)


@pytest.mark.parametrize("stop", ["certain", "unlikely"])
def test_a_rule_of_stopping_that_ctranslate2_lacks_is_refused_until_it_is_replaced(
    tokenizers: Tokenizers, tmp_path: Path, stop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(small_translator(tokenizers, end=4), tmp_path, stop=stop)
    assert f"decode.stop = '{stop}'" in (told := refused(model, "ctranslate2", capsys))
    assert "--decode.stop full" in told
    assert export(model, "ctranslate2", "--decode.stop", "full", "--decode.beam-size", "2") == 0
    assert "beam_size=2," in (tmp_path / "out" / "README.md").read_text(encoding="utf8")


def test_a_flag_that_is_no_value_of_the_setting_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "decode.beam_size = 'many'" in refused(model, "ctranslate2", capsys, "--decode.beam-size", "many")


# Vocabularies

SYMBOLS: list[dict[str, Any]] = [
    {"user_defined_symbols": "<pad>,<s>,</s>", "pad_id": -1, "bos_id": -1, "eos_id": -1},
    {"user_defined_symbols": "</s>,</s:2>", "pad_id": -1, "bos_id": 1, "eos_id": -1},
    {"control_symbols": "<s>,<pad>", "pad_id": -1, "bos_id": -1, "eos_id": 2, "unk_id": 0},
    {"user_defined_symbols": "<pad>,<mask>", "pad_id": -1, "bos_id": 1, "eos_id": 2},
    {"user_defined_symbols": "▁</s>,<s>▁", "pad_id": 3, "bos_id": -1, "eos_id": -1},
]


@pytest.fixture(params=SYMBOLS, ids=lambda options: ",".join(map(str, options.values())))
def symbols(request: pytest.FixtureRequest) -> Tokenizers:
    """A SentencePiece model that lacks control symbols, and may have pieces of their names."""
    model = io.BytesIO()
    texts = (english for english, _ in clauses("train", 300))
    SentencePieceTrainer.train(
        sentence_iterator=texts,
        model_writer=model,
        vocab_size=200,
        hard_vocab_limit=False,
        minloglevel=3,
        **request.param,
    )
    tokenizer = Tokenizer(model.getvalue())
    return Tokenizers(tokenizer, tokenizer)


def test_every_id_has_a_name_of_its_own_and_the_export_says_the_same(
    symbols: Tokenizers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = symbols.source
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    assert len(set(pieces)) == len(pieces)
    assert len({tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}) == 4
    typed = tokenizer.encode(["<pad> <s> </s> <s>", "</s>"])
    assert not {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id} & {index for ids in typed for index in ids}
    model = saved(random_translator(symbols, norm="post", end=6), tmp_path)
    with caplog.at_level("INFO", logger="transformer"):
        assert export(model, "ctranslate2", "--decode.min-length", "4") == 0
    (tokens,) = re.findall(r"log-probabilities of (\d+) tokens", caplog.text)
    assert int(tokens) > 3 * len(LINES)  # not of ends alone
    vocabulary = json.loads((tmp_path / "out" / "shared_vocabulary.json").read_text(encoding="utf8"))
    assert vocabulary == pieces


def test_marian_gets_as_many_names_as_ids(symbols: Tokenizers, tmp_path: Path) -> None:
    model = saved(small_translator(symbols, norm="post", end=6), tmp_path)
    (tmp_path / "out").mkdir()
    marian_export.exporter(*load_model(model))(tmp_path / "out")
    ids = json.loads((tmp_path / "out" / "vocab.json").read_text(encoding="utf8"))
    assert sorted(ids.values()) == list(range(symbols.source.vocab_size))


# Disagreement


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (Agreement("Peer", 20, {1: 20, 4: 20}, 99, 0.01), 2),
        (Agreement("Peer", 20, {1: 20, 4: 0}, 99, 0.0), 2),
        (Agreement("Peer", 20, {1: 19, 4: 19}, 99, 0.0), 0),
    ],
)
def test_what_does_not_say_the_same_is_removed(
    model: Path,
    found: Agreement,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("transformer.interop.agreement.agreement", lambda *arguments: found)
    out = model.with_name("out")
    if code:
        assert "was deleted" in refused(model, "ctranslate2", capsys)
        assert export(model, "ctranslate2", "--keep") == 2
        assert (out / "model.bin").exists() and f"kept in {out}" in capsys.readouterr().err
    else:
        assert export(model, "ctranslate2") == 0


def test_rounded_weights_may_differ_by_half(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "transformer.interop.agreement.agreement", lambda *arguments: Agreement("Peer", 20, {1: 10, 4: 9}, 99, 2.0)
    )
    assert "9 of 20 translations" in refused(model, "ctranslate2", capsys, "--quantization", "int8")
    monkeypatch.setattr(
        "transformer.interop.agreement.agreement", lambda *arguments: Agreement("Peer", 20, {1: 10, 4: 10}, 99, 2.0)
    )
    assert export(model, "ctranslate2", "--quantization", "int8") == 0


def test_an_import_that_does_not_say_the_same_is_removed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(model, "marian") == 0
    monkeypatch.setattr(model_output, "import_object", lambda place: lambda *arguments: None)  # without PyTorch
    monkeypatch.setattr(
        "transformer.interop.agreement.agreement", lambda *arguments: Agreement("Peer", 20, {1: 18, 4: 20}, 99, 0.0)
    )
    words = ["import", str(tmp_path / "out"), str(tmp_path / "again"), "--from", "marian"]
    assert door.main(words) == 2
    assert not (tmp_path / "again").exists() and "18 of 20" in capsys.readouterr().err
    assert door.main([*words, "--keep"]) == 2
    assert (tmp_path / "again" / "manifest.json").exists()


@pytest.mark.parametrize("place", ["deep/er/out", "empty", "link"])
def test_a_failed_check_leaves_a_place_as_it_was(
    model: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = model.parent
    (parent / "empty").mkdir()
    (parent / "link").symlink_to("empty")
    before = sorted(parent.rglob("*"))
    words = ["export", str(parent / place), "--model", str(model), "--to", "ctranslate2"]
    for failure, code in ((Agreement("Peer", 20, {1: 0}, 99, 0.0), 2), (MemoryError(), 4), (KeyboardInterrupt(), 130)):

        def agreement(*arguments: Any, failure: Any = failure) -> Agreement:
            if isinstance(failure, BaseException):
                raise failure
            return failure

        monkeypatch.setattr("transformer.interop.agreement.agreement", agreement)
        assert door.main(words) == code
        assert sorted(parent.rglob("*")) == before


def test_a_model_that_computes_in_bfloat16_is_checked_in_float32(tokenizers: Tokenizers, tmp_path: Path) -> None:
    model = saved(small_translator(tokenizers, compute_dtype="bfloat16", end=4), tmp_path)
    assert export(model, "ctranslate2") == 0
    assert export(model, "marian") == 2  # norms before the sublayers, and not its precision


def test_that_no_translation_was_compared_is_reported(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert export(model, "ctranslate2", "--decode.min-length", "60") == 0
    assert "no translation of the 6 lines could be compared" in caplog.text


def sentencepiece(**options: Any) -> Tokenizer:
    model = io.BytesIO()
    texts = (english for english, _ in clauses("train", 300))
    SentencePieceTrainer.train(
        sentence_iterator=texts, model_writer=model, hard_vocab_limit=False, minloglevel=3, **options
    )
    return Tokenizer(model.getvalue())


def test_one_symbol_for_start_and_end_ends_a_translation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = sentencepiece(vocab_size=200, unk_piece="<pad>", bos_id=-1, eos_id=3, eos_piece="<s>", pad_id=-1)
    assert tokenizer.bos_id == tokenizer.eos_id or tokenizer.eos_id not in tokenizer.never_ids
    shared = Tokenizers(tokenizer, tokenizer)
    model = saved(small_translator(shared, norm="post", end=6), tmp_path)
    with caplog.at_level("INFO", logger="transformer"):
        assert export(model, "ctranslate2") == 0
    assert "0 of 0" not in caplog.text


@pytest.mark.parametrize("sizes", [(120, 180), (180, 120)])
def test_separate_vocabularies_of_other_sizes_come_back_from_marian(tmp_path: Path, sizes: tuple[int, int]) -> None:
    """The start symbol of the target is its last id, which there is no id source, or a piece of it."""
    both = Tokenizers(*(sentencepiece(vocab_size=size, bos_id=-1, pad_id=3) for size in sizes))
    model = saved(small_translator(both, norm="post", tie_embeddings="none"), tmp_path)
    assert export(model, "marian") == 0
    assert door.main(["import", str(tmp_path / "out"), str(tmp_path / "again"), "--from", "marian"]) == 0
    for name in ("config.json", "model.safetensors", "source.spm", "target.spm"):
        assert (tmp_path / "again" / name).read_bytes() == (model / name).read_bytes(), name
    _, tokenizers, _ = load_model(tmp_path / "again")
    for line in LINES:
        assert tokenizers.source.encode([line]) == both.source.encode([line])
        assert tokenizers.target.encode([line]) == both.target.encode([line])
    assert tokenizers.target.never_ids == both.target.never_ids


def test_the_unknown_symbol_keeps_its_id_through_marian(tmp_path: Path) -> None:
    options = {"bos_id": -1, "eos_id": -1, "pad_id": -1, "user_defined_symbols": "<unk>,<s>,</s>,<pad>"}
    tokenizer = sentencepiece(vocab_size=200, unk_piece="[UNK]", **options)
    model = saved(small_translator(Tokenizers(tokenizer, tokenizer), norm="post"), tmp_path)
    assert export(model, "marian") == 0
    assert door.main(["import", str(tmp_path / "out"), str(tmp_path / "again"), "--from", "marian"]) == 0
    assert load_model(tmp_path / "again")[1].source.unk_id == tokenizer.unk_id


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("generation_config.json", "forced_bos_token_id", 17),
        ("generation_config.json", "no_repeat_ngram_size", 2),
        ("generation_config.json", "repetition_penalty", 1.5),
        ("generation_config.json", "do_sample", True),
        ("generation_config.json", "early_stopping", "x"),
        ("generation_config.json", "bad_words_ids", [[4, 5]]),
        ("generation_config.json", "suppress_tokens", [7]),
        ("config.json", "scale_embedding", "yes"),
        ("config.json", "decoder_vocab_size", 100),
    ],
)
def test_an_import_refuses_what_it_cannot_follow(
    tmp_path: Path, file: str, key: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(Path(__file__).parent / "golden" / "marian", tmp_path / "folder"))
    content = json.loads((folder / file).read_text(encoding="utf8"))
    (folder / file).write_text(json.dumps(content | {key: value}), encoding="utf8")
    assert door.main(["import", str(folder), str(tmp_path / "out"), "--from", "marian"]) == 2
    told = capsys.readouterr().err
    assert key in told and ": :" not in told and told.count("\n") == 1
    assert os.listdir(tmp_path) == ["folder"]


def test_a_name_for_two_ids_is_refused_with_the_name() -> None:
    class Pieces(NamedTuple):
        all_pieces: list[str]

    once, twice = Pieces(["a", "b"]), Pieces(["b", "a", "b"])
    supported.check_pieces("Program", Tokenizers(cast(Any, once), cast(Any, once)))
    with pytest.raises(UsageError, match="target vocabulary has the piece 'b' twice; Program"):
        supported.check_pieces("Program", Tokenizers(cast(Any, once), cast(Any, twice)))

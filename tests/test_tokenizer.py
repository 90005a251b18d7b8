"""SentencePiece: text survives the round trip, no text makes a control id, a training always gives the same bytes."""

import io
import os
import pickle
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sentencepiece import SentencePieceTrainer

from transformer.config import Tokenizer as Settings
from transformer.data.clauses import clauses
from transformer.data.tokenizer import Tokenizer, Tokenizers, load_tokenizers
from transformer.data.tokenizer_training import BOS, EOS, PAD, UNK, spread, train_tokenizer, train_tokenizers
from transformer.errors import DataError, UsageError

PAIRS = list(clauses("train", 300))
ENGLISH, GERMAN = ([pair[side] for pair in PAIRS] for side in (0, 1))
SETTINGS = Settings(vocab_size=400)
TRAINED = train_tokenizer(ENGLISH + GERMAN, SETTINGS)
WITHOUT_BYTES = train_tokenizer(ENGLISH, Settings(vocab_size=100, byte_fallback=False))


def foreign(**settings: object) -> Tokenizer:
    """A model trained elsewhere, with other ids."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH), model_writer=model, vocab_size=100, minloglevel=3, **settings
    )
    return Tokenizer(model.getvalue())


def test_ids_of_control_symbols() -> None:
    assert (TRAINED.pad_id, TRAINED.bos_id, TRAINED.eos_id, TRAINED.unk_id) == (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert TRAINED.pieces([PAD, BOS, EOS, UNK]) == ["<pad>", "<s>", "</s>", "<unk>"]
    assert TRAINED.vocab_size == 400


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_text_survives_the_round_trip(kind: str) -> None:
    tokenizer = train_tokenizer(ENGLISH + GERMAN, Settings.model_validate({"vocab_size": 400, "kind": kind}))
    texts = [*ENGLISH[:20], *GERMAN[:20], "😀 👩‍👩‍👧 in 日本語", "", "q" * 5000]
    assert tokenizer.decode_batch(tokenizer.encode(texts)) == texts
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts)] == texts
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]
    assert UNK not in {index for ids in tokenizer.encode(texts) for index in ids}


@example("lone \ud800 surrogate")
@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("<>/▁⁇\0\n\u2028")))
def test_any_text_gives_ids_of_text(text: str) -> None:
    for tokenizer in (TRAINED, WITHOUT_BYTES):
        (ids,) = tokenizer.encode([text])
        assert not {PAD, BOS, EOS} & set(ids)
        assert all(0 <= index < tokenizer.vocab_size for index in ids)
        tokenizer.decode(ids).encode()  # valid UTF-8


@pytest.mark.parametrize("template", ["{}", " {} ", "A{}B", "A {} B", "{}{}", "\n{}", "▁{}", "{}\0"])
def test_control_symbols_typed_are_text(template: str) -> None:
    taught = train_tokenizer([*ENGLISH, *["<s> a </s> b <pad> c <unk>"] * 50], SETTINGS)
    sentinels = foreign(control_symbols=["<2de>"], pad_id=3)
    for tokenizer in (TRAINED, WITHOUT_BYTES, taught, sentinels):
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        controls = {piece for piece in pieces if re.fullmatch(r"<(?!0x).+>", piece)} - {"<unk>"}
        assert {"<pad>", "<s>", "</s>"} <= controls
        for typed in [*controls, "<unk>", "<0x0A>"]:
            (ids,) = tokenizer.encode([template.replace("{}", typed)])
            assert ids
            assert not controls & set(tokenizer.pieces(ids))
            assert tokenizer is WITHOUT_BYTES or tokenizer is sentinels or typed in tokenizer.decode(ids)


def test_decoding_passes_over_what_is_no_text() -> None:
    (ids,) = TRAINED.encode([ENGLISH[0]])
    noisy = [BOS, *ids[:2], UNK, PAD, *ids[2:], EOS, PAD, -1, TRAINED.vocab_size, 10**9]
    assert TRAINED.decode(noisy) == ENGLISH[0]
    assert TRAINED.decode([UNK, UNK]) == TRAINED.decode([]) == ""
    assert "⁇" not in WITHOUT_BYTES.decode(WITHOUT_BYTES.encode(["日本 x"])[0])


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_training_gives_the_same_bytes_always(kind: str) -> None:
    script = (
        "import sys, hashlib; from transformer.config import Tokenizer as Settings;"
        "from transformer.data.clauses import clauses; from transformer.data.tokenizer_training import train_tokenizer;"
        "texts = [text for pair in clauses('train', 300) for text in pair];"
        "settings = Settings.model_validate({'vocab_size': 400, 'kind': sys.argv[1]});"
        "print(hashlib.sha256(train_tokenizer(texts, settings).model_bytes).hexdigest())"
    )
    cores = sorted(os.sched_getaffinity(0))
    found = []
    for count, seed in ((1, "0"), (len(cores), "1")):
        os.sched_setaffinity(0, cores[:count])
        try:
            run = subprocess.run(
                [sys.executable, "-c", script, kind], capture_output=True, text=True, check=True,
                cwd=Path(__file__).parents[1], env=os.environ | {"PYTHONHASHSEED": seed},
            )  # fmt: skip
        finally:
            os.sched_setaffinity(0, cores)
        assert run.stderr == ""
        found.append(run.stdout)
    assert found[0] == found[1]


def test_a_break_in_a_text_is_a_space() -> None:
    for mark in "\n\r\0\x85\u2028":
        assert TRAINED.encode([f"A{mark}dog"]) == TRAINED.encode(["A dog"])


def test_settings_reach_the_training() -> None:
    base = {"vocab_size": 300, "byte_fallback": False}
    others = ({"kind": "bpe"}, {"normalization": "nfkc_cf"}, {"character_coverage": 0.98}, {"vocab_size": 200})
    trained = [train_tokenizer(ENGLISH, Settings.model_validate(base | other)) for other in ({}, *others)]
    assert len({tuple(tokenizer.pieces(range(tokenizer.vocab_size))) for tokenizer in trained}) == len(trained)
    assert trained[2].decode(trained[2].encode(["A Dog"])[0]) == "a dog"


def test_long_lines_are_learnt_from() -> None:
    tokenizer = train_tokenizer([*ENGLISH, "qqzz " * 20_000], SETTINGS)
    assert any("qqzz" in piece for piece in tokenizer.pieces(range(tokenizer.vocab_size)))


def test_a_small_corpus_gives_a_small_vocabulary() -> None:
    tokenizer = train_tokenizer(["a dog runs", "ein Hund läuft"], Settings())
    assert 260 < tokenizer.vocab_size < 300
    assert max(tokenizer.encode(["a dog läuft 😀"])[0]) < tokenizer.vocab_size


def test_what_cannot_be_trained_is_explained() -> None:
    with pytest.raises(UsageError, match=r"^tokenizer\.vocab_size = 261: .* need at least \d+"):
        train_tokenizer(ENGLISH, Settings(vocab_size=261))
    for nothing in ([], ["", " "], ["\u2028"]):
        with pytest.raises(DataError, match="no text to train on"):
            train_tokenizer(nothing, SETTINGS)


def test_broken_texts_are_trained_on() -> None:
    assert train_tokenizer([*ENGLISH, "a\0b", "c\ud800d", "e\nf"] * 2, SETTINGS).vocab_size == 400


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({}, {"pad_id": 100, "bos_id": 1, "eos_id": 2, "unk_id": 0}),
        ({"bos_id": -1, "eos_id": 0, "unk_id": 1}, {"pad_id": 100, "bos_id": 101, "eos_id": 0, "unk_id": 1}),
        ({"pad_id": 3, "user_defined_symbols": ["</s>"]}, {"pad_id": 3, "bos_id": 1, "eos_id": 100, "unk_id": 0}),
    ],
)
def test_models_with_other_ids(ids: dict[str, object], expected: dict[str, int]) -> None:
    tokenizer = foreign(**ids)
    assert {name: getattr(tokenizer, name) for name in expected} == expected
    assert tokenizer.vocab_size == 1 + max(99, *expected.values())
    controls = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id]
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    assert tokenizer.pieces(controls[:2]) == ["<pad>", "<s>"] and len(set(pieces)) == len(pieces)
    (ids_of_text,) = tokenizer.encode(["A </s> B <s> <pad>"])
    assert not set(controls) & set(ids_of_text)
    (sentence,) = tokenizer.encode([ENGLISH[0]])
    assert tokenizer.decode([controls[1], *sentence, *controls]) == ENGLISH[0]


@pytest.mark.parametrize("normalization", ["nfc", "nmt_nfkc"])
@pytest.mark.parametrize("shared", [True, False])
def test_saved_and_loaded_tokenizers_are_the_same(tmp_path: Path, shared: bool, normalization: str) -> None:
    settings = Settings.model_validate({"vocab_size": 400, "shared": shared, "normalization": normalization})
    trained = train_tokenizers(ENGLISH, GERMAN, settings)
    trained.save(tmp_path)
    is_one = shared and normalization != "nfc"  # which has other rules for the source
    assert {path.name for path in tmp_path.iterdir()} == ({"tokenizer.spm"} if is_one else {"source.spm", "target.spm"})
    loaded = Tokenizers.load(tmp_path)
    assert loaded.shared == trained.shared == shared
    assert loaded.source.model_bytes == trained.source.model_bytes
    assert loaded.target.model_bytes == trained.target.model_bytes
    assert (trained.source.model_bytes == trained.target.model_bytes) == is_one
    assert pickle.loads(pickle.dumps(loaded)).target.encode(GERMAN) == trained.target.encode(GERMAN)
    models = sorted(tmp_path.iterdir())
    assert load_tokenizers(models).shared == shared


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.spm: cannot be read as a SentencePiece model: No such file"):
        load_tokenizers([tmp_path / "none.spm"])
    for content in (b"", b"no model", b"\0" * 100, TRAINED.model_bytes[:1000]):
        (tmp_path / "bad.spm").write_bytes(content)
        with pytest.raises(UsageError, match=r"bad\.spm: not a SentencePiece model"):
            load_tokenizers([tmp_path / "bad.spm"])
    with pytest.raises(UsageError, match=r"source\.spm"):
        Tokenizers.load(tmp_path)


def test_a_model_whose_pieces_are_no_text_is_refused() -> None:
    damaged = TRAINED.model_bytes.replace(b"<0x41>", b"<0x\xed1>")
    assert damaged != TRAINED.model_bytes
    with pytest.raises(UsageError, match="not a SentencePiece model"):
        Tokenizer(damaged)


def test_a_model_that_names_no_files_is_saved_as_it_is(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "x.spm")
    assert (tmp_path / "x.spm").read_bytes() == TRAINED.model_bytes


def test_the_training_reads_lines_spread_over_the_corpus() -> None:
    assert spread(map(str, range(7)), 7) == [str(number) for number in range(7)]
    for count in range(8, 50):
        kept = [int(text) for text in spread(map(str, range(count)), 7)]
        assert 4 <= len(kept) <= 7
        assert kept[0] == 0
        assert len({later - earlier for earlier, later in pairwise(kept)}) == 1
        assert kept[-1] + (kept[1] - kept[0]) >= count

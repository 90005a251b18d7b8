"""The default normalization: the target comes back as it was written, the source loses nothing that has a meaning."""

import random
import unicodedata
from itertools import product
from pathlib import Path

import pytest
from sentencepiece import SentencePieceNormalizer, SentencePieceProcessor

from random_models import random_translator
from transformer.config import Config
from transformer.config import Tokenizer as Settings
from transformer.data.clauses import clauses
from transformer.data.normalization import source_rules, target_rules
from transformer.data.prepare import given_tokenizers
from transformer.data.tokenizer import Tokenizers
from transformer.data.tokenizer_training import normalized, train_tokenizers
from transformer.errors import UsageError
from transformer.interop.agreement import agreement
from transformer.interop.ctranslate2.export import CTranslate2, exporter

TARGETS = [  # in which SentencePiece's nmt_nfkc changes what a reader sees
    "نامه‌ها را می‌نویسند", "بزرگ‌ترین", "क्‍ष और क्‌ष", "ශ්‍රී ලංකාව", "ক্‌ষ", "ന്‍", "，你好！（三）：「九」",
    "５００ｋｍ", "¾ l, x² + y³, CO₂", "№ 5 … ™ ℡", "« Où ? »", "10\u202f000 km", "ﬁn ﬂ", "ｱｲｳ", "Ⅷ ㎏ ㍿",
    "👨‍👩‍👧 ❤️ 3️⃣ 🏳️‍🌈", "神と福", "a\u200bb co\u00adop", "\u05d0\u200f.", "ᠮᠣᠩᠭᠤᠯ\u180b", "葛\U000e0100",
]  # fmt: skip
SAME_WORDS = ["house", "Straße", "дом", "σπίτι", "տուն", "სახლი", "家屋", "いえ", "집", "บ้าน", "بيت", "घर", "בית"]
MEANINGLESS = [0xAD, 0x34F, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0x202B, 0x202E, 0x2060, 0x2064, 0x2069, 0x3164]
MEANINGLESS += [0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0x1D175, 0xE0001, 0xE0061]
MEANINGFUL = [
    "می‌رود", "نمی‌خواهم", "ܟ‌ܬ", "ߒ‌ߞ", "ক্‍ষ", "ਕ੍‌ਖ", "ક્‍ષ", "କ୍‌ଷ", "க்‌ஷ", "క్‌ష", "ಕ್‍ಷ", "ന്‍", "ශ්‍රී", "ខ្មែ\u200cរ",
    "က္‌က", "ᠠ\u180e", "ᠭ\u180b", "ᠭ\u200d", "👩‍💻", "👩🏿‍🚒", "❤️‍🔥", "🏴‍☠️", "☀️", "☎︎", "#️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "辻󠄀", "ه\u200d",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Tokenizers:
    english, german = zip(*clauses("train", 300), strict=True)
    return train_tokenizers([*english, *SAME_WORDS * 5], [*german, *TARGETS * 5], Settings(vocab_size=800))


@pytest.mark.fault("T25")
def test_the_target_comes_back_as_it_was_written(trained: Tokenizers) -> None:
    target = trained.target
    assert target.decode_batch(target.encode(TARGETS)) == [unicodedata.normalize("NFC", text) for text in TARGETS]
    assert target.decode(target.encode(["  a  b "])[0]) == "a b"


@pytest.mark.fault("T25")
def test_source_and_target_share_their_pieces(trained: Tokenizers) -> None:
    assert trained.shared and trained.source.model_bytes != trained.target.model_bytes
    assert (trained.source.eos_id, trained.source.unk_id) == (trained.target.eos_id, trained.target.unk_id)


@pytest.mark.fault("X26")
@pytest.mark.parametrize("word", SAME_WORDS)
def test_invisible_characters_in_a_word_of_the_source_change_nothing(trained: Tokenizers, word: str) -> None:
    encode = trained.source.encode
    for code, place in product(MEANINGLESS, range(len(word) + 1)):
        if unicodedata.combining(word[place : place + 1] or "a") == 0:
            assert encode([word[:place] + chr(code) + word[place:]]) == encode([word]), hex(code)
    if unicodedata.name(word[0]).split()[0] not in ("ARABIC", "DEVANAGARI"):
        assert encode(["\u200c".join(word) + "\u200d"]) == encode([word])
    for space in "\u00a0\u2002\u2009\u202f\u205f\u3000":
        assert encode([f"{space}{word}{space}{space}{word}"]) == encode([f"{word} {word}"])


@pytest.mark.fault("X26")
@pytest.mark.parametrize("text", MEANINGFUL, ids=ascii)
def test_joiners_and_selectors_with_a_meaning_stay(text: str) -> None:
    assert normalized([text, f"a {text} b"], source_rules()) == [text, f"a {text} b"]


@pytest.mark.fault("X07")
@pytest.mark.parametrize(
    ("letters", "marks"),
    [
        ("aeiouyclnorstzEOS", "\u0301\u0300\u0302\u0304\u0308\u030c\u0323\u0327\u0328\u0331"),  # Latin
        ("αεηιουωΑΩ", "\u0301\u0300\u0342\u0308"),
        ("иуеоІЇ", "\u0306\u0308\u0301"),
        ("אבגדשו", "\u05b0\u05b4\u05b7\u05b8\u05bc\u05c1\u05c2"),  # Hebrew
        ("ابتثوىی", "\u064b\u064e\u064f\u0650\u0651\u0652\u0653\u0654\u0655\u0670"),
        ("कखगजडढफय", "\u093c\u094d"),
        ("কডঢযে", "\u09bc\u09be\u09cd"),
        ("கெே", "\u0bbe\u0bd7"),
        ("かはウホ", "\u3099\u309a"),
    ],
)
def test_sequences_of_letter_and_marks_become_nfc(letters: str, marks: str) -> None:
    """Each letter with two marks, in each order and each partly composed form."""
    rules = source_rules(), target_rules()
    for letter, one, two in product(letters, marks, marks):
        if one != two:
            forms = {letter + one + two, unicodedata.normalize("NFC", letter + one) + two}
            for form in forms | {unicodedata.normalize("NFD", letter + one + two)}:
                for side in rules:
                    assert normalized([form], side) == [unicodedata.normalize("NFC", form)], ascii(form)


def test_a_model_encodes_text_as_its_pieces_encode_normalized_text(trained: Tokenizers, tmp_path: Path) -> None:
    rng = random.Random(1)
    codes = [*range(0x20, 0x250), *range(0x590, 0x700), *range(0x900, 0xD80), *range(0x1100, 0x1200), 0x200C, 0xFB2A]
    texts = ["".join(map(chr, rng.choices(codes, k=rng.randrange(1, 12)))) for _ in range(3000)]
    identity = SentencePieceNormalizer(rule_name="identity").serialized_normalizer_spec()
    trained.save(tmp_path)
    for name, side, rules in (("source", trained.source, source_rules()), ("target", trained.target, target_rules())):
        saved = SentencePieceProcessor(model_file=str(tmp_path / f"{name}.spm"))  # as other programs load it
        texts = [text for text in texts if not any(unicodedata.category(char) == "Cc" for char in text)]
        assert side.with_rules(identity).encode(normalized(texts, rules)) == side.encode(texts) == saved.encode(texts)


@pytest.mark.fault("T25")
def test_the_rules_leave_with_an_export(trained: Tokenizers, tmp_path: Path) -> None:
    ours = random_translator(trained)
    exporter(ours.model, trained, ours.config)(tmp_path / "out")
    lines = ["A\u2060 do\u00adg\u00a0sleeps\u2028.", "\ufeffDoes she\tcarry the shi\u200brt?", "می‌رود"]
    assert agreement(ours, peer := CTranslate2(tmp_path / "out", trained, ours.config), lines).other_ids == 0
    assert peer.encode(lines) == trained.source.encode(lines)
    (tmp_path / "out" / "source.spm").write_bytes(trained.target.model_bytes)
    other = agreement(ours, CTranslate2(tmp_path / "out", trained, ours.config), lines)
    assert other.other_ids == 2 and other.fault(exact=False)


def test_another_normalization_is_that_of_sentencepiece_for_both_sides() -> None:
    english, german = zip(*clauses("train", 100), strict=True)
    found = train_tokenizers(english, german, Settings(vocab_size=330, normalization="nmt_nfkc"))
    assert found.source is found.target
    assert found.target.decode(found.target.encode(["m²，"])[0]) == "m2,"


@pytest.mark.parametrize("tied", ["all", "decoder"])
def test_embeddings_can_be_tied_if_two_given_models_have_equal_pieces(
    trained: Tokenizers, tmp_path: Path, tied: str
) -> None:
    trained.save(tmp_path)
    other = train_tokenizers(["uno dos tres"], ["eins zwei drei"], Settings(vocab_size=300, shared=False))
    other.target.save(tmp_path / "other.spm")
    for name, fits in (("target.spm", True), ("other.spm", tied == "decoder")):
        config = Config.model_validate(
            {
                "run_dir": "r",
                "data": {"source": "es", "target": "de", "train": ["t"], "valid": ["v"]},
                "tokenizer": {"models": [str(tmp_path / "source.spm"), str(tmp_path / name)]},
                "model": {"tie_embeddings": tied},
            }
        )
        if fits:
            assert given_tokenizers(config)
        else:
            with pytest.raises(UsageError, match=r"^model\.tie_embeddings: .*other\.spm"):
                given_tokenizers(config)

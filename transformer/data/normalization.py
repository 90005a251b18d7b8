"""The rules of `tokenizer.normalization = "nfc"`, in the form that a SentencePiece model stores.

SentencePiece replaces the longest sequence that has a rule, from left to right, without any other context. So NFC
(Unicode Standard Annex 15) is written as one rule for each sequence that it changes: composed characters in all forms
in which they are typed, and marks in another order. Longer sequences of marks than those of `_compositions` are left as
they are.

Both sides compose characters and turn control characters into spaces. The target keeps everything else, so that a
translation can contain whatever the corpus contains. In the source, each space is a plain space, and characters that
are invisible and have no meaning (UAX 44, Default_Ignorable_Code_Point) are removed. Joiners remain after letters of
scripts that use them and in emoji, as do the selectors of emoji and of Mongolian and ideographic variants. U+FFFD,
which replaces bytes that are not UTF-8, is a space.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, permutations, product
from unicodedata import category, combining, normalize

from sentencepiece import SentencePieceNormalizer, set_min_log_level

Rules = dict[str, str]

_JOINERS = "\u200c\u200d"  # zero width non-joiner, zero width joiner
_JOINING = {  # the first word of the names of letters in scripts in which joiners change the shape of words
    "ADLAM", "ARABIC", "BALINESE", "BENGALI", "BHAIKSUKI", "BRAHMI", "CHAKMA", "CHAM", "DEVANAGARI", "DOGRA", "GRANTHA",
    "GUJARATI", "GUNJALA", "GURMUKHI", "HANIFI", "JAVANESE", "KAITHI", "KANNADA", "KHAROSHTHI", "KHMER", "KHOJKI",
    "KHUDAWADI", "LEPCHA", "LIMBU", "MALAYALAM", "MANDAIC", "MANICHAEAN", "MEETEI", "MODI", "MONGOLIAN", "MYANMAR",
    "NANDINAGARI", "NEWA", "NKO", "ORIYA", "PHAGS-PA", "PSALTER", "REJANG", "SAURASHTRA", "SHARADA", "SIDDHAM",
    "SINHALA", "SOGDIAN", "SUNDANESE", "SYLOTI", "SYRIAC", "TAKRI", "TAMIL", "TELUGU", "TIRHUTA",
}  # fmt: skip
_IGNORABLE = (  # Default_Ignorable_Code_Point, without the ideographic variation selectors U+E0100-U+E01EF
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE00FF), (0xE01F0, 0xE0FFF),
)  # fmt: skip
_PICTURES = (  # Extended_Pictographic of emoji-data.txt, and the letters and regions that have emoji of their own
    (0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122), (0x2139, 0x2139),
    (0x2194, 0x2199), (0x21A9, 0x21AA), (0x231A, 0x231B), (0x2328, 0x2328), (0x23CF, 0x23CF), (0x23E9, 0x23FA),
    (0x24C2, 0x24C2), (0x25AA, 0x25AB), (0x25B6, 0x25B6), (0x25C0, 0x25C0), (0x25FB, 0x25FE), (0x2600, 0x27BF),
    (0x2934, 0x2935), (0x2B05, 0x2B07), (0x2B1B, 0x2B1C), (0x2B50, 0x2B50), (0x2B55, 0x2B55), (0x3030, 0x3030),
    (0x303D, 0x303D), (0x3297, 0x3297), (0x3299, 0x3299), (0x1F004, 0x1F004), (0x1F0CF, 0x1F0CF), (0x1F170, 0x1F19A),
    (0x1F201, 0x1F265), (0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F7E0, 0x1F7F0), (0x1F900, 0x1FAFF),
)  # fmt: skip
_FLAGS = ("gbeng", "gbsct", "gbwls")  # England, Scotland and Wales: a black flag and invisible tags
# Marks of Latin and Cyrillic letters that occur together, as in Yoruba and Lithuanian. Others, except for those of
# composed characters, are used in phonetics alone, and would double the size of the rules.
_SHARED_MARKS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030c\u0323\u0325\u0327\u0328\u0331"
_MARKS = ((0x591, 0x7FF), (0x900, 0x1AAF), (0x1B00, 0x1CCF))  # without those of the Quran, phonetics and old scripts
_POINTS = 50  # marks of a lower combining class are the vowels of Hebrew and Arabic
_KEPT = "\u115f\u1160\u180b\u180c\u180d\u180e\u180f\u200c\u200d\ufe0e\ufe0f"  # at some places: `_meaningful`
_STAND_INS = {ord(char): 0xFDD0 + number for number, char in enumerate(_KEPT)} | {0xE007F: 0x10FFFF}
_CONTROLS = (*map(chr, chain(range(1, 0x20), range(0x7F, 0xA0))), "\u2028", "\u2029")  # a rule cannot have NUL


@cache
def source_rules() -> bytes:
    """Returns SentencePiece's NormalizerSpec of the source, serialized."""
    rules, spaces = _compositions(), [char for char in map(chr, range(0x80, 0x3001)) if category(char) == "Zs"]
    kept = {text: normalize("NFC", text) for text in _meaningful(rules)}
    removed = dict.fromkeys([*_CONTROLS, *spaces, "\ufffd"], " ") | dict.fromkeys(_in(_IGNORABLE), "")
    return _compiled(rules | removed | kept, "nfc_source")


@cache
def target_rules() -> bytes:
    """Returns SentencePiece's NormalizerSpec of the target, serialized."""
    # Fonts show a compatibility ideograph in another shape than the ideograph that NFC replaces it by.
    rules = {key: text for key, text in _compositions().items() if not _is_ideograph(key)}
    return _compiled(rules | dict.fromkeys(_CONTROLS, " "), "nfc_target")


def _compiled(rules: Rules, name: str) -> bytes:
    """The NormalizerSpec of the rules. It treats plain spaces like those of models that SentencePiece trains.

    SentencePiece refuses to compile a rule that changes nothing, such as one that keeps a joiner. So such rules are
    compiled with a noncharacter of equal length in its place, which is replaced in the compiled strings.
    """
    from sentencepiece.sentencepiece_model_pb2 import NormalizerSpec

    set_min_log_level(3)  # otherwise it logs to stderr
    changes = sorted((key, text.translate(_STAND_INS)) for key, text in rules.items())
    spec = NormalizerSpec.FromString(SentencePieceNormalizer(norm_map=changes).serialized_normalizer_spec())
    compiled = spec.precompiled_charsmap
    start = 4 + int.from_bytes(compiled[:4], "little")  # of the strings, after the trie and its size
    strings = compiled[start:]
    for code, stand_in in _STAND_INS.items():
        strings = strings.replace(chr(stand_in).encode(), chr(code).encode())
    spec.name, spec.precompiled_charsmap = name, compiled[:start] + strings
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = True
    return spec.SerializeToString(deterministic=True)


def _in(ranges: Iterable[tuple[int, int]]) -> Iterator[str]:
    return (chr(code) for first, last in ranges for code in range(first, last + 1))


def _is_ideograph(text: str) -> bool:
    return "\uf900" <= text <= "\ufaff" or "\U0002f800" <= text <= "\U0002fa1f"


def _first_word(char: str) -> str:
    """The script of a letter, for most of them; COMBINING for marks that several scripts share."""
    return unicodedata.name(char, "").partition(" ")[0]


# NFC


@cache
def _compositions() -> Rules:
    """The rules of NFC: single characters, sequences that have a composed character, marks in another order."""
    every = [chr(code) for code in range(0x30000) if not 0xAC00 <= code < 0xE000]
    changed = [char for char in every if normalize("NFD", char) != char]
    marks: defaultdict[str, list[str]] = defaultdict(list)
    for char in [*_SHARED_MARKS, *_in(_MARKS)]:
        if combining(char):
            marks[_first_word(char)].append(char)
    candidates = {*changed, *chain.from_iterable(map(_spellings, changed))}
    for group in marks.values():
        candidates |= {one + other for one, other in product(group, repeat=2) if combining(one) > combining(other)}
    for word in ("HEBREW", "ARABIC"):  # in which three marks on a letter are common
        points = [mark for mark in marks[word] if combining(mark) < _POINTS]
        candidates |= set(map("".join, permutations(points, 3)))
    for char in changed:
        base, *others = normalize("NFD", char)
        last = others[-1] if others else ""
        for mark in marks[_first_word(last)] if last and combining(last) else ():
            candidates.add(char + mark)
            if len(others) == 1:
                candidates |= {base + mark + last, base + last + mark}
    return _needed(candidates) | _hangul()


def _spellings(char: str) -> Iterator[str]:
    """The sequences that are typed for a character: partly composed, and with its marks in any order."""
    base, *marks = normalize("NFD", char)
    for order in permutations(marks):
        for count in range(len(order)):
            yield normalize("NFC", base + "".join(order[:count])) + "".join(order[count:])


def _hangul() -> Rules:
    """The rules for syllables of conjoining letters, with the first two letters composed or not."""
    syllables = {normalize("NFD", syllable): syllable for syllable in map(chr, range(0xAC00, 0xD7A4))}
    partly = {syllables[letters[:2]] + letters[2]: syllable for letters, syllable in syllables.items() if letters[2:]}
    return syllables | partly


def _needed(candidates: Iterable[str]) -> Rules:
    """The rules for those sequences that shorter rules do not change to NFC."""
    rules: Rules = {}
    for text in sorted(candidates, key=len):
        canonical = normalize("NFC", text)
        if _applied(rules, text) != canonical:
            rules[text] = canonical
    return rules


def _applied(rules: Rules, text: str) -> str:
    """The text after the rules, as SentencePiece applies them."""
    if not text:
        return ""
    end = len(text)
    while end > 1 and text[:end] not in rules:
        end -= 1
    return rules.get(text[:end], text[:end]) + _applied(rules, text[end:])


# Invisible characters that have a meaning


def _meaningful(compositions: Rules) -> Iterator[str]:
    """The sequences in which characters of _IGNORABLE are kept."""
    letters = [char for char in map(chr, range(0x20000)) if category(char)[0] in "LM" and _first_word(char) in _JOINING]
    letters = [char for char in letters if normalize("NFKC", char) == char]  # no presentation forms
    joining = {*letters}
    sequences = [text for text in compositions if text[-1] in joining and len(text) <= 2]
    yield from map("".join, product(chain(letters, sequences), _JOINERS))
    mongolian = [letter for letter in letters if _first_word(letter) == "MONGOLIAN"]
    yield from map("".join, product(mongolian, "\u180b\u180c\u180d\u180e\u180f"))
    for picture in _in(_PICTURES):
        yield "\u200d" + picture
        if picture < "\U0001f900":  # later ones are shown as emoji without a selector
            yield from (picture + "\ufe0e", picture + "\ufe0f", "\u200d" + picture + "\ufe0f")
    yield from (f"{sign}\ufe0f\u20e3" for sign in "0123456789#*")
    for flag in _FLAGS:
        yield "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in flag) + "\U000e007f"
    yield from (f"\u115f{chr(vowel)}" for vowel in range(0x1161, 0x11A8))  # fillers in syllables of old Korean
    yield from (f"{chr(consonant)}\u1160" for consonant in range(0x1100, 0x115F))

"""Finds sides of a corpus that are in other languages than their codes say: most often, the sides are swapped.

Scripts decide where the two languages have different ones. Languages of the same script are compared by their most
frequent function words (function_words.py): only words that one of two languages has and the other has not are counted.
A side is reported only if the evidence is clear. Unknown codes, languages without such words, short corpora and mixed
sides are never reported.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import islice
from unicodedata import name

from transformer.data.checks.function_words import CODES, PROFILES
from transformer.data.languages import script

PAIRS = 5000  # the first ones, which are read
FEWEST_PAIRS = 20
FEWEST_WORDS = 30  # function words of the language that a side seems to have
CLEARLY = 4  # times as many function words of that language as of the expected one
MOST, FEW = 0.8, 0.1  # fractions of the letters of a side that are in the script that it seems to have, and should have

# The first word of the name of a letter in Unicode -> the script.
_SCRIPTS = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr", "ARMENIAN": "Armn",
    "GEORGIAN": "Geor", "ETHIOPIC": "Ethi", "DEVANAGARI": "Deva", "BENGALI": "Beng", "GUJARATI": "Gujr",
    "GURMUKHI": "Guru", "KANNADA": "Knda", "MALAYALAM": "Mlym", "ORIYA": "Orya", "SINHALA": "Sinh", "TAMIL": "Taml",
    "TELUGU": "Telu", "THAI": "Thai", "LAO": "Laoo", "KHMER": "Khmr", "MYANMAR": "Mymr", "TIBETAN": "Tibt",
    "CHEROKEE": "Cher", "CANADIAN": "Cans", "SYRIAC": "Syrc", "THAANA": "Thaa", "NKO": "Nkoo", "OL": "Olck",
    "TIFINAGH": "Tfng", "YI": "Yiii", "CJK": "Hani", "HIRAGANA": "Kana", "KATAKANA": "Kana", "HANGUL": "Kore",
}  # fmt: skip
_FORMS = ("Hans", "Hant", "Jpan")  # of these letters, see _Side.share

# Languages that are often written in a second script: that script alone is not a reason to report a side.
_TWO_SCRIPTS = frozenset(
    "sr srp uz uzb kk kaz az aze tt tat mn mon ku ckb pa pan ks kas sd snd hak sat mni iu iku cr".split()  # noqa: SIM905
)

_KNOWN_SCRIPTS = {*_SCRIPTS.values(), *_FORMS} - {"Kana"}
_WORD = re.compile(r"[^\W\d_][\w\u0300-\u036f\u0900-\u0963]*")


def direction_warning(pairs: Iterable[tuple[str, str]], source: str, target: str) -> str:
    """Returns how the languages of the sides differ from the codes `source` and `target`; "" if that is not clear."""
    first = list(islice(pairs, PAIRS))
    if len(first) < FEWEST_PAIRS:
        return ""
    sides = [_Side(texts) for texts in zip(*first, strict=True)]
    looks = [_seems(side, own, other) for side, own, other in ((sides[0], source, target), (sides[1], target, source))]
    if looks == [target, source]:
        return (
            f"the source looks like {target} and the target like {source}: the sides seem to be swapped; choose the"
            " columns or files of the languages, or swap data.source and data.target"
        )
    return "; ".join(
        f"the {side} looks like {found}, not like {code}: compare it with data.{side}"
        for side, code, found in (("source", source, looks[0]), ("target", target, looks[1]))
        if found
    )


class _Side:
    """Counts the letters of a side by script, and its words."""

    def __init__(self, lines: Iterable[str]) -> None:
        text = "\n".join(dict.fromkeys(lines)).lower()
        letters = Counter({letter: count for letter, count in Counter(text).items() if letter.isalpha()})
        self.letters = max(letters.total(), 1)
        self.scripts = Counter[str]()
        for letter, count in letters.items():
            self.scripts[_script_of(letter)] += count
        self.words = Counter(_WORD.findall(text))

    def share(self, wanted: str | None) -> float:
        """Returns the fraction of the letters that are in a script. Japanese has kana, and Chinese has almost none."""
        kana = self.scripts["Kana"] / self.letters
        if wanted == "Jpan":
            return (self.scripts["Hani"] + self.scripts["Kana"]) / self.letters if kana > 0.02 else 0.0
        if wanted in ("Hans", "Hant", "Hani"):
            return self.scripts["Hani"] / self.letters if kana < 0.1 else 0.0
        return self.scripts[wanted or ""] / self.letters

    def count(self, words: Iterable[str]) -> int:
        return sum(self.words[word] for word in words)


def _seems(side: _Side, expected: str, other: str) -> str:
    """Returns the language or script that a side clearly has instead of the expected one, or ""."""
    own = script(expected)
    if own in _KNOWN_SCRIPTS and side.share(own) < FEW:
        if _first_part(expected) in _TWO_SCRIPTS:
            return ""
        if side.share(script(other)) > MOST:
            return other
        found = max([*side.scripts, "Jpan"], key=side.share)
        return f"the script {found}" if found and side.share(found) > MOST else ""
    profile = PROFILES.get(_first_part(expected))
    if profile is None or side.share(own) < MOST:
        return ""
    candidates = [other] if _first_part(other) in PROFILES else []
    candidates += [code for code in CODES if script(code) == own and PROFILES[code] != profile]
    best = max(candidates, key=lambda code: side.count(PROFILES[_first_part(code)]), default=expected)
    words = PROFILES[_first_part(best)]
    theirs, ours = side.count(words - profile), side.count(profile - words)
    return best if theirs >= FEWEST_WORDS and theirs >= CLEARLY * ours else ""


def _first_part(code: str) -> str:
    """Returns the language of a code: "en" for "en-GB"."""
    return re.split("[-_]", code.lower())[0]


@cache
def _script_of(letter: str) -> str:
    """Returns the script of a letter, or "" if it is none of _SCRIPTS."""
    return _SCRIPTS.get(name(letter, "").split(" ")[0], "")

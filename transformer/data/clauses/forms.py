"""The forms of the built-in corpus' words: declension and conjugation, tenses, and numbers in words."""

from transformer.data.clauses.lexicon import Adjective, Case, Determiner, Gender, Modal, Noun, Pair, Person, Tense, Verb


def join(*parts: str) -> str:
    """Joins the parts that are not empty, with a space between them."""
    return " ".join(part for part in parts if part)


_DEFINITE = {
    "m": ("der", "den", "dem"),
    "f": ("die", "die", "der"),
    "n": ("das", "das", "dem"),
    "p": ("die", "die", "den"),
}
_STRONG = {"m": ("er", "en", "em"), "f": ("e", "e", "er"), "n": ("es", "es", "em"), "p": ("e", "e", "en")}
_EIN_IS_BARE = {("m", Case.NOMINATIVE), ("n", Case.NOMINATIVE), ("n", Case.ACCUSATIVE)}


def decline_determiner(determiner: Determiner, gender: Gender, case: Case) -> str:
    """Returns the determiner's German form: the (m, accusative) -> "den"; a (n, accusative) -> "ein"."""
    if determiner.german == "der":
        return _DEFINITE[gender][case]
    if determiner.declension == "none" or (determiner.declension == "ein" and (gender, case) in _EIN_IS_BARE):
        return determiner.german
    return determiner.german + _STRONG[gender][case]


def decline_adjective(adjective: Adjective, determiner: Determiner, gender: Gender, case: Case) -> str:
    """Returns the adjective's German form: the old (m, nominative) -> "alte", but an old -> "alter".

    If the determiner has no ending that shows gender and case, the adjective shows them by a strong ending. Otherwise
    it has a weak ending, -e or -en.
    """
    bare = determiner.declension == "ein" and (gender, case) in _EIN_IS_BARE
    if bare or determiner.declension == "none":
        ending = _STRONG[gender][case]
    elif (case == Case.NOMINATIVE and gender != "p") or (case == Case.ACCUSATIVE and gender in "fn"):
        ending = "e"
    else:
        ending = "en"
    stem = {"teuer": "teur", "dunkel": "dunkl"}.get(adjective.german, adjective.german.removesuffix("e"))
    return stem + ending


def decline_noun(noun: Noun, plural: bool, case: Case) -> str:
    """Returns the noun's German form: table (plural, dative) -> "Tischen"; boy (accusative) -> "Jungen"."""
    if plural:
        adds_n = case == Case.DATIVE and not noun.german_plural.endswith(("n", "s"))
        return noun.german_plural + "n" * adds_n
    return noun.german_plural if noun.weak and case != Case.NOMINATIVE else noun.german


_IRREGULAR = {
    "sein": ("bin", "bist", "ist", "sind", "sind"),
    "waren": ("war", "warst", "war", "waren", "waren"),  # the past of "sein"
    "haben": ("habe", "hast", "hat", "haben", "haben"),
    "werden": ("werde", "wirst", "wird", "werden", "werden"),
    "können": ("kann", "kannst", "kann", "können", "können"),
    "müssen": ("muss", "musst", "muss", "müssen", "müssen"),
    "wollen": ("will", "willst", "will", "wollen", "wollen"),
    "sollten": ("sollte", "solltest", "sollte", "sollten", "sollten"),
    "wissen": ("weiß", "weißt", "weiß", "wissen", "wissen"),
}


def conjugate(infinitive: str, person: Person, changed: str = "") -> str:
    """Returns the German present: sehen (she, changed stem "sieh") -> "sieht"; arbeiten (you) -> "arbeitest"."""
    if infinitive in _IRREGULAR:
        return _IRREGULAR[infinitive][person]
    stem = infinitive.removesuffix("en")
    if person in (Person.WE, Person.THEY):
        return infinitive
    if person == Person.ME:
        return stem + "e"
    link = "e" if stem.endswith(("t", "d")) and not changed else ""  # "findet", but "lädt"
    stem = changed or stem
    s = "s" if person == Person.YOU and not stem.endswith(("s", "ß", "z")) else ""
    return stem + link + s + "t"


def english_third(verb: str) -> str:
    """Returns the English present after "she": wash -> "washes", carry -> "carries"."""
    first, *rest = verb.split()
    if first.endswith("y") and first[-2] not in "aeou":
        first = first[:-1] + "ies"
    else:
        first += "es" if first.endswith(("s", "sh", "ch", "o")) else "s"
    return " ".join((first, *rest))


def english_verb(verb: Verb, tense: Tense, modal: Modal, person: Person) -> tuple[str, str, str]:
    """Returns predicate, auxiliary, bare form: ("sees", "does", "see"), ("wants to see", "does", "want to see")."""
    if tense == "past":
        return verb.english_past, "did", verb.english
    if tense == "modal" and not modal.with_do:
        return f"{modal.english} {verb.english}", modal.english, verb.english
    bare = f"{modal.english} {verb.english}" if tense == "modal" else verb.english
    return (english_third(bare), "does", bare) if person == Person.THIRD_SINGULAR else (bare, "do", bare)


def german_verb(verb: Verb, tense: Tense, modal: Modal, person: Person) -> tuple[str, str, str]:
    """Returns the finite verb, and the words that end a main clause and a subordinate clause (see `Clause`).

    For example ("macht", "auf", "aufmacht"), or ("hat", "gesehen", "gesehen hat").
    """
    if tense == "present":
        finite = conjugate(verb.german, person, verb.changed)
        return finite, verb.prefix, verb.prefix + finite
    auxiliary, last = (verb.auxiliary, verb.participle) if tense == "past" else (modal.german, verb.german)
    finite, last = conjugate(auxiliary, person), verb.prefix + last
    return finite, last, f"{last} {finite}"


_ONES = (
    ("zero", "null"), ("one", "ein"), ("two", "zwei"), ("three", "drei"), ("four", "vier"), ("five", "fünf"),
    ("six", "sechs"), ("seven", "sieben"), ("eight", "acht"), ("nine", "neun"), ("ten", "zehn"), ("eleven", "elf"),
    ("twelve", "zwölf"), ("thirteen", "dreizehn"), ("fourteen", "vierzehn"), ("fifteen", "fünfzehn"),
    ("sixteen", "sechzehn"), ("seventeen", "siebzehn"), ("eighteen", "achtzehn"), ("nineteen", "neunzehn"),
)  # fmt: skip
_TENS = (
    ("twenty", "zwanzig"), ("thirty", "dreißig"), ("forty", "vierzig"), ("fifty", "fünfzig"),
    ("sixty", "sechzig"), ("seventy", "siebzig"), ("eighty", "achtzig"), ("ninety", "neunzig"),
)  # fmt: skip


def number(value: int) -> Pair:
    """Returns 0 to 999 in words: 142 -> ("one hundred and forty-two", "hundertzweiundvierzig")."""
    hundreds, below = divmod(value, 100)
    tens, ones = divmod(below, 10)
    if below < 20:
        english, german = _ONES[below]
        german += "s" * (below == 1)  # "eins", but "einundzwanzig"
    else:
        english, german = _TENS[tens - 2]
        if ones:
            english, german = f"{english}-{_ONES[ones][0]}", f"{_ONES[ones][1]}und{german}"
    if not hundreds:
        return english, german
    english_hundred = f"{_ONES[hundreds][0]} hundred"
    german_hundred = ("" if hundreds == 1 else _ONES[hundreds][1]) + "hundert"
    return (f"{english_hundred} and {english}", german_hundred + german) if below else (english_hundred, german_hundred)

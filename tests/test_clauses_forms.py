"""The words of the built-in corpus: they agree, are conjugated, and every number has a name of its own."""

import pytest

from transformer.data.clauses import forms as forms
from transformer.data.clauses import lexicon as words
from transformer.data.clauses.lexicon import Case, Determiner, Person

THE, THIS, A = words.THE, Determiner("this", "dies", "der"), Determiner("a", "ein", "ein")
OUR, NONE = Determiner("our", "unser", "ein"), Determiner("", "", "none")
FIVE = Determiner("five", "fünf", "none")
NOUNS = {noun.english: noun for noun in words.NOUNS}
ADJECTIVES = {adjective.english: adjective for adjective in words.ADJECTIVES}
VERBS = {verb.english: verb for table in (words.TRANSITIVE, words.DITRANSITIVE, words.INTRANSITIVE) for verb in table}

PARADIGMS = [  # determiner, adjective, noun, plural: nominative, accusative, dative
    (THE, "old", "table", False, "der alte Tisch, den alten Tisch, dem alten Tisch"),
    (THE, "old", "lamp", False, "die alte Lampe, die alte Lampe, der alten Lampe"),
    (THE, "old", "book", False, "das alte Buch, das alte Buch, dem alten Buch"),
    (THE, "old", "chair", True, "die alten Stühle, die alten Stühle, den alten Stühlen"),
    (A, "expensive", "coat", False, "ein teurer Mantel, einen teuren Mantel, einem teuren Mantel"),
    (A, "dark", "kitchen", False, "eine dunkle Küche, eine dunkle Küche, einer dunklen Küche"),
    (A, "new", "radio", False, "ein neues Radio, ein neues Radio, einem neuen Radio"),
    (OUR, "small", "radio", True, "unsere kleinen Radios, unsere kleinen Radios, unseren kleinen Radios"),
    (words.NO_SINGULAR, "red", "apple", False, "kein roter Apfel, keinen roten Apfel, keinem roten Apfel"),
    (words.NO_PLURAL, "fresh", "egg", True, "keine frischen Eier, keine frischen Eier, keinen frischen Eiern"),
    (NONE, "tired", "child", True, "müde Kinder, müde Kinder, müden Kindern"),
    (FIVE, "cheap", "cake", True, "fünf billige Kuchen, fünf billige Kuchen, fünf billigen Kuchen"),
    (THIS, "young", "boy", False, "dieser junge Junge, diesen jungen Jungen, diesem jungen Jungen"),
    (THE, "big", "bear", False, "der große Bär, den großen Bären, dem großen Bären"),
]  # fmt: skip


@pytest.mark.parametrize(("determiner", "adjective", "noun", "plural", "expected"), PARADIGMS)
def test_determiner_adjective_and_noun_agree(determiner, adjective, noun, plural, expected):
    gender = "p" if plural else NOUNS[noun].gender
    declined = [
        " ".join(
            (
                forms.decline_determiner(determiner, gender, case),
                forms.decline_adjective(ADJECTIVES[adjective], determiner, gender, case),
                forms.decline_noun(NOUNS[noun], plural, case),
            )
        ).strip()
        for case in Case
    ]
    assert ", ".join(declined) == expected


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("see", "sehe siehst sieht sehen sehen"),
        ("eat", "esse isst isst essen essen"),
        ("find", "finde findest findet finden finden"),
        ("work", "arbeite arbeitest arbeitet arbeiten arbeiten"),
        ("dance", "tanze tanzt tanzt tanzen tanzen"),
        ("invite", "lade lädst lädt laden laden"),
        ("wash", "wasche wäschst wäscht waschen waschen"),
        ("give", "gebe gibst gibt geben geben"),
    ],
)
def test_verbs_are_conjugated(verb, expected):
    verb = VERBS[verb]
    assert [forms.conjugate(verb.german, person, verb.changed) for person in Person] == expected.split()


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (12, "twelve", "zwölf"),
        (17, "seventeen", "siebzehn"),
        (21, "twenty-one", "einundzwanzig"),
        (30, "thirty", "dreißig"),
        (66, "sixty-six", "sechsundsechzig"),
        (100, "one hundred", "hundert"),
        (101, "one hundred and one", "hunderteins"),
        (105, "one hundred and five", "hundertfünf"),
        (216, "two hundred and sixteen", "zweihundertsechzehn"),
        (777, "seven hundred and seventy-seven", "siebenhundertsiebenundsiebzig"),
        (999, "nine hundred and ninety-nine", "neunhundertneunundneunzig"),
    ],
)
def test_numbers_in_words(value, english, german):
    assert forms.number(value) == (english, german)


def test_every_number_has_words_of_its_own():
    for side in zip(*map(forms.number, range(1000)), strict=True):
        assert len(set(side)) == 1000

"""Noun phrases of the built-in corpus: nouns with determiner and adjective, compounds, pronouns; drawn at random."""

from dataclasses import dataclass
from functools import cache
from random import Random

from transformer.data.clauses import forms
from transformer.data.clauses import lexicon as words
from transformer.data.clauses.forms import join
from transformer.data.clauses.lexicon import Case, Determiner, Gender, Kind, Pair, Person


@dataclass(frozen=True)
class NounPhrase:
    """A noun with its determiner and adjective, or a pronoun: its English and German forms."""

    english: str  # as a subject
    english_object: str  # as an object
    german: tuple[str, ...]  # by case
    person: Person
    gender: Gender = "p"
    kind: Kind = Kind.PERSON
    pronoun: bool = False
    negative: bool = False  # its "kein" negates the clause


PRONOUNS = [NounPhrase(*pronoun, pronoun=True) for pronoun in words.PRONOUNS]
WHO = NounPhrase("who", "whom", ("wer", "wen", "wem"), Person.THIRD_SINGULAR)
SAME = ({Person.ME, Person.WE}, {Person.YOU})  # not "I see me", nor "we see me"
IT: dict[Gender, NounPhrase] = {  # by the gender of the noun, which is not a person
    "m": NounPhrase("it", "it", ("er", "ihn", "ihm"), Person.THIRD_SINGULAR, pronoun=True),
    "f": NounPhrase("it", "it", ("sie", "sie", "ihr"), Person.THIRD_SINGULAR, pronoun=True),
    "n": NounPhrase("it", "it", ("es", "es", "ihm"), Person.THIRD_SINGULAR, pronoun=True),
    "p": PRONOUNS[-1],
}


@cache
def _nouns(kinds: Kind) -> tuple[words.Noun, ...]:
    return tuple(noun for noun in words.NOUNS if noun.kind in kinds)


@cache
def _adjectives(kind: Kind) -> tuple[words.Adjective, ...]:
    return tuple(adjective for adjective in words.ADJECTIVES if kind in adjective.kinds)


def noun_phrase(
    rng: Random, kinds: Kind, definite: bool = False, negated: bool = False, described: float = 0.4
) -> NounPhrase:
    """Generates a noun phrase of one of the kinds: "the old table", "my uncles", "twenty-one apples", "a garden door".

    With `definite`, phrases like "a table" and "tables" are not generated. With `negated`, their German is "keinen
    Tisch" and "keine Tische". `described` is the probability of an adjective.
    """
    noun = rng.choice(_nouns(kinds))
    plural = rng.random() < 0.3
    determiner = _determiner(rng, noun.kind, plural, definite, negated)
    english, german_first = noun.english_plural if plural else noun.english, ""
    if noun.english in words.COMPOUND_HEADS and rng.random() < 0.4:
        english_first, german_first = rng.choice(words.COMPOUND_FIRSTS)
        english = join(english_first, english)
    adjective = rng.choice(_adjectives(noun.kind)) if rng.random() < described else None
    if adjective:
        english = join(adjective.english, english)
    article = "an" if determiner.english == "a" and english[0] in "aeiou" else determiner.english
    english = join(article, english)
    gender = "p" if plural else noun.gender
    declined = [forms.decline_noun(noun, plural, case) for case in Case]
    german = tuple(
        join(
            forms.decline_determiner(determiner, gender, case),
            forms.decline_adjective(adjective, determiner, gender, case) if adjective else "",
            german_first + declined[case].lower() if german_first else declined[case],
        )
        for case in Case
    )
    person, negative = (Person.THEY if plural else Person.THIRD_SINGULAR), determiner.german == "kein"
    return NounPhrase(english, english, german, person, gender, noun.kind, negative=negative)


def _determiner(rng: Random, kind: Kind, plural: bool, definite: bool, negated: bool) -> Determiner:
    if kind == Kind.KIN or (kind != Kind.PERSON and rng.random() < 0.2):  # "her man" would mean her husband
        return rng.choice(words.POSSESSIVES)
    if plural and not definite and not negated and rng.random() < 0.5:
        return Determiner(*quantity(rng, 100 if kind in Kind.BEINGS else 1000), "none")
    determiner = rng.choice(words.PLURAL if plural else words.SINGULAR)
    if determiner.english not in ("a", ""):
        return determiner
    if definite:
        return words.THE
    if negated:
        return words.NO_PLURAL if plural else words.NO_SINGULAR
    return determiner


def quantity(rng: Random, limit: int = 1000) -> Pair:
    """Generates a number from 2 to `limit` - 1, in words.

    Numbers that end in 01 are not generated, because the form of "ein" in them depends on the noun.
    """
    value = rng.randrange(2, min(limit, rng.choice((100, 1000))))
    return forms.number(value + 1 if value % 100 == 1 else value)


def somebody(rng: Random, kinds: Kind = Kind.PEOPLE) -> NounPhrase:
    """Generates somebody who acts: a pronoun, or a noun of one of the kinds."""
    return rng.choice(PRONOUNS) if rng.random() < 0.5 else noun_phrase(rng, kinds)


def other(rng: Random, kinds: Kind, subject: NounPhrase, negated: bool) -> NounPhrase:
    """Generates an object. It may be a pronoun, but not "me" or "us" after "I" or "we", nor "you" after "you"."""
    if Kind.PERSON not in kinds or rng.random() < 0.7:
        return noun_phrase(rng, kinds, negated=negated)
    return rng.choice([p for p in PRONOUNS if not any({p.person, subject.person} <= same for same in SAME)])


def quality(rng: Random, subject: NounPhrase) -> Pair:
    """Generates an adjective that fits the subject: (very) old / (sehr) alt."""
    adjective = rng.choice(_adjectives(subject.kind))
    very = rng.choice((("", ""), ("", ""), ("very", "sehr")))
    return join(very[0], adjective.english), join(very[1], adjective.german)

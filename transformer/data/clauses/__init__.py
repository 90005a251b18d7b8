"""The built-in corpus `builtin:clauses`: short English sentences and their German translations.

A small grammar generates them, so every pair is correct, and an English sentence has exactly one translation: a model
can translate all of them correctly. It must learn what word-by-word translation gets wrong: agreement of gender and
case, separable verbs ("macht ... auf"), verbs at the end (", weil er den Hund gesehen hat"), the verb in second place
when a sentence does not start with its subject ("Heute sieht er ..."), the order of digits ("einundzwanzig"), and
compounds ("Küchentisch").

lexicon.py has the words, and forms.py inflects them. phrases.py and grammar.py build noun phrases and clauses. This
file has the kinds of sentences, and the splits.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from transformer.data.clauses import lexicon as words
from transformer.data.clauses.forms import decline_determiner
from transformer.data.clauses.grammar import (
    Complements,
    assemble,
    be_clause,
    modal_verb,
    object_complements,
    verb_clause,
)
from transformer.data.clauses.lexicon import Case, Kind, Pair, Person, Tense
from transformer.data.clauses.phrases import IT, PRONOUNS, WHO, noun_phrase, quality, quantity, somebody

SPLITS = ("train", "valid", "test")
MAX_WORDS = 18  # of an English sentence
MAX_REPEATS = 100_000  # after so many draws without a new sentence, the grammar is assumed to have no more
TENSES: tuple[Tense, ...] = ("present", "present", "past", "modal")  # the present twice: it has the most forms


def clauses(split: str, count: int, seed: int = 0) -> Iterator[Pair]:
    """Yields `count` distinct pairs (English, German) of the split, the same ones on every machine.

    A smaller count gives the first pairs of a larger one. No English sentence is in two splits, whatever the seeds,
    because its hash decides the split (about 18/20 train, 1/20 valid, 1/20 test). A German sentence can be in two
    splits, because two English sentences can have the same translation ("I understand her." and "... them.").

    Raises ValueError if there is no such split, or if the grammar has too few sentences for `count`.
    """
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    rng = Random(f"{split} {seed}")
    seen: set[str] = set()
    while len(seen) < count:
        drawn = (sentence(rng) for _ in range(MAX_REPEATS))
        pair = next((pair for pair in drawn if pair[0] not in seen and _split_of(pair[0]) == split), None)
        if not pair:
            raise ValueError(
                f"count: {count} pairs of {split!r} requested, the grammar has only {len(seen)}; use fewer"
            )
        seen.add(pair[0])
        yield pair


def _split_of(english: str) -> str:
    bucket = hashlib.blake2b(english.encode(), digest_size=8).digest()[-1] % 20
    return {0: "valid", 1: "test"}.get(bucket, "train")


def sentence(rng: Random) -> Pair:
    """Generates a sentence of a random construction, with a capital letter, and a full stop or question mark."""
    (construction,) = rng.choices(tuple(CONSTRUCTIONS), tuple(CONSTRUCTIONS.values()))
    english, german = construction(rng)
    while len(english.split()) > MAX_WORDS:
        english, german = construction(rng)
    end = "" if english.endswith("?") else "."
    return english[0].upper() + english[1:] + end, german[0].upper() + german[1:] + end


def statement(rng: Random) -> Pair:
    """The man calls us today. / Der Mann ruft uns heute an."""
    return verb_clause(rng, rng.choice(TENSES), timed=0.5).statement()


def inversion(rng: Random) -> Pair:
    """Yesterday the man bought no apples. / Gestern hat der Mann keine Äpfel gekauft."""
    tense = rng.choice(TENSES)
    return verb_clause(rng, tense, timed=0).after(*rng.choice(words.TIMES[tense]))


def yes_no_question(rng: Random) -> Pair:
    """Did the child open the window? / Hat das Kind das Fenster aufgemacht?"""
    return verb_clause(rng, rng.choice(TENSES), timed=0.3, negatable=False).question()


def why_question(rng: Random) -> Pair:
    """Why does she follow the bear? / Warum folgt sie dem Bären?"""
    wh = rng.choice((("why", "warum"), ("when", "wann")))
    return verb_clause(rng, rng.choice(TENSES), timed=0, negatable=False).question(*wh)


def who_question(rng: Random) -> Pair:
    """Who wants to eat the cake? / Wer will den Kuchen essen?"""
    english, german = verb_clause(rng, rng.choice(TENSES), WHO, negatable=False).statement()
    return english + "?", german + "?"


def description(rng: Random) -> Pair:
    """My uncles are not very hungry. / Meine Onkel sind nicht sehr hungrig."""
    subject = noun_phrase(rng, Kind.BEINGS | Kind.THINGS | Kind.FOOD, definite=True, described=0)
    past, negated = rng.random() < 0.3, rng.random() < 0.25
    clause = be_clause(subject, *quality(rng, subject), past, negated)
    return clause.question() if rng.random() < 0.2 and not negated else clause.statement()


def position(rng: Random) -> Pair:
    """The letters are under the kitchen table. / Die Briefe sind unter dem Küchentisch."""
    subject = noun_phrase(rng, Kind.TEXT | Kind.GOODS | Kind.FOOD | Kind.ANIMAL, definite=True)
    english, german = rng.choice(words.POSITIONS)
    where = noun_phrase(rng, Kind.FURNITURE, definite=True)
    places = (f"{english} {where.english}", f"{german} {where.german[Case.DATIVE]}")
    clause = be_clause(subject, *places, past=rng.random() < 0.3, negated=rng.random() < 0.2)
    return clause.statement()


def measure(rng: Random) -> Pair:
    """An old coat costs twenty-one euros. / Ein alter Mantel kostet einundzwanzig Euro."""
    if rng.random() < 0.3:
        subject = noun_phrase(rng, Kind.PEOPLE | Kind.FURNITURE, definite=True, described=0)
        years, jahre = quantity(rng, 100)
        return be_clause(subject, f"{years} years old", f"{jahre} Jahre alt").statement()
    subject = noun_phrase(rng, Kind.WARES, described=0.7)
    euros, euro = quantity(rng)
    cost, kosten = ("costs", "kostet") if subject.person == Person.THIRD_SINGULAR else ("cost", "kosten")
    return f"{subject.english} {cost} {euros} euros", f"{subject.german[0]} {kosten} {euro} Euro"


def reason_last(rng: Random) -> Pair:
    """He is tired because he has to work. / Er ist müde, weil er arbeiten muss."""
    tense, conjunction = _conjunction(rng)
    english, german = verb_clause(rng, _same_time(rng, tense)).statement()
    because, weil = verb_clause(rng, tense, timed=0).subordinate(*conjunction)
    return f"{english} {because}", f"{german}, {weil}"


def reason_first(rng: Random) -> Pair:
    """If the child sleeps, we close the door. / Wenn das Kind schläft, machen wir die Tür zu."""
    tense, conjunction = _conjunction(rng)
    english, german = verb_clause(rng, tense, timed=0).subordinate(*conjunction)
    return verb_clause(rng, _same_time(rng, tense)).after(f"{english},", f"{german},")


def _conjunction(rng: Random) -> tuple[Tense, Pair]:
    """Chooses a tense for a subordinate clause, and a conjunction that is possible in this tense."""
    tense = rng.choice(TENSES)
    common = (("because", "weil"), ("although", "obwohl"))
    return tense, rng.choice((*common, ("if", "wenn"), ("if", "wenn")) if tense == "present" else common)


def _same_time(rng: Random, tense: Tense) -> Tense:
    return "past" if tense == "past" else rng.choice(("present", "modal"))


def reported_speech(rng: Random) -> Pair:
    """She hopes that the boy found his dog. / Sie hofft, dass der Junge seinen Hund gefunden hat."""
    verb = rng.choice(words.SAYING + words.ASKING)
    conjunction = ("whether", "ob") if verb in words.ASKING else ("that", "dass")
    english, german = assemble(somebody(rng), verb, Complements(), "present", words.MUST).statement()
    that, dass = verb_clause(rng, rng.choice(TENSES), timed=0.1).subordinate(*conjunction)
    return f"{english} {that}", f"{german}, {dass}"


def relative(rng: Random) -> Pair:
    """The woman who helps me is friendly. / Die Frau, die mir hilft, ist freundlich."""
    subject = noun_phrase(rng, Kind.PEOPLE, definite=True, described=0.1)
    article = decline_determiner(words.THE, subject.gender, Case.NOMINATIVE)  # the relative pronoun has this form too
    pronoun = replace(WHO, german=(article,), person=subject.person)
    who, die = verb_clause(rng, rng.choice(TENSES), pronoun, timed=0).subordinate("", "")
    whole = replace(subject, english=f"{subject.english} {who}", german=(f"{subject.german[0]}, {die},",))
    if rng.random() < 0.5:
        return be_clause(whole, *quality(rng, subject)).statement()
    return verb_clause(rng, rng.choice(TENSES), whole, timed=0).statement()


def anaphora(rng: Random) -> Pair:
    """The lamp is new, but he turns it off. / Die Lampe ist neu, aber er schaltet sie aus."""
    thing = noun_phrase(rng, Kind.WARES | Kind.OPENING, definite=True, described=0)
    verb = rng.choice([verb for verb in words.TRANSITIVE if thing.kind in verb.objects])
    it, old = IT[thing.gender], quality(rng, thing)
    tense = rng.choice(TENSES)
    if rng.random() < 0.5:
        english, german = be_clause(thing, *old).statement()
        negated = rng.random() < 0.2
        turned_off = object_complements(verb, it)
        acts = assemble(somebody(rng), verb, turned_off, tense, modal_verb(rng, negated), negated=negated)
        but, aber = acts.statement()
        return f"{english}, but {but}", f"{german}, aber {aber}"
    subject = rng.choice([pronoun for pronoun in PRONOUNS if pronoun.person != it.person])
    acts = assemble(subject, verb, object_complements(verb, thing), tense, modal_verb(rng, negated=False))
    english, german = acts.statement()
    because, weil = be_clause(it, *old).subordinate("because", "weil")
    return f"{english} {because}", f"{german}, {weil}"


CONSTRUCTIONS: dict[Callable[[Random], Pair], int] = {
    statement: 5, inversion: 4, yes_no_question: 2, why_question: 2, who_question: 1, description: 2, position: 2,
    measure: 4, reason_last: 2, reason_first: 2, reported_speech: 2, relative: 2, anaphora: 2,
}  # fmt: skip

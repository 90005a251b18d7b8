"""The built-in corpus `builtin:clauses`: short English sentences and their German translations.

A small grammar makes them, so every pair is correct, and an English sentence has exactly one translation: a model can
get all of them right. What it must learn is what makes translation more than word by word: gender and case agree, verbs
come apart ("macht ... auf") or go to the end (", weil er den Hund gesehen hat"), the verb stays second when a sentence
does not start with its subject ("Heute sieht er ..."), numbers turn round ("einundzwanzig"), words grow together
("Küchentisch").

A clause is built once, as parts; each kind of sentence then only says in which order the parts come.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Literal

from transformer.data import clauses_lexicon as words
from transformer.data.clauses_lexicon import Case, Determiner, Gender, Kind, Person, Verb

SPLITS = ("train", "valid", "test")
MOST_WORDS = 18  # of an English sentence
MOST_REPEATS = 100_000  # draws without a new sentence, after which the grammar counts as exhausted

Pair = tuple[str, str]
Tense = Literal["present", "past", "modal"]
TENSES: tuple[Tense, ...] = ("present", "present", "past", "modal")  # the present twice: it has the most forms


def clauses(split: str, count: int, seed: int = 0) -> Iterator[Pair]:
    """`count` distinct pairs (English, German) of the split: the same ones wherever and whenever it is called.

    A smaller count gives the first pairs of a larger one. No sentence is in two splits, whatever the seeds: a hash of
    the English sentence decides (train 18/20, valid 1/20, test 1/20).

    Raises ValueError if there is no such split, or if the grammar has too few sentences for `count`.
    """
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} is none of {', '.join(SPLITS)}")
    rng = Random(f"{split} {seed}")
    seen: set[str] = set()
    repeats = 0
    while len(seen) < count:
        pair = sentence(rng)
        if pair[0] in seen or _split_of(pair[0]) != split:
            repeats += 1
            if repeats > MOST_REPEATS:
                raise ValueError(
                    f"count: {count} pairs of {split!r} asked, the grammar gave {len(seen)}; ask for fewer"
                )
            continue
        seen.add(pair[0])
        repeats = 0
        yield pair


def _split_of(english: str) -> str:
    bucket = hashlib.blake2b(english.encode(), digest_size=8).digest()[-1] % 20
    return {0: "valid", 1: "test"}.get(bucket, "train")


def sentence(rng: Random) -> Pair:
    """A sentence of any construction, with its capital and its full stop or question mark."""
    (construction,) = rng.choices(tuple(CONSTRUCTIONS), tuple(CONSTRUCTIONS.values()))
    english, german = construction(rng)
    while len(english.split()) > MOST_WORDS:
        english, german = construction(rng)
    end = "" if english.endswith("?") else "."
    return english[0].upper() + english[1:] + end, german[0].upper() + german[1:] + end


# Noun phrases


@dataclass(frozen=True)
class NounPhrase:
    """A noun with its company, or a pronoun: in English as subject and as object, in German by case."""

    english: str
    english_object: str
    german: tuple[str, str, str]
    person: Person
    gender: Gender = "p"
    kind: Kind = Kind.PERSON
    pronoun: bool = False
    negative: bool = False  # its "kein" negates the clause


PRONOUNS = [NounPhrase(*pronoun, pronoun=True) for pronoun in words.PRONOUNS]
WHO = NounPhrase("who", "whom", ("wer", "wen", "wem"), Person.ONE)
RELATIVE: dict[Gender, str] = {"m": "der", "f": "die", "n": "das", "p": "die"}  # "der Mann, DER schläft"
IT: dict[Gender, tuple[str, str, str]] = {
    "m": ("er", "ihn", "ihm"), "f": ("sie", "sie", "ihr"), "n": ("es", "es", "ihm"), "p": ("sie", "sie", "ihnen"),
}  # fmt: skip


@cache
def _nouns(kinds: Kind) -> tuple[words.Noun, ...]:
    return tuple(noun for noun in words.NOUNS if noun.kind in kinds)


@cache
def _adjectives(kind: Kind) -> tuple[words.Adjective, ...]:
    return tuple(adjective for adjective in words.ADJECTIVES if kind in adjective.kinds)


def noun_phrase(
    rng: Random, kinds: Kind, definite: bool = False, negated: bool = False, described: float = 0.4
) -> NounPhrase:
    """A noun of one of the kinds: "the old table", "my uncles", "twenty-one apples", "a garden door".

    `definite` leaves out "a table" and "tables"; `negated` turns them into "keinen Tisch" and "keine Tische";
    `described` is the probability of an adjective.
    """
    noun = rng.choice(_nouns(kinds))
    plural = rng.random() < 0.3
    determiner = _determiner(rng, noun.kind, plural, definite, negated)
    english, german_first = noun.english_plural if plural else noun.english, ""
    if noun.english in words.COMPOUND_HEADS and rng.random() < 0.4:
        english_first, german_first = rng.choice(words.COMPOUND_FIRSTS)
        english = f"{english_first} {english}"
    adjective = rng.choice(_adjectives(noun.kind)) if rng.random() < described else None
    if adjective:
        english = f"{adjective.english} {english}"
    article = "an" if determiner.english == "a" and english[0] in "aeiou" else determiner.english
    english = _join(article, english)
    gender: Gender = "p" if plural else noun.gender
    german = []
    for case in Case:
        form = words.decline_noun(noun, plural, case)
        german.append(
            _join(
                words.decline_determiner(determiner, gender, case),
                words.decline_adjective(adjective, determiner, gender, case) if adjective else "",
                german_first + form.lower() if german_first else form,
            )
        )
    person = Person.THEY if plural else Person.ONE
    nominative, accusative, dative = german
    negative = determiner.german == "kein"
    return NounPhrase(english, english, (nominative, accusative, dative), person, gender, noun.kind, negative=negative)


def _determiner(rng: Random, kind: Kind, plural: bool, definite: bool, negated: bool) -> Determiner:
    if kind == Kind.KIN or (kind != Kind.PERSON and rng.random() < 0.2):  # "her man" would be her husband
        return rng.choice(words.POSSESSIVES)
    if plural and not definite and not negated and rng.random() < 0.5:
        return Determiner(*_number(rng, 100 if kind in Kind.BEINGS else 1000), "none")
    determiner = rng.choice(words.PLURAL if plural else words.SINGULAR)
    if determiner.english not in ("a", ""):
        return determiner
    if definite:
        return words.THE
    if negated:
        return words.NO_PLURAL if plural else words.NO_SINGULAR
    return determiner


def _number(rng: Random, limit: int = 1000) -> Pair:
    """A number from two on, but none that ends in 01: its "ein" would agree with the noun."""
    value = rng.randrange(2, min(limit, rng.choice((100, 1000))))
    return words.number(value + 1 if value % 100 == 1 else value)


def _person(rng: Random, kinds: Kind = Kind.PEOPLE) -> NounPhrase:
    """Somebody who acts: a pronoun, or a noun of one of the kinds."""
    return rng.choice(PRONOUNS) if rng.random() < 0.5 else noun_phrase(rng, kinds)


def _other(rng: Random, kinds: Kind, subject: NounPhrase, negated: bool) -> NounPhrase:
    """An object: now and then a pronoun, but not "I see me" or "we see me"."""
    if Kind.PERSON not in kinds or rng.random() < 0.7:
        return noun_phrase(rng, kinds, negated=negated)
    same = {Person.ME: (Person.ME, Person.WE), Person.WE: (Person.ME, Person.WE), Person.YOU: (Person.YOU,)}
    return rng.choice([p for p in PRONOUNS if p.person not in same.get(subject.person, ())])


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


# Clauses


@dataclass(frozen=True)
class Clause:
    """A clause in both languages, in parts that only need to be put in order."""

    subject: NounPhrase
    predicate: str  # "turns", "does not turn", "can turn"
    auxiliary: str  # "does", "can": what a question starts with
    bare: str  # "turn": what a question leaves behind its subject
    rest: str  # "on the lamp today"
    finite: str  # "schaltet", "kann"
    middle: str  # "heute die Lampe"
    closing: str  # "ein", "einschalten": what ends a main clause
    final: str  # "einschaltet", "einschalten kann": what ends a subordinate clause

    def statement(self) -> Pair:
        """The man opens the door / Der Mann macht die Tür auf."""
        return self._english(), _join(self.subject.german[0], self.finite, self.middle, self.closing)

    def after(self, english: str, german: str) -> Pair:
        """Today the man opens the door / Heute macht der Mann die Tür auf."""
        return _join(english, self._english()), _join(german, self._verb_before_subject())

    def question(self, english: str = "", german: str = "") -> Pair:
        """(Why) does the man open the door? / (Warum) macht der Mann die Tür auf?"""
        english = _join(english, self.auxiliary, self.subject.english, self.bare, self.rest)
        return english + "?", _join(german, self._verb_before_subject()) + "?"

    def subordinate(self, english: str, german: str) -> Pair:
        """because the man opens the door / weil der Mann die Tür aufmacht"""
        return _join(english, self._english()), _join(german, self.subject.german[0], self.middle, self.final)

    def _english(self) -> str:
        return _join(self.subject.english, self.predicate, self.rest)

    def _verb_before_subject(self) -> str:
        return _join(self.finite, self.subject.german[0], self.middle, self.closing)


@dataclass(frozen=True)
class Complements:
    """What follows the verb: in English in its order, in German by what decides on the place."""

    english: str = ""
    pronoun: str = ""
    objects: str = ""
    place: str = ""
    negative: bool = False

    def german(self, time: str, nicht: str) -> str:
        """Pronouns come first, time before other objects, places last; "nicht" stands between objects and place."""
        if nicht:
            return _join(self.pronoun, self.objects, time, nicht, self.place)
        return _join(self.pronoun, time, self.objects, self.place)


def _complements(rng: Random, verb: Verb, subject: NounPhrase, negated: bool) -> Complements:
    """What the verb asks for: objects, a direction, or company and a place."""
    if verb in words.MOTION:
        return _way(rng, verb)
    if verb in words.INTRANSITIVE:
        return _surroundings(rng, verb, subject)
    if verb in words.DITRANSITIVE:
        receiver = _other(rng, Kind.PEOPLE, subject, negated=False)
        thing = noun_phrase(rng, verb.objects, negated=negated)
        return object_complements(verb, thing, Case.ACCUSATIVE, receiver)
    case = Case.DATIVE if verb in words.WITH_DATIVE else Case.ACCUSATIVE
    return object_complements(verb, _other(rng, verb.objects, subject, negated), case)


def object_complements(verb: Verb, thing: NounPhrase, case: Case, receiver: NounPhrase | None = None) -> Complements:
    """turns on the lamp, turns it on / die Lampe, sie; gives him a cake / ihm einen Kuchen"""
    if receiver:
        english, german = _join(receiver.english_object, thing.english_object), thing.german[case]
        dative = receiver.german[Case.DATIVE]
        if receiver.pronoun:
            return Complements(english, dative, german, negative=thing.negative)
        return Complements(english, "", _join(dative, german), negative=thing.negative)
    if thing.pronoun:
        return Complements(_join(thing.english_object, verb.particle), thing.german[case])
    return Complements(_join(verb.particle, thing.english_object), "", thing.german[case], negative=thing.negative)


def _way(rng: Random, verb: Verb) -> Complements:
    """(walks) into the garden, to the old school / in den Garten, zur alten Schule"""
    place = noun_phrase(rng, verb.objects, definite=True)
    if rng.random() < 0.5 and verb.objects == Kind.PLACES:
        return Complements(_join("into", place.english), place=_contract("in", place.german[Case.ACCUSATIVE]))
    return Complements(_join("to", place.english), place=_contract("zu", place.german[Case.DATIVE]))


def _surroundings(rng: Random, verb: Verb, subject: NounPhrase) -> Complements:
    """(dances) with her in the garden, without the dog / mit ihr im Garten, ohne den Hund"""
    english, german = [verb.particle], []
    if verb.sociable and rng.random() < 0.4:
        other = _other(rng, Kind.BEINGS, subject, negated=False)
        preposition = rng.choice((("with", "mit", Case.DATIVE), ("without", "ohne", Case.ACCUSATIVE)))
        english.append(f"{preposition[0]} {other.english_object}")
        german.append(f"{preposition[1]} {other.german[preposition[2]]}")
    if rng.random() < 0.6:
        place = noun_phrase(rng, Kind.PLACES, definite=True)
        english.append(f"in {place.english}")
        german.append(_contract("in", place.german[Case.DATIVE]))
    return Complements(_join(*english), place=_join(*german))


def _contract(preposition: str, german: str) -> str:
    """in dem Garten -> im Garten"""
    article, rest = german.split(" ", 1)
    short = {"in dem": "im", "in das": "ins", "zu dem": "zum", "zu der": "zur"}.get(f"{preposition} {article}")
    return f"{short} {rest}" if short else f"{preposition} {german}"


def _english_verb(verb: str, past: str, tense: Tense, modal: words.Modal, person: Person) -> tuple[str, str, str]:
    """Predicate, auxiliary and bare form: ("sees", "does", "see"), ("wants to see", "does", "want to see")."""
    if tense == "past":
        return past, "did", verb
    if tense == "modal":
        verb = f"{modal.english} {verb}"
        if not modal.with_do:
            return verb, modal.english, verb.removeprefix(modal.english + " ")
    if person == Person.ONE:
        return words.english_third(verb), "does", verb
    return verb, "do", verb


def _german_verb(verb: Verb, tense: Tense, modal: words.Modal, person: Person) -> tuple[str, str, str]:
    """Finite, closing and final form: ("macht", "auf", "aufmacht"), ("hat", "gesehen", "gesehen hat")."""
    if tense == "present":
        finite = words.conjugate(verb.german, person, verb.changed)
        return finite, verb.prefix, verb.prefix + finite
    last = verb.participle if tense == "past" else verb.german
    finite = words.conjugate(verb.auxiliary if tense == "past" else modal.german, person)
    return finite, verb.prefix + last, f"{verb.prefix}{last} {finite}"


def _negate(auxiliary: str, bare: str) -> str:
    """does not see, cannot see"""
    return _join("cannot" if auxiliary == "can" else f"{auxiliary} not", bare)


def assemble(
    subject: NounPhrase,
    verb: Verb,
    complements: Complements,
    tense: Tense,
    modal: words.Modal,
    time: Pair = ("", ""),
    negated: bool = False,
) -> Clause:
    """The clause of these parts. `modal` matters in the modal tense only; a "kein" takes the place of "nicht"."""
    predicate, auxiliary, bare = _english_verb(verb.english, verb.english_past, tense, modal, subject.person)
    if negated:
        predicate = _negate(auxiliary, bare)
    rest = _join(complements.english, time[0])
    middle = complements.german(time[1], "nicht" if negated and not complements.negative else "")
    finite, closing, final = _german_verb(verb, tense, modal, subject.person)
    return Clause(subject, predicate, auxiliary, bare, rest, finite, middle, closing, final)


def _modal(rng: Random, negated: bool) -> words.Modal:
    return rng.choice(words.MODALS if negated else (*words.MODALS, words.MUST))


def verb_clause(
    rng: Random, tense: Tense, subject: NounPhrase | None = None, timed: float = 0.15, negatable: bool = True
) -> Clause:
    """Somebody does something, in the tense; `timed` is the probability that it is said when."""
    negated = negatable and rng.random() < 0.2
    (verbs,) = rng.choices(tuple(FRAMES), tuple(FRAMES.values()))
    verb = rng.choice(verbs)
    subject = subject or _person(rng, verb.subjects)
    time = rng.choice(TIMES[tense]) if rng.random() < timed else ("", "")
    complements = _complements(rng, verb, subject, negated)
    return assemble(subject, verb, complements, tense, _modal(rng, negated), time, negated)


def be_clause(subject: NounPhrase, english: str, german: str, past: bool = False, negated: bool = False) -> Clause:
    """the dogs are (not) tired / die Hunde sind (nicht) müde"""
    forms = ("was", "were", "was", "were", "were") if past else ("am", "are", "is", "are", "are")
    be = forms[subject.person]
    finite = words.conjugate("waren" if past else "sein", subject.person)
    negation, nicht = ("not", "nicht") if negated else ("", "")
    return Clause(subject, _join(be, negation), be, "", english, finite, _join(nicht, german), "", finite)


def _quality(rng: Random, subject: NounPhrase) -> Pair:
    """(very) old / (sehr) alt: an adjective that fits the subject"""
    adjective = rng.choice(_adjectives(subject.kind))
    very = rng.choice((("", ""), ("", ""), ("very", "sehr")))
    return _join(very[0], adjective.english), _join(very[1], adjective.german)


# Sentences


def statement(rng: Random) -> Pair:
    """The man calls us today. / Der Mann ruft uns heute an."""
    return verb_clause(rng, rng.choice(TENSES), timed=0.5).statement()


def inversion(rng: Random) -> Pair:
    """Yesterday the man bought no apples. / Gestern hat der Mann keine Äpfel gekauft."""
    tense = rng.choice(TENSES)
    return verb_clause(rng, tense, timed=0).after(*rng.choice(TIMES[tense]))


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
    clause = be_clause(subject, *_quality(rng, subject), past, negated)
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
        years, jahre = _number(rng, 100)
        return be_clause(subject, f"{years} years old", f"{jahre} Jahre alt").statement()
    subject = noun_phrase(rng, Kind.WARES, described=0.7)
    euros, euro = _number(rng)
    cost, kosten = ("costs", "kostet") if subject.person == Person.ONE else ("cost", "kosten")
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
    """A tense of a subordinate clause, and a conjunction that goes with it."""
    tense = rng.choice(TENSES)
    common = (("because", "weil"), ("although", "obwohl"))
    return tense, rng.choice((*common, ("if", "wenn"), ("if", "wenn")) if tense == "present" else common)


def _same_time(rng: Random, tense: Tense) -> Tense:
    return "past" if tense == "past" else rng.choice(("present", "modal"))


def reported(rng: Random) -> Pair:
    """She hopes that the boy found his dog. / Sie hofft, dass der Junge seinen Hund gefunden hat."""
    verb = rng.choice(words.SAYING + words.ASKING)
    conjunction = ("whether", "ob") if verb in words.ASKING else ("that", "dass")
    english, german = assemble(_person(rng), verb, Complements(), "present", words.MUST).statement()
    that, dass = verb_clause(rng, rng.choice(TENSES), timed=0.1).subordinate(*conjunction)
    return f"{english} {that}", f"{german}, {dass}"


def relative(rng: Random) -> Pair:
    """The woman who helps me is friendly. / Die Frau, die mir hilft, ist freundlich."""
    subject = noun_phrase(rng, Kind.PEOPLE, definite=True, described=0.1)
    pronoun = replace(WHO, german=(RELATIVE[subject.gender], "", ""), person=subject.person)
    who, die = verb_clause(rng, rng.choice(TENSES), pronoun, timed=0).subordinate("", "")
    german = (f"{subject.german[0]}, {die},", "", "")
    whole = replace(subject, english=f"{subject.english} {who}", german=german)
    if rng.random() < 0.5:
        return be_clause(whole, *_quality(rng, subject)).statement()
    return verb_clause(rng, rng.choice(TENSES), whole, timed=0).statement()


def anaphora(rng: Random) -> Pair:
    """The lamp is new, but he turns it off. / Die Lampe ist neu, aber er schaltet sie aus."""
    thing = noun_phrase(rng, Kind.WARES | Kind.OPENING, definite=True, described=0)
    verb = rng.choice([verb for verb in words.TRANSITIVE if thing.kind in verb.objects])
    plural = thing.person == Person.THEY
    it = NounPhrase(
        "they" if plural else "it", "them" if plural else "it", IT[thing.gender], thing.person, pronoun=True
    )
    quality = _quality(rng, thing)
    tense = rng.choice(TENSES)
    if rng.random() < 0.5:
        described, beschrieben = be_clause(thing, *quality).statement()
        negated = rng.random() < 0.2
        complements = object_complements(verb, it, Case.ACCUSATIVE)
        acts, handelt = assemble(
            _person(rng), verb, complements, tense, _modal(rng, negated), negated=negated
        ).statement()
        return f"{described}, but {acts}", f"{beschrieben}, aber {handelt}"
    complements = object_complements(verb, thing, Case.ACCUSATIVE)
    somebody = rng.choice([pronoun for pronoun in PRONOUNS if pronoun.person != it.person])
    acts, handelt = assemble(somebody, verb, complements, tense, _modal(rng, negated=False)).statement()
    because, weil = be_clause(it, *quality).subordinate("because", "weil")
    return f"{acts} {because}", f"{handelt}, {weil}"


TIMES = {"present": words.PRESENT_TIMES, "past": words.PAST_TIMES, "modal": words.FUTURE_TIMES}
FRAMES = {words.TRANSITIVE: 8, words.WITH_DATIVE: 2, words.DITRANSITIVE: 3, words.INTRANSITIVE: 3, words.MOTION: 2}
CONSTRUCTIONS: dict[Callable[[Random], Pair], int] = {
    statement: 5, inversion: 4, yes_no_question: 2, why_question: 2, who_question: 1, description: 2, position: 2,
    measure: 4, reason_last: 2, reason_first: 2, reported: 2, relative: 2, anaphora: 2,
}  # fmt: skip

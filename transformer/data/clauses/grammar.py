"""Clauses of the built-in corpus: the parts of a clause, and their order.

A clause is built once, as parts. The kind of sentence then only determines their order.
"""

from dataclasses import dataclass
from random import Random

from transformer.data.clauses import forms
from transformer.data.clauses import lexicon as words
from transformer.data.clauses.forms import join
from transformer.data.clauses.lexicon import Case, Kind, Modal, Pair, Tense, Verb
from transformer.data.clauses.phrases import NounPhrase, noun_phrase, other, somebody

FRAMES = {words.TRANSITIVE: 8, words.WITH_DATIVE: 2, words.DITRANSITIVE: 3, words.INTRANSITIVE: 3, words.MOTION: 2}


@dataclass(frozen=True)
class Clause:
    """A clause in both languages, in parts that only need to be put in order."""

    subject: NounPhrase
    predicate: str  # "turns", "does not turn", "can turn"
    auxiliary: str  # "does", "can": what a question starts with
    bare: str  # "turn": what follows the subject in a question
    rest: str  # "on the lamp today"
    finite: str  # "schaltet", "kann"
    middle: str  # "heute die Lampe"
    closing: str  # "ein", "einschalten": what ends a main clause
    final: str  # "einschaltet", "einschalten kann": what ends a subordinate clause

    def statement(self) -> Pair:
        """The man opens the door / Der Mann macht die Tür auf."""
        return self._english(), join(self.subject.german[0], self.finite, self.middle, self.closing)

    def after(self, english: str, german: str) -> Pair:
        """Today the man opens the door / Heute macht der Mann die Tür auf."""
        return join(english, self._english()), join(german, self._verb_before_subject())

    def question(self, english: str = "", german: str = "") -> Pair:
        """(Why) does the man open the door? / (Warum) macht der Mann die Tür auf?"""
        english = join(english, self.auxiliary, self.subject.english, self.bare, self.rest)
        return english + "?", join(german, self._verb_before_subject()) + "?"

    def subordinate(self, english: str, german: str) -> Pair:
        """because the man opens the door / weil der Mann die Tür aufmacht"""
        return join(english, self._english()), join(german, self.subject.german[0], self.middle, self.final)

    def _english(self) -> str:
        return join(self.subject.english, self.predicate, self.rest)

    def _verb_before_subject(self) -> str:
        return join(self.finite, self.subject.german[0], self.middle, self.closing)


@dataclass(frozen=True)
class Complements:
    """The complements of a verb: the English ones in their order, the German ones by the place that they take."""

    english: str = ""
    pronoun: str = ""
    objects: str = ""
    place: str = ""
    negative: bool = False

    def german(self, time: str, nicht: str) -> str:
        """Returns pronoun, time, objects, place in this order; with "nicht": pronoun, objects, time, "nicht", place."""
        if nicht:
            return join(self.pronoun, self.objects, time, nicht, self.place)
        return join(self.pronoun, time, self.objects, self.place)


def _complements(rng: Random, verb: Verb, subject: NounPhrase, negated: bool) -> Complements:
    """Generates the complements of a verb: objects, a direction, or company and a place."""
    if verb in words.MOTION:
        return _direction(rng, verb)
    if verb in words.INTRANSITIVE:
        return _surroundings(rng, verb, subject)
    if verb in words.DITRANSITIVE:
        receiver = other(rng, Kind.PEOPLE, subject, negated=False)
        thing = noun_phrase(rng, verb.objects, negated=negated)
        return object_complements(verb, thing, receiver)
    return object_complements(verb, other(rng, verb.objects, subject, negated))


def object_complements(verb: Verb, thing: NounPhrase, receiver: NounPhrase | None = None) -> Complements:
    """turns on the lamp, turns it on / die Lampe, sie; gives him a cake / ihm einen Kuchen"""
    german = thing.german[Case.DATIVE if verb in words.WITH_DATIVE else Case.ACCUSATIVE]
    if thing.pronoun:
        return Complements(join(thing.english_object, verb.particle), german)
    if not receiver:
        return Complements(join(verb.particle, thing.english_object), "", german, negative=thing.negative)
    dative = receiver.german[Case.DATIVE]
    pronoun, noun = (dative, "") if receiver.pronoun else ("", dative)
    english = join(receiver.english_object, thing.english_object)
    return Complements(english, pronoun, join(noun, german), negative=thing.negative)


def _direction(rng: Random, verb: Verb) -> Complements:
    """Generates a direction: (walks) into the garden, to the old school / in den Garten, zur alten Schule."""
    place = noun_phrase(rng, verb.objects, definite=True)
    if rng.random() < 0.5 and verb.objects == Kind.PLACES:
        return Complements(join("into", place.english), place=_contract("in", place.german[Case.ACCUSATIVE]))
    return Complements(join("to", place.english), place=_contract("zu", place.german[Case.DATIVE]))


def _surroundings(rng: Random, verb: Verb, subject: NounPhrase) -> Complements:
    """Generates company and a place: (dances) with her in the garden / mit ihr im Garten."""
    english, german = [verb.particle], []
    if verb.sociable and rng.random() < 0.4:
        company = other(rng, Kind.BEINGS, subject, negated=False)
        preposition, german_preposition, case = rng.choice(
            (("with", "mit", Case.DATIVE), ("without", "ohne", Case.ACCUSATIVE))
        )
        english.append(f"{preposition} {company.english_object}")
        german.append(f"{german_preposition} {company.german[case]}")
    if rng.random() < 0.6:
        place = noun_phrase(rng, Kind.PLACES, definite=True)
        english.append(f"in {place.english}")
        german.append(_contract("in", place.german[Case.DATIVE]))
    return Complements(join(*english), place=join(*german))


def _contract(preposition: str, german: str) -> str:
    """in dem Garten -> im Garten"""
    article, rest = german.split(" ", 1)
    short = {"in dem": "im", "in das": "ins", "zu dem": "zum", "zu der": "zur"}.get(f"{preposition} {article}")
    return f"{short} {rest}" if short else f"{preposition} {german}"


def assemble(
    subject: NounPhrase,
    verb: Verb,
    complements: Complements,
    tense: Tense,
    modal: Modal,
    time: Pair = ("", ""),
    negated: bool = False,
) -> Clause:
    """Builds a clause from its parts. `modal` is used only if the tense is "modal". No "nicht" is added to a "kein"."""
    predicate, auxiliary, bare = forms.english_verb(verb, tense, modal, subject.person)
    if negated:
        predicate = join("cannot" if auxiliary == "can" else f"{auxiliary} not", bare)
    rest = join(complements.english, time[0])
    middle = complements.german(time[1], "nicht" if negated and not complements.negative else "")
    finite, closing, final = forms.german_verb(verb, tense, modal, subject.person)
    return Clause(subject, predicate, auxiliary, bare, rest, finite, middle, closing, final)


def modal_verb(rng: Random, negated: bool) -> Modal:
    """Returns a random modal verb; not "must" if `negated`: "must not" is "nicht dürfen", not "nicht müssen"."""
    return rng.choice(words.MODALS if negated else (*words.MODALS, words.MUST))


def verb_clause(
    rng: Random, tense: Tense, subject: NounPhrase | None = None, timed: float = 0.15, negatable: bool = True
) -> Clause:
    """Generates a clause with a random verb. `timed` is the probability of a time, such as "today"."""
    negated = negatable and rng.random() < 0.2
    (verbs,) = rng.choices(tuple(FRAMES), tuple(FRAMES.values()))
    verb = rng.choice(verbs)
    subject = subject or somebody(rng, verb.subjects)
    time = rng.choice(words.TIMES[tense]) if rng.random() < timed else ("", "")
    complements = _complements(rng, verb, subject, negated)
    return assemble(subject, verb, complements, tense, modal_verb(rng, negated), time, negated)


def be_clause(subject: NounPhrase, english: str, german: str, past: bool = False, negated: bool = False) -> Clause:
    """the dogs are (not) tired / die Hunde sind (nicht) müde"""
    be = (("was", "were", "was", "were", "were") if past else ("am", "are", "is", "are", "are"))[subject.person]
    finite = forms.conjugate("waren" if past else "sein", subject.person)
    negation, nicht = ("not", "nicht") if negated else ("", "")
    return Clause(subject, join(be, negation), be, "", english, finite, join(nicht, german), "", finite)

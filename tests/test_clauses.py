"""The built-in corpus: correct German, one translation a sentence, and nothing that depends on more than the seed."""

import os
import re
import subprocess
import sys
from itertools import islice
from random import Random

import pytest

from transformer.data import clauses as corpus
from transformer.data.clauses import SPLITS, clauses
from transformer.data.clauses import grammar as grammar
from transformer.data.clauses import lexicon as words
from transformer.data.clauses.lexicon import Kind, Person
from transformer.data.clauses.phrases import PRONOUNS, NounPhrase, other

VERBS = {
    " ".join(filter(None, (verb.english, verb.particle))): verb
    for table in (words.TRANSITIVE, words.WITH_DATIVE, words.DITRANSITIVE, words.INTRANSITIVE, words.MOTION)
    for verb in table
}


def phrase(english: str, german: str, person: Person = Person.THIRD_SINGULAR, **more: bool) -> NounPhrase:
    """A phrase whose German has the given forms: one for all cases, or three."""
    nominative, *others = german.split(", ")
    accusative, dative = others or (nominative, nominative)
    return NounPhrase(english, english, (nominative, accusative, dative), person, **more)


MAN = phrase("the man", "der Mann, den Mann, dem Mann")
CHILDREN = phrase("the children", "die Kinder, die Kinder, den Kindern", Person.THEY)
DOOR = phrase("the door", "die Tür, die Tür, der Tür")
NO_LAMP = phrase("a lamp", "keine Lampe, keine Lampe, keiner Lampe", negative=True)
CAN, WANT, MUST = words.MODALS[0], words.MODALS[3], words.MUST
TODAY, NEVER = ("today", "heute"), ("", "")


def make(subject, verb, thing=None, tense="present", time=NEVER, negated=False, modal=CAN, receiver=None):
    verb = VERBS[verb]
    complements = grammar.Complements(verb.particle)
    if thing:
        complements = grammar.object_complements(verb, thing, receiver)
    return grammar.assemble(subject, verb, complements, tense, modal, time, negated)


ME, YOU, HE, _, WE, _ = PRONOUNS
BECAUSE = ("because", "weil")
HAND_CHECKED = [
    (make(MAN, "open", DOOR).statement(), "the man opens the door", "der Mann macht die Tür auf"),
    (make(MAN, "open", DOOR).after(*TODAY), "today the man opens the door", "heute macht der Mann die Tür auf"),
    (make(MAN, "open", DOOR).subordinate(*BECAUSE), "because the man opens the door", "weil der Mann die Tür aufmacht"),
    (make(MAN, "open", DOOR).question(), "does the man open the door?", "macht der Mann die Tür auf?"),
    (make(MAN, "open", DOOR, "past").statement(), "the man opened the door", "der Mann hat die Tür aufgemacht"),
    (make(MAN, "open", DOOR, "past").subordinate(*BECAUSE), "because the man opened the door",
     "weil der Mann die Tür aufgemacht hat"),
    (make(MAN, "open", DOOR, "modal").statement(), "the man can open the door", "der Mann kann die Tür aufmachen"),
    (make(MAN, "open", DOOR, "modal").subordinate(*BECAUSE), "because the man can open the door",
     "weil der Mann die Tür aufmachen kann"),
    (make(YOU, "open", DOOR).question("why", "warum"), "why do you open the door?", "warum machst du die Tür auf?"),
    (make(MAN, "open", DOOR, negated=True).statement(), "the man does not open the door",
     "der Mann macht die Tür nicht auf"),
    (make(MAN, "open", DOOR, "past", negated=True).statement(), "the man did not open the door",
     "der Mann hat die Tür nicht aufgemacht"),
    (make(HE, "open", DOOR, "modal", negated=True).statement(), "he cannot open the door",
     "er kann die Tür nicht aufmachen"),
    (make(HE, "open", DOOR, "modal", negated=True, modal=WANT).statement(), "he does not want to open the door",
     "er will die Tür nicht aufmachen"),
    (make(HE, "open", DOOR, "modal", modal=WANT).question(), "does he want to open the door?",
     "will er die Tür aufmachen?"),
    (make(ME, "open", DOOR, "modal", modal=MUST).question(), "must I open the door?", "muss ich die Tür aufmachen?"),
    (make(CHILDREN, "open", DOOR, time=TODAY).statement(), "the children open the door today",
     "die Kinder machen heute die Tür auf"),
    (make(CHILDREN, "see", HE, time=TODAY).statement(), "the children see him today", "die Kinder sehen ihn heute"),
    (make(ME, "buy", NO_LAMP, negated=True).statement(), "I do not buy a lamp", "ich kaufe keine Lampe"),
    (make(ME, "turn off", NO_LAMP, negated=True).statement(), "I do not turn off a lamp",
     "ich schalte keine Lampe aus"),
    (make(ME, "help", CHILDREN).statement(), "I help the children", "ich helfe den Kindern"),
    (make(HE, "follow", CHILDREN, "past").statement(), "he followed the children", "er ist den Kindern gefolgt"),
    (make(HE, "give", DOOR, receiver=MAN).statement(), "he gives the man the door", "er gibt dem Mann die Tür"),
    (make(HE, "give", DOOR, time=TODAY, receiver=ME).statement(), "he gives me the door today",
     "er gibt mir heute die Tür"),
    (make(WE, "get up").statement(), "we get up", "wir stehen auf"),
    (make(WE, "get up", tense="past").subordinate(*BECAUSE), "because we got up", "weil wir aufgestanden sind"),
    (make(HE, "carry", DOOR).statement(), "he carries the door", "er trägt die Tür"),
    (grammar.be_clause(MAN, "old", "alt", past=True, negated=True).statement(), "the man was not old",
     "der Mann war nicht alt"),
    (grammar.be_clause(ME, "old", "alt").subordinate(*BECAUSE), "because I am old", "weil ich alt bin"),
]  # fmt: skip


@pytest.mark.parametrize(("pair", "english", "german"), HAND_CHECKED)
def test_clauses_put_their_parts_in_order(pair, english, german):
    assert pair == (english, german)


def test_nobody_is_the_object_of_an_own_action():
    for subject, own in ((ME, {"me", "us"}), (WE, {"me", "us"}), (YOU, {"you"}), (HE, set())):
        drawn = {other(Random(seed), Kind.PEOPLE, subject, negated=False) for seed in range(300)}
        pronouns = {phrase.english_object for phrase in drawn if phrase.pronoun}
        assert pronouns == {"me", "you", "him", "her", "us", "them"} - own


@pytest.fixture(scope="module")
def pairs():
    return list(clauses("train", 5000))


@pytest.mark.parametrize(
    ("construction", "english", "german"),
    [
        ("separable verb, apart", r"^(I|You|He|She|We|They) turns? o(n|ff) ",
         r"^\w+ schalte(st|t|n)? [^,]* (ein|aus)[,.]"),
        ("separable verb, together", r"(because|although|that|whether) (I|you|he|she|we|they) (open|close)s? ",
         r"(weil|obwohl|dass|ob) \w+ [^,]* (auf|zu)mach(e|st|t|en)[,.]"),
        ("separable participle", r"\bgot up\b", r"\baufgestanden\b"),
        ("contrast", r"although", r"obwohl"),
        ("condition first", r"^If .*, ", r"^Wenn .*, \w+ "),
        ("indirect question", r"ask(s)? whether", r"frag(e|st|t|en), ob"),
        ("report", r"(says?|knows?|thinks?|hopes?) that", r", dass "),
        ("relative clause", r"woman who", r"Frau, die .*, "),
        ("fronted time", r"^Yesterday ", r"^Gestern (hat|habe|hast|haben|ist|bin|bist|sind) "),
        ("modal", r"^(He|She) can ", r"^(Er|Sie) kann [^,]*en[,.]"),
        ("future", r"^(He|She) will ", r"^(Er|Sie) wird [^,]*en[,.]"),
        ("want is no future", r"^(He|She) wants to ", r"^(Er|Sie) will [^,]*en[,.]"),
        ("negated object", r"\b(does|do|did) not (buy|sell|see|find|eat) an? ", r" keine?n? "),
        ("negation", r" (is|are) not ", r" (ist|sind) nicht "),
        ("number", r"\b(twenty|sixty)-(two|three|four) ", r"(zwei|drei|vier)und(zwan|sech)zig\b"),
        ("hundreds", r"two hundred and ", r"zweihundert\w"),
        ("price", r" costs? .* euros\.", r" koste(n|t) .* Euro\."),
        ("age", r"years old", r"Jahre alt"),
        ("compound", r"kitchen table\b", r"Küchentisch(e|en)?\b"),
        ("position", r" (on|under|behind) the (table|chair|bed)\b", r" (auf|unter|hinter) dem (Tisch|Stuhl|Bett)\b"),
        ("direction", r"(walk|walks|walked|run|runs|ran) into the (garden|forest)\b", r"in den (Garten|Wald)\b"),
        ("place", r" in the garden\b", r" im Garten\b"),
        ("direction with to", r"(walk|run|ran|drive|drove)(s|ed)? to the (school|city)\b", r"zur (Schule|Stadt)\b"),
        ("dative verb", r"help(s|ed)? him", r"ihm"),
        ("two objects", r"gives? me ", r" mir "),
        ("it, a man's word", r"(table|chair|cake|apple) is .* but .* it\.", r" aber .* ihn\b"),
        ("it, a woman's word", r"(door|lamp|pear|bench) is .* but .* it\.", r" aber .* sie\b"),
        ("weak noun", r"(see|saw|call|find|found)(s|ed)? the (boy|prince|bear)\b", r"\bden (Jungen|Prinzen|Bären)"),
        ("company", r" with (him|me|us|them)\b", r" mit (ihm|mir|uns|ihnen)\b"),
        ("yes or no", r"^(Do|Does|Did|Can) ", r"^\w+ .*\?$"),
        ("why", r"^Why ", r"^Warum "),
        ("when", r"^When ", r"^Wann "),
        ("who", r"^Who ", r"^Wer "),
    ],
)  # fmt: skip
def test_every_construction_occurs_and_is_translated(pairs, construction, english, german):
    with_it = [pair for pair in pairs if re.search(english, pair[0])]
    assert len(with_it) >= 3, construction
    assert [pair for pair in with_it if not re.search(german, pair[1])] == []


def test_every_word_occurs(pairs):
    text = " ".join(english.lower() for english, _ in pairs)
    everything = words.NOUNS + words.ADJECTIVES + tuple(VERBS.values())
    missing = [word.english for word in everything if len(re.findall(rf"\b{word.english}", text)) < 10]
    assert missing == []


def test_sentences_are_written_as_sentences(pairs):
    for english, german in pairs:
        assert english[0].isupper() and german[0].isupper()
        assert english[-1] == german[-1] and english[-1] in ".?"
        assert "  " not in english + german and len(english.split()) <= corpus.MAX_WORDS
    assert 8 <= sum(len(english.split()) for english, _ in pairs) / len(pairs) <= 10


def test_an_english_sentence_comes_once_and_has_one_translation():
    translations: dict[str, str] = {}
    for seed in range(3):
        drawn = dict(clauses("train", 7000, seed))
        assert len(drawn) == 7000
        for english, german in drawn.items():
            assert translations.setdefault(english, german) == german


def test_a_smaller_count_is_a_prefix_of_a_larger_one(pairs):
    assert list(clauses("train", 100)) == pairs[:100] == list(islice(clauses("train", 10**6), 100))


def test_seeds_and_splits_draw_different_sentences(pairs):
    assert list(clauses("train", 100, seed=1)) != pairs[:100]
    assert list(clauses("train", 0)) == []


def test_splits_share_no_sentence_for_any_seeds(pairs):
    train = {english for english, _ in pairs}
    valid, test = ({english for seed in (0, 7) for english, _ in clauses(split, 300, seed)} for split in SPLITS[1:])
    assert not train & valid and not train & test and not valid & test


def test_pairs_do_not_depend_on_the_hash_seed(pairs):
    code = "from transformer.data.clauses import clauses; print(ascii(list(clauses('train', 50))))"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == ascii(pairs[:50])


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split: 'dev' is not one of train, valid, test"):
        next(clauses("dev", 1))


def test_an_exhausted_grammar_says_so(monkeypatch):
    monkeypatch.setattr(corpus, "sentence", lambda rng: ("I sleep.", "Ich schlafe."))
    monkeypatch.setattr(corpus, "MAX_REPEATS", 10)
    with pytest.raises(ValueError, match="the grammar has only 1"):
        list(islice(clauses("train", 2), 3))

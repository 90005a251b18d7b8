"""The words of the built-in corpus, as tables; `forms.py` inflects them.

Each English word has only one German word here, so that a sentence has exactly one translation. Ambiguous English words
are excluded: "read" (present or past), "friend" (Freund or Freundin), "sheep" (one or many).
"""

from enum import Flag, IntEnum, auto
from typing import Literal, NamedTuple

Pair = tuple[str, str]  # English, German
Tense = Literal["present", "past", "modal"]
Gender = str  # m, f, n, or p: the plural, which has no gender in German


class Case(IntEnum):
    NOMINATIVE = 0
    ACCUSATIVE = 1
    DATIVE = 2


class Person(IntEnum):
    ME = 0
    YOU = 1  # always "du"
    THIRD_SINGULAR = 2  # he, she, it, and any noun in the singular
    WE = 3
    THEY = 4


class Kind(Flag):
    """The kind of thing that a noun names: verbs and adjectives list the kinds that make sense with them."""

    PERSON = auto()
    KIN = auto()  # always somebody's: "my brother"
    ANIMAL = auto()
    FOOD = auto()
    TEXT = auto()
    GOODS = auto()
    DEVICE = auto()  # can be turned on
    OPENING = auto()  # can be opened
    FURNITURE = auto()
    ROOM = auto()
    PLACE = auto()
    NOTHING = 0
    PEOPLE = PERSON | KIN
    BEINGS = PEOPLE | ANIMAL
    WARES = FOOD | TEXT | GOODS | DEVICE | FURNITURE
    THINGS = TEXT | GOODS | DEVICE | OPENING | FURNITURE
    PLACES = ROOM | PLACE


class Noun(NamedTuple):
    kind: Kind
    english: str
    english_plural: str
    german: str
    gender: Gender
    german_plural: str

    @property
    def weak(self) -> bool:
        """Whether the singular has the form of the plural in every case but the nominative: "den Jungen"."""
        return self.german in ("Junge", "Prinz", "Bär")


_NOUNS = {  # English, its plural, German, its gender and plural
    Kind.PERSON: "man men Mann m Männer, woman women Frau f Frauen, child children Kind n Kinder, "
    "boy boys Junge m Jungen, girl girls Mädchen n Mädchen, queen queens Königin f Königinnen, "
    "prince princes Prinz m Prinzen",
    Kind.KIN: "brother brothers Bruder m Brüder, sister sisters Schwester f Schwestern, uncle uncles Onkel m Onkel, "
    "daughter daughters Tochter f Töchter",
    Kind.ANIMAL: "dog dogs Hund m Hunde, cat cats Katze f Katzen, horse horses Pferd n Pferde, bear bears Bär m Bären",
    Kind.FOOD: "apple apples Apfel m Äpfel, pear pears Birne f Birnen, egg eggs Ei n Eier, cake cakes Kuchen m Kuchen",
    Kind.TEXT: "book books Buch n Bücher, letter letters Brief m Briefe, story stories Geschichte f Geschichten",
    Kind.GOODS: "coat coats Mantel m Mäntel, cup cups Tasse f Tassen, shirt shirts Hemd n Hemden",
    Kind.DEVICE: "computer computers Computer m Computer, lamp lamps Lampe f Lampen, radio radios Radio n Radios",
    Kind.OPENING: "door doors Tür f Türen, window windows Fenster n Fenster",
    Kind.FURNITURE: "table tables Tisch m Tische, chair chairs Stuhl m Stühle, bench benches Bank f Bänke, "
    "bed beds Bett n Betten",
    Kind.ROOM: "kitchen kitchens Küche f Küchen, garden gardens Garten m Gärten, house houses Haus n Häuser",
    Kind.PLACE: "school schools Schule f Schulen, hotel hotels Hotel n Hotels, forest forests Wald m Wälder, "
    "city cities Stadt f Städte",
}
NOUNS = tuple(Noun(kind, *noun.split()) for kind, nouns in _NOUNS.items() for noun in nouns.split(", "))
COMPOUND_FIRSTS = (("kitchen", "Küchen"), ("garden", "Garten"), ("school", "Schul"), ("hotel", "Hotel"))
COMPOUND_HEADS = ("door", "window", "table", "chair", "bench", "lamp")


class Adjective(NamedTuple):
    kinds: Kind
    english: str
    german: str


_ADJECTIVES = {
    Kind.BEINGS | Kind.THINGS | Kind.PLACES: "old alt",
    Kind.BEINGS: "young jung, tired müde, hungry hungrig, friendly freundlich",
    Kind.BEINGS | Kind.FOOD | Kind.THINGS | Kind.PLACES: "small klein",
    Kind.ANIMAL | Kind.FOOD | Kind.THINGS | Kind.PLACES: "big groß",
    Kind.THINGS | Kind.PLACES: "new neu",
    Kind.ANIMAL | Kind.THINGS | Kind.PLACES: "beautiful schön",
    Kind.FOOD | Kind.THINGS: "expensive teuer, cheap billig",
    Kind.FOOD: "fresh frisch",
    Kind.GOODS | Kind.DEVICE | Kind.OPENING | Kind.FURNITURE: "red rot, green grün",
    Kind.PLACES: "dark dunkel",
}
ADJECTIVES = tuple(
    Adjective(kinds, *word.split()) for kinds, words in _ADJECTIVES.items() for word in words.split(", ")
)


class Determiner(NamedTuple):
    english: str
    german: str
    declension: Literal["der", "ein", "none"]


THE = Determiner("the", "der", "der")
SINGULAR = (THE, THE, Determiner("this", "dies", "der"), Determiner("a", "ein", "ein"))
PLURAL = (THE, THE, Determiner("these", "dies", "der"), Determiner("", "", "none"))
POSSESSIVES = (
    Determiner("my", "mein", "ein"), Determiner("your", "dein", "ein"), Determiner("his", "sein", "ein"),
    Determiner("her", "ihr", "ein"), Determiner("our", "unser", "ein"), Determiner("their", "ihr", "ein"),
)  # fmt: skip
NO_SINGULAR, NO_PLURAL = Determiner("a", "kein", "ein"), Determiner("", "kein", "ein")  # "not a", "not any"


PRONOUNS = (  # subject and object in English; German by case
    ("I", "me", ("ich", "mich", "mir"), Person.ME),
    ("you", "you", ("du", "dich", "dir"), Person.YOU),
    ("he", "him", ("er", "ihn", "ihm"), Person.THIRD_SINGULAR),
    ("she", "her", ("sie", "sie", "ihr"), Person.THIRD_SINGULAR),
    ("we", "us", ("wir", "uns", "uns"), Person.WE),
    ("they", "them", ("sie", "sie", "ihnen"), Person.THEY),
)


class Verb(NamedTuple):
    english: str
    english_past: str
    german: str
    participle: str
    objects: Kind = Kind.NOTHING
    changed: str = ""  # the stem after du and er, where its vowel changes: "sieh"
    particle: str = ""  # "turn ON"
    prefix: str = ""  # "schaltet ... EIN"
    auxiliary: Literal["haben", "sein"] = "haben"
    subjects: Kind = Kind.PEOPLE
    sociable: bool = False  # people do it together or alone: "dances with her"


TRANSITIVE = (
    Verb("see", "saw", "sehen", "gesehen", Kind.BEINGS | Kind.THINGS, changed="sieh", subjects=Kind.BEINGS),
    Verb("find", "found", "finden", "gefunden", Kind.BEINGS | Kind.WARES, subjects=Kind.BEINGS),
    Verb("buy", "bought", "kaufen", "gekauft", Kind.ANIMAL | Kind.WARES),
    Verb("sell", "sold", "verkaufen", "verkauft", Kind.ANIMAL | Kind.WARES),
    Verb("eat", "ate", "essen", "gegessen", Kind.FOOD, changed="iss", subjects=Kind.BEINGS),
    Verb("write", "wrote", "schreiben", "geschrieben", Kind.TEXT),
    Verb("understand", "understood", "verstehen", "verstanden", Kind.PEOPLE | Kind.TEXT),
    Verb("wash", "washed", "waschen", "gewaschen", Kind.GOODS | Kind.ANIMAL, changed="wäsch"),
    Verb("carry", "carried", "tragen", "getragen", Kind.GOODS | Kind.DEVICE | Kind.FURNITURE, changed="träg"),
    Verb("visit", "visited", "besuchen", "besucht", Kind.PEOPLE),
    Verb("open", "opened", "machen", "gemacht", Kind.OPENING, prefix="auf"),
    Verb("close", "closed", "machen", "gemacht", Kind.OPENING, prefix="zu"),
    Verb("turn", "turned", "schalten", "geschaltet", Kind.DEVICE, particle="on", prefix="ein"),
    Verb("turn", "turned", "schalten", "geschaltet", Kind.DEVICE, particle="off", prefix="aus"),
    Verb("call", "called", "rufen", "gerufen", Kind.PEOPLE, prefix="an"),
    Verb("invite", "invited", "laden", "geladen", Kind.PEOPLE, changed="läd", prefix="ein"),
    Verb("bring", "brought", "bringen", "gebracht", Kind.ANIMAL | Kind.WARES, particle="along", prefix="mit"),
)
WITH_DATIVE = (
    Verb("help", "helped", "helfen", "geholfen", Kind.BEINGS, changed="hilf"),
    Verb("thank", "thanked", "danken", "gedankt", Kind.PEOPLE),
    Verb("follow", "followed", "folgen", "gefolgt", Kind.BEINGS, auxiliary="sein", subjects=Kind.BEINGS),
)
DITRANSITIVE = (
    Verb("give", "gave", "geben", "gegeben", Kind.ANIMAL | Kind.WARES, changed="gib"),
    Verb("show", "showed", "zeigen", "gezeigt", Kind.ANIMAL | Kind.WARES),
    Verb("send", "sent", "schicken", "geschickt", Kind.WARES),
)
INTRANSITIVE = (
    Verb("sleep", "slept", "schlafen", "geschlafen", changed="schläf", subjects=Kind.BEINGS),
    Verb("wait", "waited", "warten", "gewartet", subjects=Kind.BEINGS, sociable=True),
    Verb("work", "worked", "arbeiten", "gearbeitet", sociable=True),
    Verb("dance", "danced", "tanzen", "getanzt", sociable=True),
    Verb("get", "got", "stehen", "gestanden", particle="up", prefix="auf", auxiliary="sein"),
    Verb("arrive", "arrived", "kommen", "gekommen", prefix="an", auxiliary="sein", sociable=True),
)
MOTION = (
    Verb("walk", "walked", "gehen", "gegangen", Kind.PLACES, auxiliary="sein", subjects=Kind.BEINGS),
    Verb("run", "ran", "laufen", "gelaufen", Kind.PLACES, changed="läuf", auxiliary="sein", subjects=Kind.BEINGS),
    Verb("drive", "drove", "fahren", "gefahren", Kind.PLACE, changed="fähr", auxiliary="sein"),
)
SAYING = (  # followed by "that"
    Verb("say", "said", "sagen", "gesagt"), Verb("know", "knew", "wissen", "gewusst"),
    Verb("think", "thought", "denken", "gedacht"), Verb("hope", "hoped", "hoffen", "gehofft"),
)  # fmt: skip
ASKING = (Verb("ask", "asked", "fragen", "gefragt"),)  # followed by "whether"


class Modal(NamedTuple):
    english: str
    german: str
    with_do: bool = False  # "does not want to": questions and negations take "do"


MUST = Modal("must", "müssen")  # never negated: "must not" is "nicht dürfen"
MODALS = (Modal("can", "können"), Modal("should", "sollten"), Modal("will", "werden"), Modal("want to", "wollen", True))

ALWAYS_GOOD = (("today", "heute"), ("in the evening", "am Abend"), ("in the morning", "am Morgen"))
TIMES: dict[Tense, tuple[Pair, ...]] = {
    "present": (*ALWAYS_GOOD, ("now", "jetzt")),
    "past": (*ALWAYS_GOOD, ("yesterday", "gestern"), ("on Monday", "am Montag")),
    "modal": (*ALWAYS_GOOD, ("tomorrow", "morgen"), ("on Sunday", "am Sonntag")),
}
POSITIONS = (("on", "auf"), ("under", "unter"), ("behind", "hinter"), ("next to", "neben"), ("in front of", "vor"))

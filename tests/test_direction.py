"""Sides that are in other languages than their codes are reported, in any script; where it is not clear, nothing is."""

import logging
from itertools import permutations
from pathlib import Path

import pytest

from preparing import fails, prepared, sides, write
from transformer.data.checks import survey
from transformer.data.checks.direction import FEWEST_PAIRS, direction_warning
from transformer.data.checks.function_words import CODES, PROFILES
from transformer.data.clauses import clauses
from transformer.data.languages import script

TEXTS = {
    "en": (
        "The dog is in the house, but he does not want to go out with the children.",
        "I do not know what has happened, but it is too late for us to go to the cinema.",
        "There are many people on the streets of the city.",
    ),
    "de": (
        "Der Hund ist im Haus, aber er will nicht mit den Kindern nach draußen.",
        "Ich weiß nicht, was passiert ist, und es ist auch zu spät für das Kino.",
        "Auf den Straßen der Stadt sind die Leute wie an einem Feiertag.",
    ),
    "es": (
        "El perro está en la casa, pero no quiere salir con los niños.",
        "No sé lo que ha pasado, pero ya es muy tarde para ir al cine.",
        "Hoy hay mucho sol y las calles de la ciudad están llenas.",
    ),
    "pt": (
        "O cachorro está em casa, mas não quer sair com as crianças.",
        "Eu não sei o que aconteceu, mas já é muito tarde para ir ao cinema com uma amiga.",
        "Hoje há sol e as ruas da cidade estão cheias, como os cafés.",
    ),
    "sv": (
        "Hunden är i huset, men den vill inte gå ut med barnen.",
        "Jag vet inte vad som har hänt, men det är för sent att gå på bio.",
        "I dag skiner solen och gatorna i staden är fulla av folk.",
    ),
    "da": (
        "Hunden er i huset, men den vil ikke gå ud med børnene.",
        "Jeg ved ikke, hvad der er sket, men det er for sent til at gå i biografen.",
        "I dag skinner solen, og gaderne i byen er fulde af folk.",
    ),
    "pl": (
        "Pies jest w domu, ale nie chce wyjść z dziećmi.",
        "Nie wiem, co się stało, ale jest już za późno, żeby iść do kina.",
        "Na ulicach miasta jest tak dużo ludzi, że się nie da przejść.",
    ),
    "cs": (
        "Pes je v domě, ale nechce jít ven s dětmi.",
        "Nevím, co se stalo, ale už je pozdě na to, abychom šli do kina.",
        "Na ulicích města jsou lidé, kteří jdou do parku, který je také za řekou.",
    ),
    "fi": (
        "Koira on talossa, mutta se ei halua lähteä ulos.",
        "En tiedä, mitä on tapahtunut, mutta nyt on liian myöhäistä, ja olen kotona kuin hän.",
        "Aurinko paistaa ja kadut ovat täynnä, kun kaikki sen näkevät.",
    ),
    "tr": (
        "Köpek evde ama dışarı çıkmak için çok yorgun.",
        "Ne olduğunu bilmiyorum ve bu kadar geç bir saatte sinemaya gitmek de olmaz.",
        "Bugün şehirde her yer dolu gibi, daha sonra gideriz.",
    ),
    "ru": (
        "Собака в доме, но она не хочет идти на улицу.",
        "Я не знаю, что это было, но уже поздно идти в кино.",
        "Сегодня светит солнце, и на улицах так много людей, что мы остались у дома.",
    ),
    "uk": (
        "Собака в будинку, але він не хоче йти на вулицю.",
        "Я не знаю, що це було, але вже пізно йти до кіно.",
        "Сьогодні світить сонце, і на вулицях так багато людей, що ми залишилися біля дому.",
    ),
    "ar": (
        "الكلب في البيت لكنه لا يريد أن يخرج مع الأطفال",
        "لم أعرف ما حدث بعد ذلك ولكن هذا الوقت كان متأخرا",
        "ذهبت إلى المدينة التي على البحر",
    ),
    "fa": (
        "سگ در خانه است اما نمی‌خواهد که با بچه‌ها بیرون برود",
        "من این را از آن مرد شنیدم که به شهر رفت",
        "او برای این کار به ما هم یک نامه داد",
    ),
    "hi": (
        "कुत्ता घर में है और वह बच्चों के साथ बाहर नहीं जाना चाहता",
        "यह शहर की सड़क पर है",
        "उस ने कहा कि आज भी काम है",
    ),
    "ja": (
        "犬は家の中にいますが、外に出たくないようです。",
        "何が起きたのか分かりません。",
        "今日は街に人がたくさんいます。",
    ),
    "zh": (
        "狗在家里，但是它不想和孩子们一起出去。",
        "我不知道发生了什么。",
        "今天城市的街道上有很多人。",
    ),
    "ko": (
        "개는 집 안에 있지만 밖에 나가고 싶어하지 않는다.",
        "무슨 일이 있었는지 모르겠다.",
        "오늘은 거리에 사람이 많다.",
    ),
    "el": (
        "Ο σκύλος είναι στο σπίτι, αλλά δεν θέλει να βγει.",
        "Δεν ξέρω τι έγινε.",
        "Σήμερα οι δρόμοι είναι γεμάτοι.",
    ),
    "he": (
        "הכלב בבית אבל הוא לא רוצה לצאת.",
        "אני לא יודע מה קרה.",
        "היום יש הרבה אנשים ברחוב.",
    ),
    "ka": (
        "ძაღლი სახლშია, მაგრამ გარეთ გასვლა არ უნდა.",
        "არ ვიცი, რა მოხდა.",
        "დღეს ქუჩაში ბევრი ხალხია.",
    ),
    "eu": (
        "Txakurra etxean dago, baina ez du kanpora joan nahi.",
        "Ez dakit zer gertatu den.",
        "Gaur jende asko dago kalean.",
    ),
}

Pairs = list[tuple[str, str]]


def lines(language: str, count: int = 60) -> list[str]:
    texts = TEXTS[language]
    return [f"{number}. {texts[number % len(texts)]}" for number in range(count)]


def corpus(source: str, target: str, count: int = 60) -> Pairs:
    return list(zip(lines(source, count), lines(target, count), strict=True))


KNOWN = [language for language in TEXTS if language != "eu"]


@pytest.mark.fault("T30")
@pytest.mark.parametrize("source", KNOWN)
def test_swapped_sides_are_found_and_others_are_not(source: str) -> None:
    for target in KNOWN:
        if target != source:
            assert direction_warning(corpus(source, target), source, target) == ""
            found = direction_warning(corpus(source, target), target, source)
            assert f"the source looks like {source} and the target like {target}" in found and "swapped" in found


@pytest.mark.fault("T30")
@pytest.mark.parametrize(("one", "other"), [*permutations(["pt", "ru", "ja", "ar", "tr"], 2)])
def test_one_side_in_another_language_is_named(one: str, other: str) -> None:
    found = direction_warning(corpus("ko", other), "ko", one)
    assert "the target looks like" in found and f"not like {one}" in found and "source" not in found
    found = direction_warning(corpus(other, other), one, other)
    assert found.startswith(f"the source looks like {other}, not like {one}") and "target" not in found


@pytest.mark.parametrize(("source", "target"), [("en-GB", "deu_Latn"), ("eng_Latn", "de-AT"), ("EN", "ger")])
def test_codes_with_script_or_region_are_known(source: str, target: str) -> None:
    assert direction_warning(corpus("en", "de"), source, target) == ""
    assert "swapped" in direction_warning(corpus("de", "en"), source, target)


MIXED = corpus("en", "pl", 30) + corpus("pl", "en", 30)
UNSURE: dict[str, tuple[Pairs, str, str]] = {
    "few lines": (corpus("en", "de", FEWEST_PAIRS - 1), "de", "en"),
    "no lines": ([], "de", "en"),
    "few different lines": (corpus("en", "sv", 3) * 100, "sv", "en"),
    "unknown codes": (corpus("en", "ru"), "xx", "zz"),
    "no words of one language": (corpus("eu", "de"), "de", "eu"),
    "both mixed": (MIXED, "en", "pl"),
    "no letters": ([(f"{n} + {n}", f"= {2 * n}") for n in range(100)], "en", "ru"),
    "blank": ([("", "")] * 100, "en", "ru"),
    "names": ([(f"Anna {n}", f"Otto {n}") for n in range(100)], "de", "fi"),
    "Serbian in Latin letters": ([(f"{n}. On je u kući", f"{n}. Il est là") for n in range(60)], "sr", "fr"),
}


@pytest.mark.parametrize("kind", UNSURE)
def test_what_is_not_clear_is_not_reported(kind: str) -> None:
    assert direction_warning(*UNSURE[kind]) == ""


def test_the_builtin_corpus_is_as_named() -> None:
    pairs = list(clauses("train", 2000))
    assert direction_warning(pairs, "en", "de") == ""
    assert "swapped" in direction_warning(pairs, "de", "en")


def test_the_words_belong_to_known_languages() -> None:
    assert len(set(CODES)) == len(CODES) >= 15
    for code, words in PROFILES.items():
        assert script(code) and len(words) >= 20
        assert all(word == word.lower() for word in words)


# In the survey of a corpus


@pytest.mark.fault("T30")
@pytest.mark.parametrize("split", ["train", "valid"])
def test_swapped_sides_are_reported_each_time_and_looked_for_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    caplog.set_level(logging.INFO, "transformer")
    name = write(tmp_path / "turned", *sides()[::-1])
    for time in range(2):
        caplog.clear()
        if time:
            monkeypatch.delattr(survey, "direction_warning")
        prepared(tmp_path, **{"train": "builtin:clauses:train:100"} | {split: name})
        (warning,) = (text for text in caplog.messages if text.startswith("warning: ") and "seem to be swapped" in text)
        assert warning.startswith(f"warning: {name}: ")


@pytest.mark.fault("T30")
def test_strict_refuses_swapped_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write(tmp_path / "turned", *sides()[::-1])
    error = fails(capsys, tmp_path, 3, name, "--data.valid", "builtin:clauses:valid:20", "--data.strict", "true")
    assert name in error and "data.strict" in error
    prepared(tmp_path, write(tmp_path / "right", *sides()), strict=True)


@pytest.mark.fault("T30")
def test_other_codes_are_checked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"\n".join(b"\t".join(pair) for pair in zip(*sides(), strict=True)))
    for source, target, reported in (("en", "de", 0), ("de", "en", 1), ("en", "de", 0)):
        caplog.clear()
        prepared(tmp_path, str(path), valid=str(path), source=source, target=target)
        assert sum("swapped" in text for text in caplog.messages) == 2 * reported

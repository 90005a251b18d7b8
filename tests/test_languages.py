"""Language codes and their scripts."""

import pytest

from transformer.data.languages import has_spaces, script


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "Latn"), ("de", "Latn"), ("fra_Latn", "Latn"), ("en_XX", "Latn"),
        ("zh", "Hans"), ("zho_Hant", "Hant"), ("zh-TW", "Hant"), ("zh_CN", "Hans"), ("zh-Hans-HK", "Hans"),
        ("yue", "Hant"), ("ja", "Jpan"), ("ja_XX", "Jpan"), ("ko", "Kore"), ("th", "Thai"),
        ("khm_Khmr", "Khmr"), ("my", "Mymr"),
        ("ar", "Arab"), ("fa", "Arab"), ("ur", "Arab"), ("hi", "Deva"), ("am", "Ethi"), ("EL", "Grek"),
        ("sr", "Cyrl"), ("sr-Latn", "Latn"), ("sr_Latn_RS", "Latn"), ("pt-BR", "Latn"),
        ("forward", None), ("", None), ("xx", None),
    ],
)  # fmt: skip
def test_a_code_has_its_script(language: str, expected: str | None) -> None:
    assert script(language) == expected


def test_scripts_without_spaces() -> None:
    assert not any(map(has_spaces, ("zh", "zh-TW", "ja", "th", "lo", "km", "my", "bo", "yue_Hant")))
    assert all(map(has_spaces, ("en", "ko", "vi", "hi", "ar", "he", "ka", "forward", "xx")))

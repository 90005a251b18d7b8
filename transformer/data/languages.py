"""Languages by their codes: the script of each language, and whether it puts spaces between words.

The scripts are those of CLDR's likely subtags (unicode.org/cldr), named by their codes in ISO 15924.
"""

import re

# Languages that are mostly written in a script other than Latin, by their codes of ISO 639-1 and 639-3.
_LANGUAGES = {
    "Arab": "ar ara arb arz ary acm acq aeb ajp apc ars fa fas per pes prs ur urd ps pus pbt sd snd ug uig ks kas ckb"
    " azb bal glk lrc mzn skr pnb",
    "Armn": "hy hye arm hyw xcl",
    "Beng": "bn ben as asm mni bpy syl",
    "Cans": "iu iku cr cre",
    "Cher": "chr",
    "Cyrl": "ru rus uk ukr be bel bg bul mk mkd mac sr srp kk kaz ky kir tg tgk mn mon khk tt tat ba bak cv chv ce che"
    " os oss sah udm kv kom mhr mrj myv mdf ab abk av ava kbd ady cu chu rue tyv alt bxr xal krc kum lez lbe inh",
    "Deva": "hi hin mr mar ne nep npi sa san mai bho awa mag hne kok gom doi brx new bgc raj",
    "Ethi": "am amh ti tir gez tig",
    "Geor": "ka kat geo xmf",
    "Grek": "el ell gre grc pnt",
    "Gujr": "gu guj",
    "Guru": "pa pan",
    "Hans": "zh zho chi cmn wuu gan hsn nan cdo cjy cpx czh czo mnp",
    "Hant": "yue hak lzh",
    "Hebr": "he heb iw yi yid ydd arc",
    "Jpan": "ja jpn",
    "Khmr": "km khm",
    "Knda": "kn kan tcy",
    "Kore": "ko kor",
    "Laoo": "lo lao",
    "Mlym": "ml mal",
    "Lana": "nod",
    "Mymr": "my mya bur shn mnw ksw rki",
    "Nkoo": "nqo",
    "Olck": "sat",
    "Orya": "or ori ory",
    "Sinh": "si sin",
    "Syrc": "syr",
    "Taml": "ta tam",
    "Telu": "te tel",
    "Tfng": "zgh tzm",
    "Thaa": "dv div",
    "Tale": "tdd",
    "Talu": "khb",
    "Thai": "th tha tts sou",
    "Tibt": "bo bod tib dz dzo adx khg",
    "Yiii": "ii iii",
}
_LATIN = (
    "af sq ast az eu bs br ca ceb co hr cs da nl en eo et fo fi fr fy gl de ht ha haw hu is ig id ia ga it jv kmr"
    " ku la lv ln lt lb mg ms mt mi nb nn no oc pl pt qu rm ro rw sm sc gd st sn sk sl so es su sw sv tl fil tn tr"
    " tk uz vi wa cy wo xh yo zu afr sqi ast aze azj eus bos bre cat cos hrv ces cze dan nld dut eng epo est fao"
    " fin fra fre fry glg deu ger hat hau hun isl ice ibo ind gle ita jav lat lav lvs lin lit ltz mlg plt msa zsm"
    " mlt mri nob nno nor oci pol por que quy roh ron rum kin smo srd gla sot sna slk slo slv som spa sun swa swh"
    " swe tgl tsn tur tuk uzb uzn vie wln cym wel wol xho yor zul"
)
_SCRIPTS = {code: script for script, codes in (_LANGUAGES | {"Latn": _LATIN}).items() for code in codes.split()}
_TRADITIONAL = {"tw", "hk", "mo"}  # regions that write Chinese in traditional characters
_WITHOUT_SPACES = {
    *("Hans", "Hant", "Hani", "Hanb", "Bopo", "Jpan", "Hrkt", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"),
    *("Yiii", "Lana", "Tale", "Talu", "Java", "Bali"),
}


def script(language: str) -> str | None:
    """Returns the script that a language code names ("sr-Latn": "Latn"), or else that of the language ("sr": "Cyrl").

    Codes may have the form of BCP 47 ("zh-Hant-TW"), NLLB ("zho_Hans") or mBART ("zh_CN"). Returns None if the code is
    unknown.
    """
    first, *others = re.split("[-_]", language.lower())
    named = next((part.capitalize() for part in others if len(part) == 4 and part.isalpha()), None)
    found = named or _SCRIPTS.get(first)
    return "Hant" if found == "Hans" and not named and _TRADITIONAL & set(others) else found


def has_spaces(language: str) -> bool:
    """Whether the language puts spaces between words. If its code is unknown, it is assumed to."""
    return script(language) not in _WITHOUT_SPACES

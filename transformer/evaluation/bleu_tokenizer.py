"""The tokenizer of BLEU, from the setting train.bleu_tokenizer and the target language."""

from collections.abc import Sequence

from sacrebleu.metrics import BLEU

from transformer.data.languages import has_spaces, script
from transformer.errors import UsageError

AUTO, DEFAULT = "auto", "13a"
LOW_BLEU = 1.0
FEW_TOKENS = 4  # tokens per reference below which most references have no sequence of 4 tokens
LONG_TOKENS = 4  # characters per token above which a token is not just a short word or a character
EXTRAS = {"ja-mecab": "ja", "ko-mecab": "ko"}  # the extra of this package that installs what a tokenizer needs

# The choice of `sacrebleu -l`, by script. Han without kana (Hani, Hanb) and Bopomofo are Chinese.
_BY_SCRIPT = {
    **dict.fromkeys(("Hans", "Hant", "Hani", "Hanb", "Bopo"), "zh"),
    **dict.fromkeys(("Jpan", "Hrkt", "Hira", "Kana"), "ja-mecab"),
    **dict.fromkeys(("Kore", "Hang"), "ko-mecab"),
}


def bleu_tokenizer(language: str, setting: str = AUTO) -> str:
    """Returns the name of the tokenizer of sacreBLEU: the setting, or for "auto" the one for the target language.

    "auto" follows sacreBLEU: zh, ja-mecab and ko-mecab for Chinese, Japanese and Korean, else 13a. Other languages that
    put no spaces between words get `char`, for which sacreBLEU has no choice of its own.
    """
    if setting != AUTO:
        return setting
    return _BY_SCRIPT.get(script(language) or "", DEFAULT if has_spaces(language) else "char")


def check_bleu_tokenizer(tokenizer: str, key: str, value: str) -> None:
    """Raises UsageError if packages of a tokenizer are missing; `key` and `value`: the setting that chose it."""
    try:
        BLEU(tokenize=tokenizer)
    except (ImportError, RuntimeError, AssertionError) as problem:  # RuntimeError, AssertionError: as sacreBLEU does
        extra = EXTRAS.get(tokenizer, "")
        installed = f"'transformer-translation[{extra}]' (from a checkout: pip install -e '.[{extra}]')"
        reason = " ".join(str(problem).split()).partition(".")[0]
        raise UsageError(
            f"{key} {value}: BLEU needs the tokenizer {tokenizer} of sacreBLEU ({reason}); pip install {installed},"
            f" or use {key} char"
        ) from None


def explain_tokens(references: Sequence[str], tokenizer: str) -> str:
    """Returns how the tokenizer makes BLEU 0 or nearly so whatever the translations are; "" if it does not.

    BLEU compares sequences of 1 to 4 tokens. A tokenizer that splits at spaces makes one token of a text without.
    """
    tokenize = BLEU(tokenize=tokenizer).tokenizer
    tokens = sum(len(tokenize(line).split()) for line in references)
    characters = sum(len(line) for line in references)
    if tokens >= FEW_TOKENS * len(references) or characters <= LONG_TOKENS * tokens:
        return ""
    return (
        f"it makes {tokens / len(references):.1f} tokens of a reference of {characters / len(references):.0f}"
        " characters, and BLEU compares sequences of up to 4 tokens"
    )

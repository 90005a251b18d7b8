"""The README.md of a model that was exported to CTranslate2: how to call it."""

import json
from typing import Any

from transformer.data.tokenizer import Tokenizers
from transformer.data.vocabulary import ImportedTokenizer
from transformer.errors import one_line
from transformer.translation.model_config import ModelConfig

README = """# A translation model for CTranslate2: {source} -> {target}

{about}`pip install ctranslate2 sentencepiece`, and then, in this folder:

```python
{imports}import ctranslate2
import sentencepiece

translator = ctranslate2.Translator(".", device="auto")
source = sentencepiece.SentencePieceProcessor("{source_model}")
target = sentencepiece.SentencePieceProcessor("{target_model}")


def translate(lines: list[str]) -> list[str]:
{tokens}
    found = translator.translate_batch(
        tokens,
{options}
    )
    return [target.decode(result.hypotheses[0]){spaces} for result in found]


for line in translate([{example}]):
    print(line)
```

The model was trained on lines of at most {max_length} tokens: split longer ones into sentences.
"""

PLAIN = "    tokens = source.encode(lines, out_type=str)"
WITH_TAGS = """    tokens = []
    for line in lines:  # as in ">>fra<< A line.": a tag for the target language comes first
        tag, text = re.fullmatch("(>>[^<>]+<<)?(.*)", line).groups()
        tokens.append([tag] * bool(tag) + source.encode(text, out_type=str))"""


def options(tokenizers: Tokenizers, config: ModelConfig) -> dict[str, Any]:
    """Returns the options of `translate_batch` with which CTranslate2 translates like this package.

    Control symbols are forbidden, unless the tokenizer encodes everything as pieces or bytes: such a model has seen no
    control symbol in training but EOS. CTranslate2 removes forbidden tokens before the softmax, and this package after
    it, so scores differ slightly.
    """
    target, decode = tokenizers.target, config.decode
    found = {
        "beam_size": decode.beam_size,
        "length_penalty": decode.length_penalty,
        "max_input_length": 0,
        "min_decoding_length": decode.min_length,
        "max_decoding_length": config.max_target_length(config.max_length),
    }
    if target.spells_everything:
        return found
    never = [[piece] for piece in target.pieces(index for index in target.never_ids if index != target.unk_id)]
    return found | {"disable_unk": target.unk_id in target.never_ids, "suppress_sequences": never}


def readme(tokenizers: Tokenizers, config: ModelConfig) -> str:
    """Returns the text in Markdown; it depends on the model alone."""
    target = tokenizers.target
    names = ("tokenizer.spm", "tokenizer.spm") if tokenizers.shared else ("source.spm", "target.spm")
    return README.format(
        source=one_line(config.source),
        target=one_line(config.target),
        about="".join(f"{one_line(line)}\n\n" for line in config.about.lines()),
        imports="import re\n\n" if tokenizers.source.max_tags else "",
        source_model=names[0],
        target_model=names[1],
        tokens=WITH_TAGS if tokenizers.source.max_tags else PLAIN,
        options="\n".join(f"        {key}={value!r}," for key, value in options(tokenizers, config).items()),
        spaces='.replace("▁", " ").strip()' if isinstance(target, ImportedTokenizer) else "",
        example=json.dumps(f"{next(iter(tokenizers.source.tags), '')} A line.".strip(), ensure_ascii=False),
        max_length=config.max_length,
    )

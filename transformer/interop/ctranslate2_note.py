"""What stands beside a model that was exported to CTranslate2: how to call it."""

import json
from typing import Any

from transformer.data.lines import one_line
from transformer.data.tokenizer import Tokenizers
from transformer.model_dir import Card
from transformer.translator import limit

NOTE = """# A translation model for CTranslate2: {source} -> {target}

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

Lines longer than {max_length} tokens are longer than all that the model was trained on: split them into sentences.
"""

PLAIN = "    tokens = source.encode(lines, out_type=str)"
WITH_TAGS = """    tokens = []
    for line in lines:  # as in ">>fra<< A line.": the language that is wanted stands before it
        tag, text = re.fullmatch("(>>[^<>]+<<)?(.*)", line).groups()
        tokens.append([tag] * bool(tag) + source.encode(text, out_type=str))"""


def options(tokenizers: Tokenizers, card: Card) -> dict[str, Any]:
    """Of CTranslate2's `translate_batch`, with which it translates as ours does.

    What must not come is forbidden where it might: a model whose tokenizer can spell everything has never seen another
    symbol than the end. CTranslate2 takes the forbidden out before the softmax, ours after it: that moves scores a bit.
    """
    target, decode = tokenizers.target, card.decode
    found = {
        "beam_size": decode.beam_size,
        "length_penalty": decode.length_penalty,
        "max_input_length": 0,
        "min_decoding_length": decode.min_length,
        "max_decoding_length": limit(card.max_length, decode, card.model),
    }
    if target.spells_everything:
        return found
    never = [[piece] for piece in target.pieces(index for index in target.never_ids if index != target.unk_id)]
    return found | {"disable_unk": target.unk_id in target.never_ids, "suppress_sequences": never}


def note(tokenizers: Tokenizers, card: Card) -> str:
    """In Markdown; it follows from the model alone."""
    target = tokenizers.target
    names = ("tokenizer.spm", "tokenizer.spm") if tokenizers.shared else ("source.spm", "target.spm")
    return NOTE.format(
        source=one_line(card.source),
        target=one_line(card.target),
        about="".join(f"{one_line(line)}\n\n" for line in card.about.lines()),
        imports="import re\n\n" if tokenizers.source.most_tags else "",
        source_model=names[0],
        target_model=names[1],
        tokens=WITH_TAGS if tokenizers.source.most_tags else PLAIN,
        options="\n".join(f"        {key}={value!r}," for key, value in options(tokenizers, card).items()),
        spaces="" if target.vocabulary is None else '.replace("▁", " ").strip()',
        example=json.dumps(f"{next(iter(tokenizers.source.tags), '')} A line.".strip(), ensure_ascii=False),
        max_length=card.max_length,
    )

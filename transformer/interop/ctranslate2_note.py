"""What stands beside a model that was exported to CTranslate2: how to call it."""

from transformer.data.tokenizer import Tokenizers
from transformer.model_dir import Card

NOTE = """# A translation model for CTranslate2: {source} -> {target}

`pip install ctranslate2 sentencepiece`, and then, in this folder:

```python
import ctranslate2
import sentencepiece

translator = ctranslate2.Translator(".", device="auto")
source = sentencepiece.SentencePieceProcessor("{source_model}")
target = sentencepiece.SentencePieceProcessor("{target_model}")


def translate(lines: list[str]) -> list[str]:
{tokens}
    found = translator.translate_batch(
        tokens, beam_size={beam_size}, length_penalty={length_penalty}, max_input_length=0,
        min_decoding_length={least}, max_decoding_length={most},
        disable_unk={disable_unknown}, suppress_sequences={never},
    )
    return [target.decode(result.hypotheses[0]){spaces} for result in found]


for line in translate(["{example}"]):
    print(line)
```

Lines longer than {max_length} tokens are longer than all that the model was trained on: split them into sentences.
"""

PLAIN = "    tokens = source.encode(lines, out_type=str)"
WITH_TAGS = """    tokens = []
    for line in lines:  # as in ">>fra<< A line.": the language that is wanted stands before it
        tag, end, text = line.partition("<<") if line.startswith(">>") else ("", "", line)
        tokens.append([tag + end] * bool(tag) + source.encode(text, out_type=str))"""


def note(tokenizers: Tokenizers, card: Card) -> str:
    """In Markdown; it follows from the model alone."""
    target, decode = tokenizers.target, card.decode
    names = ("tokenizer.spm", "tokenizer.spm") if tokenizers.shared else ("source.spm", "target.spm")
    return NOTE.format(
        source=card.source,
        target=card.target,
        source_model=names[0],
        target_model=names[1],
        tokens=WITH_TAGS if tokenizers.source.most_tags else PLAIN,
        beam_size=decode.beam_size,
        length_penalty=decode.length_penalty,
        least=decode.min_length,
        most=int(card.max_length * decode.max_ratio) + decode.max_extra,
        disable_unknown=target.unk_id in target.never_ids,
        never=[[piece] for piece in target.pieces(i for i in target.never_ids if i != target.unk_id)],
        spaces="" if target.vocabulary is None else '.replace("▁", " ").strip()',
        example=f"{next(iter(tokenizers.source.tags), '')} A line.".strip(),
        max_length=card.max_length,
    )

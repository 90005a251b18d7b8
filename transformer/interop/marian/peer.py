"""Runs a saved MarianMTModel with Hugging Face Transformers, as a `Peer` of agreement.py."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from transformer.data.tokenizer import Tokenizers
from transformer.translation.model_config import ModelConfig

ROWS = 16  # sentences at a time


class Marian:
    """Runs the model in float32, on the CPU."""

    def __init__(self, directory: Path, tokenizers: Tokenizers, config: ModelConfig):
        self.name = f"Transformers {transformers.__version__}"
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        settings: Any = MarianConfig.from_pretrained(str(directory))
        # Transformers raises IndexError beyond max_position_embeddings. If that is not the size of the table of
        # positions in the file, it computes a new table.
        settings.max_position_embeddings = max(
            settings.max_position_embeddings, config.max_target_length(config.max_length)
        )
        self.model: Any = MarianMTModel.from_pretrained(
            str(directory), config=settings, dtype=torch.float32, ignore_mismatched_sizes=True
        ).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends sacremoses, which it does not use
            self._tokenizer: Any = MarianTokenizer.from_pretrained(str(directory))
        self._target = tokenizers.target
        self._ids = {piece: index for index, piece in enumerate(self._target.all_pieces)}

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        return [ids[:-1] for ids in self._tokenizer(list(lines)).input_ids] if lines else []

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int, max_tokens: int) -> list[list[str]]:
        found: list[list[str]] = []
        for start in range(0, len(sources), ROWS):
            ids, mask = self._batch(sources[start : start + ROWS])
            with torch.no_grad():
                rows = self.model.generate(
                    input_ids=ids, attention_mask=mask, num_beams=beam_size, max_new_tokens=max_tokens, max_length=None
                )
            found += [self._pieces(row.tolist()[1:]) for row in rows]
        return found

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        found: list[list[float]] = []
        for source, pieces in zip(sources, targets, strict=True):
            labels = [*(self._ids[piece] for piece in pieces), self._target.eos_id]
            given = torch.tensor([[self._target.bos_id, *labels[:-1]]])
            ids, mask = self._batch([source])
            with torch.no_grad():
                logits = self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=given).logits[0]
            scores = torch.log_softmax(logits, dim=-1)
            found.append([float(scores[place, label]) for place, label in enumerate(labels)])
        return found

    def _batch(self, sources: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, sources))
        pad = self._target.pad_id
        ids = torch.tensor([[*source, *[pad] * (longest - len(source))] for source in sources])
        mask = torch.tensor([[1] * len(source) + [0] * (longest - len(source)) for source in sources])
        return ids, mask

    def _pieces(self, ids: list[int]) -> list[str]:
        end = ids.index(self._target.eos_id) if self._target.eos_id in ids else len(ids)
        return self._target.pieces(ids[:end])

"""An exported model says the same in Hugging Face's MarianMTModel, and comes back the same."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from peer_marian import CLOSE, ODD_LINES, PAIRS, Peer, exported, generated, ids_of, largest_differences, opened, run
from transformer.config import Decode, Model
from transformer.config import Tokenizer as Subwords
from transformer.data.corpus import Pair
from transformer.data.lines import without_controls
from transformer.data.tokenizer import Tokenizers
from transformer.data.tokenizer_training import train_tokenizer
from transformer.interop.marian.import_ import import_marian
from transformer.model.parameters import named, with_values
from transformer.model.transformer import Transformer
from transformer.translation.model_config import max_target_length
from transformer.translation.model_dir import ModelConfig, save_model
from transformer.translation.translator import Translator

pytestmark = [pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses"), pytest.mark.mixed_dtypes]


class Ours(NamedTuple):
    """A model of ours to be exported."""

    tie: str
    output_bias: bool
    scale_embeddings: bool
    shared: bool = True  # one tokenizer for both sides
    activation: str = "relu"
    stop: str = "full"


MODELS = {
    "all": Ours("all", True, True),
    "all, plain": Ours("all", False, False, activation="silu", stop="unlikely"),
    "decoder": Ours("decoder", False, True, shared=False, activation="gelu", stop="certain"),
    "none": Ours("none", True, False, shared=False),
}


def model_of_ours(shape: Ours) -> tuple[Transformer, Tokenizers, ModelConfig]:
    """With random numbers in every parameter."""
    sides = [[pair[side] for pair in PAIRS[:300]] for side in (0, 1)]
    settings = Subwords(vocab_size=350)
    if shape.shared:
        tokenizers = Tokenizers(*[train_tokenizer(sides[0] + sides[1], settings)] * 2)
    else:
        tokenizers = Tokenizers(*(train_tokenizer(side, settings) for side in sides))
    sizes = tokenizers.source.vocab_size, tokenizers.target.vocab_size
    card = ModelConfig(
        source="en", target="de", source_vocabulary=sizes[0], target_vocabulary=sizes[1], max_length=40,
        model=Model(
            d_model=16, d_ff=24, num_heads=2, encoder_layers=2, decoder_layers=1, norm="post", tie_embeddings=shape.tie,
            output_bias=shape.output_bias, scale_embeddings=shape.scale_embeddings, activation=shape.activation,
            dropout=0.25, remat=True,
        ),
        decode=Decode(beam_size=3, length_penalty=0.75, stop=shape.stop, max_ratio=0.5, max_extra=6, batch_tokens=512),
    )  # fmt: skip
    model = Transformer(card.model, *sizes, rng=jax.random.key(1))
    random = np.random.default_rng(4)
    values = {
        name: np.asarray(value) + (0.3 * random.standard_normal(value.shape)).astype(np.float32)
        for name, value in named(model).items()
    }
    if shape.output_bias:
        values["output_bias"][tokenizers.target.eos_id] = 3.0
    return with_values(model, values), tokenizers, card


@pytest.fixture(scope="module", params=MODELS)
def mine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """A model of ours in `output`, and in `folder` what was exported of it."""
    place = tmp_path_factory.mktemp("mine")
    save_model(place / "ours", *model_of_ours(MODELS[request.param]))
    folder = exported(place, place / "ours")
    return Peer(folder, place / "ours", *opened(folder), Translator.load(place / "ours"))


def test_states_and_scores_of_an_exported_model(mine: Peer) -> None:
    states, scores = largest_differences(mine, [Pair(*pair) for pair in PAIRS[:24]])
    print(f"states within {states:.1e}, scores within {scores:.1e}")
    assert states <= CLOSE and scores <= CLOSE


def test_ids_of_an_exported_tokenizer(mine: Peer) -> None:
    sources, targets = ([*side, *ODD_LINES] for side in zip(*PAIRS[:200], strict=True))
    untagged = [[line for line in lines if not line.startswith(">>")] for lines in (sources, targets)]
    tokenizers = mine.translator.tokenizers
    assert ids_of(tokenizers.source, untagged[0]) == mine.tokenizer(untagged[0]).input_ids
    assert ids_of(tokenizers.target, untagged[1]) == mine.tokenizer(text_target=untagged[1]).input_ids


def test_generate_as_the_exported_folder_has_it(mine: Peer) -> None:
    """Its own generation_config.json has all but the limit, which depends on the sentence."""
    translator = mine.translator
    lines = [english for english, _ in PAIRS if 8 < len(translator.tokenizers.source.encode([english])[0]) < 16][:40]
    for line, translation in zip(lines, translator.translate(lines), strict=True):
        most = max_target_length(
            len(mine.tokenizer([line]).input_ids[0]), translator.config.decode, translator.config.model
        )
        (theirs,) = generated(mine, [line], most)
        assert translation.hypotheses[0].tokens == tuple(mine.tokenizer.convert_ids_to_tokens(theirs.ids)) or (
            abs(theirs.score - translation.score) <= CLOSE
        )
        assert translation.score == pytest.approx(theirs.score, abs=CLOSE)
        assert translation.text == without_controls(mine.tokenizer.decode(theirs.ids, skip_special_tokens=True)).strip()


def test_an_exported_model_comes_back(mine: Peer, tmp_path: Path) -> None:
    """The same bytes in every file."""
    run("import", "--from", "marian", mine.folder, tmp_path / "back", "--check", mine.folder.parent / "lines")
    files = sorted(path.name for path in mine.output.iterdir())
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == files and len(files) in (4, 5)
    for name in files:
        assert (tmp_path / "back" / name).read_bytes() == (mine.output / name).read_bytes(), name


def test_what_transformers_saves_of_an_exported_model(mine: Peer, tmp_path: Path) -> None:
    """The same weights, without card.json; a bias that ours has not is zero there."""
    mine.model.save_pretrained(tmp_path)
    mine.tokenizer.save_pretrained(tmp_path)
    assert not (tmp_path / "card.json").exists()
    imported = import_marian(tmp_path)
    found, expected = named(imported.model), named(mine.translator.model)
    if "output_bias" not in expected:
        assert not found.pop("output_bias").any()
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    card = mine.translator.config
    kept = ("beam_size", "length_penalty", "stop", "min_length")
    assert [getattr(imported.config.decode, key) for key in kept] == [getattr(card.decode, key) for key in kept]
    assert imported.config.model.tie_embeddings == card.model.tie_embeddings
    for side in ("source", "target"):
        one, other = (getattr(both, side) for both in (imported.tokenizers, mine.translator.tokenizers))
        assert one.encode(ODD_LINES) == other.encode(ODD_LINES)
        assert set(one.never_ids) == set(other.never_ids)

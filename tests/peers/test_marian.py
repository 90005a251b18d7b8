"""An imported model says what Hugging Face's MarianMTModel says, also after it has learnt more."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from peer_marian import (
    CLOSE,
    ODD_LINES,
    PAIRS,
    SHAPES,
    TAGS,
    Peer,
    exported,
    generated,
    ids_of,
    largest_differences,
    opened,
    run,
    write_folder,
)
from transformer.config import loading
from transformer.data.corpus import Pair
from transformer.data.lines import without_controls
from transformer.data.tokenizer import Tokenizer
from transformer.interop.marian.import_ import import_marian
from transformer.interop.marian.names import EARLY_STOPPING
from transformer.model.parameters import named
from transformer.run.trainer import train
from transformer.translation.model_config import max_target_length
from transformer.translation.model_dir import load_model
from transformer.translation.scoring import score
from transformer.translation.translator import Translator

pytestmark = [pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses"), pytest.mark.mixed_dtypes]

SEARCHED = pytest.mark.parametrize("peer", ["tied", "separate", "separate and untied"], indirect=True)


@pytest.fixture(scope="module", params=SHAPES)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    place = tmp_path_factory.mktemp("marian")
    write_folder(place / "theirs", SHAPES[request.param])
    (place / "lines").write_text("The dog sleeps.\n", encoding="utf8")
    run("import", "--from", "marian", place / "theirs", place / "ours", "--check", place / "lines")
    return Peer(place / "theirs", place / "ours", *opened(place / "theirs"), Translator.load(place / "ours"))


def test_states_and_scores_of_an_imported_model(peer: Peer) -> None:
    states, scores = largest_differences(peer, [Pair(*pair) for pair in PAIRS[:24]])
    print(f"states within {states:.1e}, scores within {scores:.1e}")
    assert states <= CLOSE and scores <= CLOSE


def test_log_probabilities_of_an_imported_model(peer: Peer) -> None:
    pairs = [Pair(*pair) for pair in PAIRS[:1000] if 45 < len(pair[0]) < 60 and len(pair[1]) < 60][:50]
    worst = 0.0
    for pair, scored in zip(pairs, score(peer.translator, pairs), strict=True):
        batch = peer.tokenizer([pair.source], text_target=[pair.target], return_tensors="pt")
        with torch.no_grad():
            logits = peer.model(**batch).logits[0]
        expected = torch.log_softmax(logits, dim=-1).gather(1, batch["labels"][0][:, None])[:, 0].numpy()
        worst = max(worst, float(np.abs(np.array(scored.token_log_probabilities) - expected).max()))
        assert scored.log_probability == pytest.approx(expected.sum(), abs=CLOSE * len(expected))
    print(f"log-probabilities within {worst:.1e}")
    assert worst <= CLOSE


def test_ids_of_an_imported_tokenizer(peer: Peer) -> None:
    sources, targets = (list(side) for side in zip(*PAIRS[:200], strict=True))
    sources += ODD_LINES
    targets += [line for line in ODD_LINES if not line.startswith(">>")]  # a source's tag need be no piece of a target
    assert ids_of(peer.translator.tokenizers.source, sources) == peer.tokenizer(sources).input_ids
    assert ids_of(peer.translator.tokenizers.target, targets) == peer.tokenizer(text_target=targets).input_ids
    unknown = peer.translator.tokenizers.source.unk_id
    assert any(unknown in ids for ids in peer.tokenizer(ODD_LINES).input_ids)


@pytest.mark.parametrize("said", ["</s>", "<pad> a", "a<unk>b", ">>fin<< The dog.", ">> deu << The dog."])
def test_text_is_no_symbol(peer: Peer, said: str) -> None:
    """On purpose: Transformers lets a text spell a symbol, and takes what looks like a tag for one that is unknown."""
    tokenizer = peer.translator.tokenizers.source
    theirs, ours = peer.tokenizer([said]).input_ids[0][:-1], tokenizer.encode([said])[0]
    assert theirs != ours
    assert {tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id}.intersection(theirs)
    assert not {tokenizer.eos_id, tokenizer.pad_id}.intersection(ours)


def test_text_of_ids(peer: Peer) -> None:
    """Of translations, and of ids at random. On purpose: a tag is no text here."""
    tokenizer = peer.translator.tokenizers.target
    named_ids = [i for i, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size))) if piece not in TAGS]
    named_ids = [i for i in named_ids if not tokenizer.pieces([i])[0].startswith("<unused")]
    random = Random(5)
    rows = peer.tokenizer(text_target=[german for _, german in PAIRS[:200]]).input_ids
    rows += [random.choices(named_ids, k=random.randint(0, 12)) for _ in range(200)]
    expected = [peer.tokenizer.decode(row, skip_special_tokens=True) for row in rows]
    assert tokenizer.decode_batch(rows) == expected
    known = [
        (text, german)
        for row, text, (_, german) in zip(rows, expected, PAIRS, strict=False)
        if tokenizer.unk_id not in row
    ]
    assert len(known) > 150 and all(text == german for text, german in known[:150])


def short_inputs(tokenizer: Tokenizer) -> dict[int, list[str]]:
    """200 beginnings of sentences by their tokens, the end counted; some with a tag."""
    beginnings = [" ".join(english.split()[:words]) for english, _ in PAIRS for words in (2, 3)]
    of_length: dict[int, list[str]] = {tokens: [] for tokens in (5, 6, 7, 8)}
    for number, line in enumerate(dict.fromkeys(beginnings)):
        tagged = f"{TAGS[0]} {line}" if number % 5 == 0 else line
        members = of_length.get(len(tokenizer.encode([tagged])[0]) + 1)
        if members is not None and len(members) < 50:
            members.append(tagged)
    assert sum(map(len, of_length.values())) == 200
    return of_length


def prefix_gap(peer: Peer, line: str, mine: list[int], other: list[int]) -> float:
    """How far the first tokens that differ are from each other in log-probability."""
    same = next(place for place, pair in enumerate(zip(mine, other, strict=False)) if pair[0] != pair[1])
    given = torch.tensor([[peer.model.config.decoder_start_token_id, *mine[:same]]])
    with torch.no_grad():
        logits = peer.model(**peer.tokenizer([line], return_tensors="pt"), decoder_input_ids=given).logits[0, -1]
    return abs(float(logits[mine[same]] - logits[other[same]]))


def compare_searches(peer: Peer, translator: Translator, beam_size: int) -> None:
    """200 inputs: the same tokens, or two hypotheses of the same score; and the same score."""
    target = translator.tokenizers.target
    ids = {piece: index for index, piece in enumerate(target.pieces(range(target.vocab_size)))}
    inputs = short_inputs(translator.tokenizers.source)
    lines = [line for members in inputs.values() for line in members]
    ours = translator.translate(lines, beam_size=beam_size)
    lengths: list[int] = []
    differing = at_limit = 0
    for tokens, members in inputs.items():
        most = max_target_length(tokens, translator.config.decode, translator.config.model)
        for line, theirs in zip(members, generated(peer, members, most, num_beams=beam_size), strict=True):
            translation = next(ours)
            mine = [ids[piece] for piece in translation.hypotheses[0].tokens]
            if beam_size > 1:
                assert translation.score == pytest.approx(theirs.score, abs=CLOSE), line
            if mine != theirs.ids:
                differing += 1
                assert beam_size > 1 or prefix_gap(peer, line, mine, theirs.ids) <= CLOSE, line
            else:
                shown = [index for index in theirs.ids if target.pieces([index])[0] not in TAGS]
                assert (
                    translation.text == without_controls(peer.tokenizer.decode(shown, skip_special_tokens=True)).strip()
                )
            lengths.append(len(mine))
            at_limit += len(mine) == most
            assert ("limit" in translation.flags) == (len(mine) == most)
    print(f"beam {beam_size}: {differing} differ; {len(set(lengths))} lengths, {at_limit} at the limit")
    assert differing <= 2 and len(set(lengths)) > 4 and at_limit > 0  # four lengths are those of the limits


@SEARCHED
@pytest.mark.parametrize("rule", EARLY_STOPPING)
def test_beam_search_equals_generate(peer: Peer, tmp_path: Path, rule: str) -> None:
    """For each rule when a sentence is done, as generation_config.json has it."""
    path = peer.folder / "generation_config.json"
    settings = json.loads(path.read_bytes()) | {"early_stopping": EARLY_STOPPING[rule]}
    path.write_text(json.dumps(settings), encoding="utf8")
    imported = import_marian(peer.folder)
    assert (imported.config.decode.stop, imported.config.decode.beam_size) == (rule, 4)
    model, tokenizer = opened(peer.folder)
    compare_searches(peer._replace(model=model, tokenizer=tokenizer), Translator(*imported), 4)


@SEARCHED
def test_greedy_search_equals_generate(peer: Peer) -> None:
    compare_searches(peer, peer.translator, 1)


TUNING = """
[data]
train = ["builtin:clauses:train:100"]
valid = ["builtin:clauses:valid:2"]
buckets = 1

[train]
steps = 4
batch_tokens = 256
warmup_steps = 1
log_every = 2
eval_every = 4
save_every = 4
ema_decay = 0
best_metric = "nll"
"""


@pytest.mark.parametrize("peer", ["separate"], indirect=True)
def test_an_imported_model_learns_on_and_goes_back(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "tuning.toml").write_text(TUNING, encoding="utf8")
    changes = {"run_dir": str(tmp_path / "run"), "train.init_from": str(peer.output), "data.max_length": 64}
    languages = {"data.source": "en", "data.target": "de"}  # eng and deu in the folder
    train(loading.load(tmp_path / "tuning.toml", changes | languages))
    folder = exported(tmp_path, tmp_path / "run")
    learnt = Peer(folder, tmp_path / "run", *opened(folder), Translator.load(tmp_path / "run"))
    states, scores = largest_differences(learnt, [Pair(*pair) for pair in PAIRS[:24]])
    assert states <= CLOSE and scores <= CLOSE
    before, after = named(load_model(peer.output)[0]), named(learnt.translator.model)
    assert any(np.abs(before[name] - after[name]).max() > CLOSE for name in before)
    assert peer.tokenizer(ODD_LINES).input_ids == learnt.tokenizer(ODD_LINES).input_ids

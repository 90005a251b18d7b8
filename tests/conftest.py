"""What holds for every test: the CPU, compiled programs kept between runs, and no ambiguity that JAX can refuse."""

import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from calling import Caller
    from transformer.data.tokenizer import Tokenizers
    from transformer.translation.translator import Translator
    from translating import Command, Result

# Before JAX is imported, and for processes that a test starts too. A variable that is set already wins.
for name, value in {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parents[1] / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    # Programs of small models compile in a fifth of the time with these; see the marker `optimized`.
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # CTranslate2's threads wait for each other without sleeping
}.items():
    os.environ.setdefault(name, value)


# Files that take long, and begin first: no process then waits for another at the end.
LONG_FILES = (
    "test_faults_training",
    "test_faults_run",
    "test_training",
    "test_resume",
    "test_init_from",
    "test_translator",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG_FILES)


@pytest.fixture(scope="module", autouse=True)
def strict_dtypes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Makes mixed dtypes errors, except in modules that are marked: they run Adam of optax, which mixes dtypes."""
    import jax  # not before the variables above

    is_mixed = request.node.get_closest_marker("mixed_dtypes")
    with jax.numpy_dtype_promotion("standard" if is_mixed else "strict"):
        yield


@pytest.fixture(scope="session")
def tokenizers() -> "Tokenizers":
    """One for both sides, of 500 sentences."""
    from transformer.config import Tokenizer
    from transformer.data.clauses import clauses
    from transformer.data.tokenizer_training import train_tokenizers

    english, german = zip(*clauses("train", 500), strict=True)
    return train_tokenizers(english, german, Tokenizer(vocab_size=400))


@pytest.fixture(scope="session")
def translator(tokenizers: "Tokenizers") -> "Translator":
    """A model that has learnt nothing; its translations are short."""
    import jax

    from transformer.config import Decode, Model
    from transformer.model.transformer import Transformer
    from transformer.translation.model_dir import ModelConfig
    from transformer.translation.translator import Translator

    V = tokenizers.source.vocab_size
    card = ModelConfig(
        source="en",
        target="de",
        source_vocabulary=V,
        target_vocabulary=V,
        max_length=64,
        model=Model(d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1, tie_embeddings="none"),
        decode=Decode(beam_size=3, max_ratio=0.5, max_extra=3, batch_tokens=256),
    )
    return Translator(Transformer(card.model, V, V, rng=jax.random.key(7)), tokenizers, card)


@pytest.fixture(scope="module")
def model_dir(translator: "Translator", tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformer.translation.model_dir import save_model

    path = tmp_path_factory.mktemp("models") / "model"
    save_model(path, translator.model, translator.tokenizers, translator.config)
    return path


@pytest.fixture
def call(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> "Caller":
    """A command in this process."""
    from calling import Caller

    return Caller(capsysbinary, monkeypatch)


@pytest.fixture
def translate(
    model_dir: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> "Command":
    """The command in this process. Greedy: there are fewer programs to compile."""
    from transformer.cli import main as door
    from translating import Result

    def call(stdin: bytes | None, *words: object, model: Path = model_dir) -> "Result":
        monkeypatch.setattr(sys, "stdin", None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        caplog.clear()
        code = door.main(["translate", "--model", str(model), "--beam-size", "1", *map(str, words)])
        out, err = capsysbinary.readouterr()
        warnings = [f"{entry.message}\n" for entry in caplog.records if entry.levelname == "WARNING"]  # on stderr too
        return Result(code, out, err.decode() + "".join(warnings))

    return call


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that nothing has stopped."""
    from short_runs import go_on

    directory = tmp_path_factory.mktemp("whole") / "run"
    go_on(directory)
    return directory


@pytest.fixture
def run(tmp_path: Path, whole: Path) -> Path:
    """A run directory that has not begun, with the corpus of `whole` prepared."""
    shutil.copytree(whole / "data", tmp_path / "run" / "data")
    return tmp_path / "run"

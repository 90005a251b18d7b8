"""What holds for every test: the CPU, compiled programs kept between runs, and no ambiguity that JAX can refuse."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before JAX is imported, and for processes that a test starts too. A variable that is set already wins.
for name, value in {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parents[1] / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "HF_HUB_OFFLINE": "1",
}.items():
    os.environ.setdefault(name, value)


@pytest.fixture(scope="module", autouse=True)
def strict_dtypes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Mixed dtypes are errors, but where a test runs an optimizer: Adam in optax raises floats to integer powers."""
    import jax  # not before the variables above

    lenient = re.search(r"\b(training|commands|optax)\b", request.path.read_text(encoding="utf8"))
    with jax.numpy_dtype_promotion("standard" if lenient else "strict"):
        yield

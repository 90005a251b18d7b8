"""JAX as the commands want it."""

import os
from pathlib import Path

import jax


def start_jax() -> None:
    """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or else the user's cache folder.

    Where that cannot be written, JAX warns and goes on without.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", str(Path(cache, "transformer-translation", "jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

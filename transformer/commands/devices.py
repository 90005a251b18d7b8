"""JAX as the commands want it."""

import logging
import os
from pathlib import Path

import jax


def start_jax() -> None:
    """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or else the user's cache folder.

    Where there is none, or it cannot be written, programs are compiled anew.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and cache.is_absolute():  # not `~`: nobody's home
        jax.config.update("jax_compilation_cache_dir", str(cache / "transformer-translation" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax prints the traceback of what it also raises

"""Configures JAX for the commands."""

import logging
import os
from pathlib import Path

import jax


def configure_jax(*, cpu_only: bool = False) -> None:
    """Makes JAX cache compiled programs on disk, in JAX_COMPILATION_CACHE_DIR or else in the user's cache folder.

    If that folder cannot be written, every command compiles its programs again. `cpu_only`: JAX uses no accelerators.
    """
    if cpu_only:
        jax.config.update("jax_platforms", "cpu")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and cache.is_absolute():  # relative if there is no home
        jax.config.update("jax_compilation_cache_dir", str(cache / "transformer-translation" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs the traceback of an error that it also raises

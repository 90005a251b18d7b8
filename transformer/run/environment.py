"""The environment of a training: versions, devices, threads, and options of JAX and XLA, which affect the bits.

    RUN/environment.json   a list of environments, each with the step from which the run trained in it

Each checkpoint also records its environment, so that the differences are logged if a run is resumed in another one.
"""

import json
import logging
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from transformer.config import Mesh
from transformer.files.atomic import write_file
from transformer.version import PACKAGE, package_version

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "sentencepiece", "sacrebleu")
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "JAX_DISABLE_MOST_OPTIMIZATIONS")
JAX_OPTIONS = {
    "JAX_ENABLE_X64": False,
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_DEFAULT_MATMUL_PRECISION": None,
    "JAX_THREEFRY_PARTITIONABLE": True,
}
# An option that an older checkpoint does not record is assumed to have had its default.
DEFAULTS = JAX_OPTIONS | dict.fromkeys(VARIABLES, "")

log = logging.getLogger(__name__)


def environment(mesh: Mesh) -> dict[str, Any]:
    """Returns the environment of this process, by name."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = jax.devices()
    return {
        "device": devices[0].device_kind,
        "devices": len(devices),
        "mesh": mesh.model_dump(),
        "cpu threads": threads,
        PACKAGE: package_version(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        **{name: getattr(jax.config, name.lower()) for name in JAX_OPTIONS},
        **{name: os.environ.get(name, "") for name in VARIABLES},
    }


def report_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Logs the differences if a run is resumed in another environment.

    A key that `before` lacks counts as a difference only if it is an option that does not have its default.
    """
    differences = [
        f"{key} {before.get(key, 'not recorded')} -> {value}"
        for key, value in now.items()
        if before.get(key, DEFAULTS.get(key, value)) != value
    ]
    if differences:
        log.info("resumed in another environment, so the bits may differ: %s", ", ".join(differences))


def record_environment(directory: Path, step: int, now: Mapping[str, Any]) -> None:
    """Adds the environment to RUN/environment.json, unless the last one recorded before `step` is equal.

    Removes the entries of later steps, which an interrupted run may have written.
    """
    path = directory / "environment.json"
    system = f"{platform.system()} {platform.machine()}"
    entry = {"from_step": step, "platform": system, **now}
    try:
        before = [dict(one) for one in json.loads(path.read_text(encoding="utf8")) if one["from_step"] < step]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # the file is missing or invalid
        before = []
    entries = before if before and {**before[-1], "from_step": step} == entry else [*before, entry]
    write_file(path, json.dumps(entries, indent=1) + "\n")

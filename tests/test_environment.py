"""The environment of a run is recorded, and a run that is resumed in another one says so."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runs import ROOT
from transformer.config import Mesh
from transformer.run.environment import environment, record_environment, report_differences

SWITCHES = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
}
ENVIRONMENT = """
import json
from transformer.config.section import CHANGES_RESULT, FIXED
from transformer.config import Mesh
from transformer.run.environment import environment
print(json.dumps(environment(Mesh())))
"""


@pytest.mark.fault("T20")
def test_a_run_that_is_resumed_elsewhere_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XLA_FLAGS")
    now = environment(Mesh())
    with caplog.at_level(logging.INFO, logger="transformer"):
        report_differences(now, now)
        report_differences({}, now)  # what was not recorded is no difference, if it is as usual
        assert not caplog.text
        report_differences({}, {**now, "JAX_DEFAULT_PRNG_IMPL": "rbg"})
        assert "JAX_DEFAULT_PRNG_IMPL not recorded -> rbg" in caplog.text
        report_differences({**now, "cpu threads": 64}, now)
        report_differences({**now, "transformer-translation": "0.0.9"}, now)
    assert f"cpu threads 64 -> {now['cpu threads']}" in caplog.text
    assert "transformer-translation 0.0.9 -> " in caplog.text


@pytest.mark.fault("T20")
def test_switches_of_jax_and_xla_are_part_of_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENVIRONMENT], capture_output=True, text=True, cwd=ROOT, env=os.environ | SWITCHES
    )
    elsewhere = json.loads(done.stdout)
    with caplog.at_level(logging.INFO, logger="transformer"):
        report_differences(environment(Mesh()), elsewhere)
    for name in SWITCHES:
        assert f"{name} " in caplog.text, name
    assert elsewhere["JAX_ENABLE_X64"] is True and elsewhere["XLA_FLAGS"] == SWITCHES["XLA_FLAGS"]


def test_environments_are_recorded_with_the_step_from_which_they_hold(tmp_path: Path) -> None:
    def entries() -> list[tuple[int, int]]:
        found = json.loads((tmp_path / "environment.json").read_text(encoding="utf8"))
        return [(entry["from_step"], entry["cpu threads"]) for entry in found]

    now = environment(Mesh())
    for step, threads in ((0, 2), (10, 2), (20, 4), (20, 8), (30, 8)):
        record_environment(tmp_path, step, now | {"cpu threads": threads})
    assert entries() == [(0, 2), (20, 8)]  # the work of the 4 threads is lost, as the run was resumed from 20 again
    record_environment(tmp_path, 0, now)
    assert entries() == [(0, now["cpu threads"])]
    for damaged in ("{", "[" * 200_000, "3", '[{"from_step": "x"}]', "[[]]"):
        (tmp_path / "environment.json").write_text(damaged, encoding="utf8")
        record_environment(tmp_path, 5, now)
        assert entries() == [(5, now["cpu threads"])]
    text = (tmp_path / "environment.json").read_text(encoding="utf8")
    assert all(name in text for name in ("jaxlib", "python", "device", "platform", "transformer-translation"))

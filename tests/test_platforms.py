"""What each command needs of the platform."""

import subprocess
import sys
from pathlib import Path

import pytest

from runs import ROOT

MODEL = ROOT / "tests" / "golden" / "model"
WITHOUT_FCNTL = """
import builtins, sys
imported = builtins.__import__
def refuse(name, globals=None, *others, **more):  # for this package only: libraries import what each platform has
    if name == "fcntl" and (globals or {}).get("__name__", "").startswith("transformer"):
        raise ImportError("as on Windows")
    return imported(name, globals, *others, **more)
builtins.__import__ = refuse
from transformer.cli.main import main
print([main(words.split("\t")) for words in sys.argv[1:]])
"""


def test_translating_needs_no_fcntl(tmp_path: Path) -> None:
    """translate, score, evaluate and export; a training says that it needs it."""
    lines, output = tmp_path / "in", tmp_path / "out"
    lines.write_text("A dog sleeps.\n", encoding="utf8")
    commands = (
        ["translate", "--model", MODEL, "-i", lines, "-o", output],
        ["score", "--model", MODEL, "--source", lines, "--target", output],
        ["evaluate", "--hypothesis", output, "--reference", lines],
        ["export", tmp_path / "ct2", "--model", MODEL, "--to", "ctranslate2", "--check", lines],
        ["train", "configs/demo.toml", "--run-dir", tmp_path / "run"],
    )
    words = ["\t".join(map(str, command)) for command in commands]
    found = subprocess.run([sys.executable, "-c", WITHOUT_FCNTL, *words], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == "[0, 0, 0, 0, 4]", found.stderr
    assert "error: " in found.stderr.splitlines()[-1] and "fcntl" in found.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [["--version"], ["translate", "--help"]])
def test_the_console_command_is_the_module(words: list[str]) -> None:
    script = Path(sys.executable).with_name("transformer")
    found = [
        subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for command in ([script], [sys.executable, "-m", "transformer"])
    ]
    assert found[0] == found[1] and found[0]

"""Scores are those of sacreBLEU's own command, with its signatures."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from transformer.data.clauses import clauses
from transformer.errors import DataError
from transformer.evaluation.metrics import Score, bleu, chrf, ter

REFERENCES = [german for _, german in clauses("test", 40)]
HYPOTHESES = [" ".join(line.split()[: 3 + n % 5]) + (" ." if n % 3 else "") for n, line in enumerate(REFERENCES)]


def by_command(tmp_path: Path, *flags: str) -> list[Score]:
    for name, lines in (("ref", REFERENCES), ("hyp", HYPOTHESES)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-m", "bleu", "chrf", "ter", "-w", "6", *flags]
    shown = json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout)
    names = {"BLEU": "BLEU", "chrF2": "chrF", "TER": "TER"}
    return [Score(names[entry["name"]], entry["score"], entry["signature"]) for entry in shown]


def assert_same(ours: list[Score], theirs: list[Score]) -> None:
    assert [(score.name, score.signature) for score in ours] == [(score.name, score.signature) for score in theirs]
    assert [score.value for score in ours] == pytest.approx([score.value for score in theirs], abs=1e-5)
    assert all(0 < score.value < 100 for score in ours)


def test_scores_are_those_of_sacrebleu(tmp_path: Path) -> None:
    ours = [metric(HYPOTHESES, REFERENCES) for metric in (bleu, chrf, ter)]
    assert_same(ours, by_command(tmp_path))


def test_perfect_translations_get_the_best_scores() -> None:
    assert bleu(REFERENCES, REFERENCES).value == pytest.approx(100)
    assert chrf(REFERENCES, REFERENCES).value == pytest.approx(100)
    assert ter(REFERENCES, REFERENCES).value == 0


def test_options_are_in_the_signature() -> None:
    assert "case:lc|" in bleu(HYPOTHESES, REFERENCES, lowercase=True).signature
    assert "tok:char|" in bleu(HYPOTHESES, REFERENCES, tokenize="char").signature


@pytest.mark.parametrize("metric", [bleu, chrf, ter])
def test_counts_must_agree_and_not_be_zero(metric: Callable[[list[str], list[str]], Score]) -> None:
    with pytest.raises(DataError, match="2 translations for 3 references"):
        metric(["a", "b"], ["a", "b", "c"])
    with pytest.raises(DataError, match="no lines"):
        metric([], [])

"""The words of code and documents: what readers stumbled over does not come back."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [*sorted((ROOT / "transformer").rglob("*.py")), ROOT / "train.py", ROOT / "translate.py"]
DOCUMENTS = [path for pattern in ("*.md", "docs/*.md", "configs/*") for path in sorted(ROOT.glob(pattern))]
TEXTS = [*CODE, *DOCUMENTS]

# Each with the word to use instead.
WORDS = {
    r"\b(go|goes|going|went|gone) on\b": "continue, resume",
    r"\bdone with\b": "finished",
    r"\bno number\b": "NaN or infinite",
    r"(?<!\.)\b(tells?|told)\b": "report, state",
    r"\banew\b": "again",
    r"\bstrangers?\b": "untrusted",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\b(is|are|was|be) (made )?whole\b|\bwhole or\b": "complete",
    r"\bas (ours|theirs|it) has it\b": "as in",
}
NAMES = {"Card", "Keeper", "Journal", "Meter", "Board", "Watch", "untold", "writers", "room_for"}
OPENINGS = re.compile(r"(Of|What|Those|By)\b")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words_are_used(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    for pattern, instead in WORDS.items():
        found = [match[0] for match in re.finditer(pattern, text, re.IGNORECASE)]
        assert not found, f"{found}: say {instead}"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_docstrings_are_plain(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf8"))
    for node in ast.walk(tree):
        names = {getattr(node, field, None) for field in ("id", "attr", "name", "arg")}
        assert not names & NAMES
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            assert not OPENINGS.match(text), f"{text[:60]!r}: start with a verb or with the thing itself"

"""The rules of the house that a machine can hold: who imports whom, what is never used, and how long a file may be."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "transformer").rglob("*.py"))
TIERS = (
    {"config", "config_file", "errors", "checksums"},
    {"data", "model", "decoding"},
    {"training", "translator", "scoring", "model_dir", "evaluation"},
    {"inspection", "interop", "serving"},
    {"commands"},
    {"__init__", "__main__"},
)
TIER = {unit: tier for tier, units in enumerate(TIERS) for unit in units}
STRANGERS = TIERS[1]
FORBIDDEN = re.compile(
    r"(.*\.)?nnx\.(jit|scan|Optimizer|Cache|MultiHeadAttention)|(.*\.)?yaml\.(unsafe_|full_)?load(_all)?"
    r"|eval|exec|(pickle|cloudpickle|dill|marshal|shelve|joblib)(\..*)?"
)

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


def imports(file: Path) -> Iterator[str]:
    """What a file imports, wherever in it and in full: `jax`, `flax.nnx`, `transformer.data.lines.read`."""
    package = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                start = package[: len(package) - node.level + 1] if node.level else ()
                module = ".".join([*start, node.module] if node.module else start)
                yield from (f"{module}.{alias.name}" for alias in node.names)


def uses(file: Path) -> Iterator[str]:
    """The names in a file's code, as it writes them: `nnx.Linear`, `print`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        if isinstance(node, ast.Name | ast.Attribute):
            yield ast.unparse(node)


def unit(name: str) -> str:
    """`data` for `transformer.data.lines`; `__init__` for what the package offers itself: `transformer.Translator`."""
    part = name.removeprefix("transformer").lstrip(".").split(".")[0]
    return part if part in TIER else "__init__"


@each_file
def test_imports_point_one_way(file: Path) -> None:
    own = file.relative_to(ROOT / "transformer").with_suffix("").parts[0]
    assert own in TIER, f"give {own} a place in TIERS"
    for imported in {unit(name) for name in imports(file) if name.split(".")[0] == "transformer"} - {own}:
        assert TIER[imported] <= TIER[own], f"{own} imports {imported}, which stands above it"
        assert not {own, imported} <= STRANGERS, f"{own} imports {imported}: neither may know the other"


@each_file
def test_nothing_forbidden_is_used(file: Path) -> None:
    assert not [name for name in [*imports(file), *uses(file)] if FORBIDDEN.fullmatch(name)]


@each_file
def test_a_file_holds_one_idea(file: Path) -> None:
    lines = len(file.read_text(encoding="utf8").splitlines())
    assert lines <= 400


def test_readme_lays_out_every_file() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    section = re.search(r"^## [^\n]*layout.*?(?=^## |\Z)", readme, re.M | re.S | re.I)
    assert section, "README.md has no section `## ... layout`"
    named = set(re.findall(r"\w+\.py\b", section[0]))
    present = {file.name for file in FILES if file.name != "__init__.py"}
    assert present <= named, f"README.md's layout does not name {sorted(present - named)}"
    stale = {name for name in named if not any(ROOT.glob(name)) and name not in present | {"__init__.py"}}
    assert not stale, f"README.md's layout names what does not exist: {sorted(stale)}"

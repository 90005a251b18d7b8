"""The rules of the house that a machine can check: who imports whom, what is never used, and how long a file may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import SMALL

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "transformer").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TIERS = (
    {"config", "errors", "files", "version"},
    {"data", "model", "decoding"},
    {"translation", "evaluation"},
    {"training"},
    {"run"},
    {"interop"},
    {"cli", "commands"},
    {"__init__", "__main__"},
)
TIER = {unit: tier for tier, units in enumerate(TIERS) for unit in units}
STRANGERS = TIERS[1]  # none of them may import another
GUARDS = ("run", "files", "cli")  # rooms of code that a reader of the story can skip
FORBIDDEN = re.compile(
    r"(.*\.)?nnx\.(jit|scan|Optimizer|Cache|MultiHeadAttention)|(.*\.)?yaml\.(unsafe_|full_)?load(_all)?"
    r"|eval|exec|(pickle|cloudpickle|dill|marshal|shelve|joblib)(\..*)?"
)


def each(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=lambda file: str(file.relative_to(ROOT)))


each_file = each(FILES)


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
    """The room of a module: `data` for `transformer.data.lines`, `__init__` for `transformer.Translator`."""
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
    found = [name for name in [*imports(file), *uses(file)] if FORBIDDEN.fullmatch(name)]
    # the base class, whose find_class knows a few names here, and its error
    restricted = {"pickle", "pickle.Unpickler", "pickle.UnpicklingError"}
    assert set(found) == (restricted if file.match("torch_file/pickles.py") else set())


@each_file
def test_guards_hide_no_computation(file: Path) -> None:
    if file.relative_to(ROOT / "transformer").parts[0] in GUARDS:
        assert not [name for name in imports(file) if re.match(r"flax|jax\.numpy", name)]


def lines_of_code(function: ast.FunctionDef) -> int:
    """The lines of a function, without its docstring."""
    text = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (text.count("\n") + 1 if text else 0)


@each_file
def test_functions_are_short(file: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(file.read_text("utf8"))) if isinstance(node, ast.FunctionDef)]
    assert not [function.name for function in functions if lines_of_code(function) > 40]


@each(FILES + TESTS)
def test_a_file_holds_one_idea(file: Path) -> None:
    lines = len(file.read_text(encoding="utf8").splitlines())
    assert lines <= 400


def test_readme_names_every_folder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    section = re.search(r"^## [^\n]*layout.*?(?=^## |\Z)", readme, re.M | re.S | re.I)
    assert section, "README.md has no section `## ... layout`"
    named = set(re.findall(r"\b(\w+)/", section[0]))
    folders = {path.parent.name for path in FILES}
    assert folders <= named, f"README.md's layout does not name {sorted(folders - named)}"
    assert all(list(ROOT.glob(f"**/{name}")) for name in named), "README.md's layout names what does not exist"


# The story: docs/architecture.md

ROOMS = ("config", "data", "model", "training", "decoding", "translation", "evaluation")
ASIDE = ("data/clauses/", "data/checks/")
MAX_LINES = 4000


def is_story(name: str) -> bool:
    return name.startswith(tuple(f"{room}/" for room in ROOMS)) and not name.startswith(ASIDE)


def story() -> list[str]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf8")
    section = re.search(r"^## The story, .*?(?=^## )", text, re.M | re.S)
    assert section
    return re.findall(r"`(\w+/[\w/]+\.py)`", section[0])


LOADED = """
import sys
from transformer.cli.main import main
config, run, lines = sys.argv[1:]
assert main(["train", config, "--run-dir", run, "--train.steps", "2", "--train.eval-every", "2"]) == 0
assert main(["translate", "--model", run, "-i", lines, "-o", f"{lines}.out"]) == 0
print(*[module.__file__ for name, module in sys.modules.items() if name.startswith("transformer.")], sep="\\n")
"""


def test_the_story_is_what_the_demo_loads_and_short(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(SMALL, encoding="utf8")
    (tmp_path / "lines").write_text("A dog sleeps.\n", encoding="utf8")
    arguments = [str(tmp_path / name) for name in ("config.toml", "run", "lines")]
    command = [sys.executable, "-c", LOADED, *arguments]
    loaded = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    names = [Path(file).relative_to(ROOT / "transformer").as_posix() for file in loaded]
    listed = story()
    assert len(listed) == len(set(listed))
    headings = {name for name in names if name.endswith("__init__.py")} - set(listed)
    assert {name for name in names if is_story(name)} - headings == set(listed)
    lines = sum(len((ROOT / "transformer" / name).read_text(encoding="utf8").splitlines()) for name in listed)
    assert lines <= MAX_LINES


UNUSED = {  # optax is loaded by flax itself
    "translation.translator": ("datasets", "pandas", "pyarrow", "orbax", "transformer.data.corpus"),
    "cli.main": ("jax", "numpy", "sentencepiece"),
}


@pytest.mark.parametrize("module", UNUSED)
def test_an_import_loads_nothing_that_is_not_used(module: str) -> None:
    program = f"import sys, transformer.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert not set(UNUSED[module]) & set(loaded.stdout.split())

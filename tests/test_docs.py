"""The tests that docs/reliability.md names for each fault exist."""

import ast
import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAULTS = [f"T{n:02}" for n in range(1, 31)] + [f"X{n:02}" for n in range(1, 32)] + [f"M{n:02}" for n in range(1, 7)]


def marked_tests(file: str) -> dict[str, set[str]]:
    """The tests of a file, each with the ids of its marker `fault`."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return {function.name: set(re.findall(r"'([TXM]\d\d)'", marks(function))) for function in functions}


def marks(function: ast.FunctionDef) -> str:
    return " ".join(each for each in map(ast.unparse, function.decorator_list) if ".fault(" in each)


def rows() -> list[tuple[str, str]]:
    """Each fault with the column of its tests."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf8")
    return re.findall(r"^\| ([TXM]\d\d) \| .*? \| (.*) \|$", text, re.M)


def test_every_fault_has_a_row_and_every_row_a_test() -> None:
    """Or the row says why not. A `::test_name` is in the file named before it; `::T01` is every test marked so."""
    assert [fault for fault, _ in rows()] == FAULTS
    for fault, proof in rows():
        named = re.findall(r"`(test_\w+\.py)?(?:::)?(test_[\w*]+|[TXM]\d\d)?`", proof)
        assert named or proof.startswith(("not yet: ", "does not apply: ")), fault
        file = ""
        for other, test in named:
            file = other or file
            tests = marked_tests(file)
            found = (
                [name for name, ids in tests.items() if test in ids]
                if test in FAULTS
                else fnmatch.filter(tests, test or "*")
            )
            assert found, f"{fault}: {test} is not in {file}"


def test_every_marked_test_is_in_the_row_of_its_fault() -> None:
    proofs = dict(rows())
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for name, ids in marked_tests(path.name).items():
            for fault in ids:
                assert path.name in proofs[fault], f"{fault}: {path.name}::{name}"

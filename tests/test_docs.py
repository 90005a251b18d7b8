"""What the documents name is there."""

import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAULTS = [f"T{n:02}" for n in range(1, 25)] + [f"X{n:02}" for n in range(1, 26)] + [f"M{n:02}" for n in range(1, 7)]


def names_in(file: str) -> list[str]:
    return re.findall(r"^def (test_\w+)", (ROOT / "tests" / file).read_text(encoding="utf8"), re.M)


def test_every_fault_has_a_row_and_every_row_a_test() -> None:
    """Or the row says why not. A `::test_name` is of the file named before it in the row."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf8")
    rows = re.findall(r"^\| ([TXM]\d\d) \| .*? \| (.*) \|$", text, re.M)
    assert [fault for fault, _ in rows] == FAULTS
    for fault, proof in rows:
        named = re.findall(r"`(test_\w+\.py)?(?:::)?(test_[\w*]+)?`", proof)
        assert named or proof.startswith(("not yet: ", "does not apply: ")), fault
        file = ""
        for other, test in named:
            file = other or file
            assert fnmatch.filter(names_in(file), test or "*"), f"{fault}: {test} is not in {file}"

"""The package cannot run what it reads, and only a corpus that says so comes from the network."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "transformer"
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "ctypes",
    "torch",
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "allow_pickle", "trust_remote_code", "extractall"}


@pytest.mark.fault("M01")
def test_nothing_in_the_package_can_run_what_it_reads() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            modules = [getattr(node, "module", None) or ""] + [
                name.name for name in getattr(node, "names", []) if hasattr(name, "name")
            ]
            if isinstance(node, ast.Import | ast.ImportFrom):
                # Transformers loads the model to compare with; the other one restricts what an Unpickler can find.
                allowed = {"marian/peer.py": {"torch"}, "torch_file/pickles.py": {"pickle"}}.get(
                    "/".join(path.parts[-2:]), set()
                )
                assert not (FORBIDDEN_MODULES - allowed) & {module.split(".")[0] for module in modules}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN_NAMES, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword):
                assert node.arg not in FORBIDDEN_NAMES or getattr(node.value, "value", None) is False, path
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"extractall", "unsafe_load", "full_load"}, f"{path}:{node.lineno}"


# test_faults_translation.py shows that the command translates without a network; and nothing asks for one:


@pytest.mark.fault("M04")
def test_only_a_corpus_that_says_so_comes_from_the_net() -> None:
    asking = {"requests", "urllib", "urllib3", "http", "httpx", "aiohttp", "huggingface_hub", "ftplib", "datasets"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if asking & {name.split(".")[0] for name in names}:
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found <= {"data/formats/huggingface.py"}

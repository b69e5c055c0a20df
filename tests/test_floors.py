"""The house's rules, read from the source: imports go down, the mathematics stays standard."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import REPOSITORY

# Floor of each module, or of a whole package; a module imports only from floors below its
# own, and inside its own package.
FLOORS = {
    "errors": 0,
    "arrays": 0,
    "parts": 0,
    "files": 0,
    "backends": 1,
    "randomness": 1,
    "activations": 1,
    "losses": 1,
    "initializers": 1,
    "metrics": 1,
    "penalties": 2,
    "schedules": 1,
    "dropout": 1,
    "products": 1,
    "history": 1,
    "mlp": 2,
    "optimizers": 2,
    "stacking": 3,
    "recording": 3,
    "data": 2,
    "training": 3,
    "loop": 4,
    "stack_loop": 4,
    "ensemble": 4,
    "checkpoint": 4,
    "gradcheck": 4,
    "diagnostics": 4,
    "predictions": 4,
    "summary": 4,
    "runs": 5,
    "sweep": 5,
    "interchange": 5,
    "estimators": 5,
    "plots": 5,
}

# Everything else receives a namespace and knows no library.
NUMPY_ALLOWED = {"backends", "data", "randomness", "initializers"}
NUMPY_ALLOWED |= {
    "recording",
    "gradcheck",
    "history",
    "checkpoint",
    "predictions",
    "plots",
    "estimators",
    "interchange",
}
# Formulas and steps: only functions of the namespace that they are handed.
MATHEMATICS = ["activations", "losses", "metrics", "penalties", "dropout", "products"]
MATHEMATICS += [
    "mlp",
    "optimizers",
    "training",
    "diagnostics",
    "loop",
    "stacking",
    "stack_loop",
    "ensemble",
]
ARRAY_METHODS = {"sum", "mean", "max", "min", "dot", "reshape", "astype", "T", "take", "argmax"}

MODULES = sorted((REPOSITORY / "xpmlp").rglob("*.py"))


def room(path: Path) -> str:
    """Return the top-level name under xpmlp that a file belongs to."""
    return path.relative_to(REPOSITORY / "xpmlp").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, inside functions as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return  # the front door shows every floor
    for name in imports(path):
        if not name.startswith("xpmlp."):
            assert name != "xpmlp", f"{path} imports the whole package"
            continue
        there = name.split(".")[1]
        allowed = here == there or FLOORS[there] < FLOORS[here]
        assert allowed, f"{here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    if room(path) not in NUMPY_ALLOWED:
        assert "numpy" not in libraries
    if room(path) != "backends":
        assert not libraries & {"cupy", "array_api_compat"}
    if room(path) != "plots":
        assert "matplotlib" not in libraries
    if room(path) != "estimators":
        assert "sklearn" not in libraries


@pytest.mark.parametrize("name", MATHEMATICS)
def test_mathematics_calls_functions_of_the_namespace(name: str) -> None:
    path = REPOSITORY / "xpmlp" / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        place = f"{path.name}:{getattr(node, 'lineno', '?')}"
        if isinstance(node, ast.BinOp | ast.AugAssign):
            assert not isinstance(node.op, ast.MatMult), f"{place} uses @"
        if isinstance(node, ast.Attribute) and node.attr in ARRAY_METHODS:
            owner = node.value
            assert isinstance(owner, ast.Name), f"{place} calls a method .{node.attr}"
            assert owner.id == "xp", f"{place} calls a method .{node.attr}"
        if isinstance(node, ast.keyword):
            assert node.arg != "out", f"{place} uses out="


def test_every_module_has_a_floor() -> None:
    assert {room(path) for path in MODULES} == FLOORS.keys() | {"__init__"}

"""The house's rules, read from the source: imports go down, the mathematics stays standard."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import REPOSITORY

# Rooms from the ground up: a file imports from rooms on floors below its own room's, and inside
# its room only from files that stand before it in the room's list.
FLOORS: list[dict[str, str]] = [
    {"errors": "", "arrays": "", "trees": "", "parts": "", "pools": "", "counters": "", "rows": ""},
    {
        "randomness": "",
        "rules": "",
        "files": "",
        "mathematics": "activations losses initializers dropout schedules products penalties "
        "optimizers mlp step",
        "backends": "alone base library standard layout results cpu.cores cpu.company cpu.blas "
        "cpu.sparse cpu.tracing cpu.fusion cpu.numpy_backend "
        "jax.jax_backend torch.torch_backend cuda.cublas "
        "cuda.kernels cuda.fusion cuda.graph cuda.cupy_backend ranks.lifeline ranks.mpi ranks.nccl "
        "ranks.distributed ranks.start exchange select",
    },
    {
        "robust_losses": "",
        "regularization": "deformation noise weights smoothing settings placed",
        "data": "checks held_out part normalization targets batches examples shared spans "
        "streaming stored tables.table tables.codes tables.encoding tables.rows tables.streamed "
        "preparation dataset folds "
        "prepare formats.idx formats.idx_folder formats.digits formats.published formats.npy "
        "formats.npz formats.hdf5 formats.image_folder formats.tables "
        "formats.large_tables formats.table_parts "
        "formats.features formats.registry load",
    },
    {
        "training": "history stopping plan stacking hidden state settled evaluation stepper "
        "recording looping pending divergence group shares loop tabular",
    },
    {
        "progress": "",
        "inspection": "deformed gradcheck diagnostics learning_rates predictions scores importance "
        "ensemble summary softmax_by_hand",
        "interchange": "layers onnx_graph onnx_columns onnx_file safetensors_file",
        "teach": "slips structure layout numbers student findings truth variants picture report "
        "network gradients steps before check courses apart",
        "plots": "figures comparisons images features curves learning_rates layers page speed",
    },
    {
        "runs": "containers stored_state checkpoint lock folder boundary members stop_signals "
        "sweep",
    },
    {"trained": ""},
    {
        "estimators": "conventions rates draws parameters inputs labels callbacks records stored "
        "epochs imported base classifier regressor tabular meta conformal stacked "
        "ensemble halving candidates search",
        "commands": "flags streams command_line machine regularization_flags hyperparameters "
        "data_flags run_settings plans recipes usual trained_flags grids sweep_results run_report "
        "training_run train evaluate predict plot show sweep ensemble convert export "
        "check_gradients find_learning_rate teach main",
    },
]
HEIGHTS = {name: height for height, rooms in enumerate(FLOORS) for name in rooms}
FILES = {name: files.split() for rooms in FLOORS for name, files in rooms.items()}

# Everything else receives a namespace and knows no library.
NUMPY_ALLOWED = {"backends", "data", "randomness", "training", "inspection", "runs"}
NUMPY_ALLOWED |= {"plots", "estimators", "interchange", "trained", "commands"}
NUMPY_ALLOWED |= {"mathematics.initializers", "teach"}
# Formulas and steps: only functions of the namespace that they are handed.
STANDARD_ONLY = [
    "mathematics",
    "counters",
    "robust_losses",
    "regularization",
    "training",
    "inspection.diagnostics",
    "inspection.ensemble",
]
ARRAY_METHODS = {"sum", "mean", "max", "min", "dot", "reshape", "astype", "T", "take", "argmax"}

MODULES = sorted((REPOSITORY / "xpmlp").rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the dotted name of a module below xpmlp; a package has that of its folder."""
    parts = path.relative_to(REPOSITORY / "xpmlp").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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


PARAMETERS = pytest.mark.parametrize("path", MODULES, ids=name_of)


@PARAMETERS
def test_imports_go_down(path: Path) -> None:
    here, _, file = name_of(path).partition(".")
    if not here:
        return  # the front door shows every floor
    for name in imports(path):
        if not name.startswith("xpmlp."):
            whole = name == "xpmlp" and here != "commands"
            assert not whole, f"{path} imports the whole package"
            continue
        there, _, other = name.removeprefix("xpmlp.").partition(".")
        if here != there:
            assert HEIGHTS[there] < HEIGHTS[here], f"{here} imports {there}, no floor below it"
        elif path.name != "__init__.py":  # a room's own door shows all of the room
            order = FILES[here]
            assert other in order, f"{path} imports its own room's door"
            assert order.index(other) < order.index(file), f"{file} imports {other} above it"


@PARAMETERS
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    name = name_of(path)
    room = name.partition(".")[0]
    if not NUMPY_ALLOWED & {name, room}:
        assert "numpy" not in libraries
    if room != "backends":
        assert not libraries & {"cupy", "array_api_compat"}
    if room != "plots":
        assert "matplotlib" not in libraries
    if room != "estimators":
        assert "sklearn" not in libraries


@PARAMETERS
def test_mathematics_calls_functions_of_the_namespace(path: Path) -> None:
    name = name_of(path)
    if not any(name == part or name.startswith(f"{part}.") for part in STANDARD_ONLY):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        place = f"{path.name}:{getattr(node, 'lineno', '?')}"
        if isinstance(node, ast.BinOp | ast.AugAssign):
            assert not isinstance(node.op, ast.MatMult), f"{place} uses @"
        if isinstance(node, ast.Attribute) and node.attr in ARRAY_METHODS:
            owner = node.value
            assert isinstance(owner, ast.Name), f"{place} calls a method .{node.attr}"
            assert owner.id in ("xp", "np"), f"{place} calls a method .{node.attr}"
        if isinstance(node, ast.keyword):
            assert node.arg != "out", f"{place} uses out="


def test_every_file_has_a_place() -> None:
    found: dict[str, set[str]] = {}
    for path in MODULES:
        room, _, file = name_of(path).partition(".")
        files = found.setdefault(room, set())
        if path.name != "__init__.py" and file:
            files.add(file)
    del found[""]
    assert found == {room: set(files) for room, files in FILES.items()}


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name_of(path) for path, length in lengths.items() if length > 300} == set()


def test_the_mathematics_is_an_evening() -> None:
    wing = [path for path in MODULES if name_of(path).startswith("mathematics")]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in wing) < 1300
    for path in wing:
        allowed = (
            "xpmlp.arrays",
            "xpmlp.counters",
            "xpmlp.errors",
            "xpmlp.mathematics.",
            "xpmlp.rows",
        )
        own = [name for name in imports(path) if name.startswith("xpmlp")]
        assert all(name.startswith(allowed) for name in own), f"{path.name} imports another room"


# What stands in for something else has its signature.
LIKE_SCIKIT_LEARN = {"estimators.classifier", "estimators.regressor"}


@PARAMETERS
def test_no_public_function_takes_more_than_eight_parameters(path: Path) -> None:
    if name_of(path) in LIKE_SCIKIT_LEARN:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
            assert len(names) <= 8, f"{path.name}:{node.lineno}: {node.name} takes {len(names)}"

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stacks import stack_of

from xpmlp import MLP, Examples, Penalty, check_gradients, select_backend
from xpmlp.backends import Backend
from xpmlp.errors import UsageError
from xpmlp.mathematics.activations import ACTIVATIONS


@pytest.fixture
def examples() -> Examples:
    rng = np.random.default_rng(0)
    return Examples(rng.normal(size=(9, 6)), rng.integers(3, size=9))


def check(mlp: MLP, examples: Examples, backend: Backend, **settings: object) -> list[float]:
    params = mlp.init(np.random.default_rng(1))
    rows = check_gradients(mlp, params, examples, backend=backend, **settings)  # type: ignore[arg-type]
    assert [row.name for row in rows] == list(params)
    return [row.relative for row in rows]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_right_gradients_pass(backend: Backend, examples: Examples, activation: str) -> None:
    mlp = MLP((6, 5, 4, 3), activation)
    found = check(mlp, examples, backend, penalty=Penalty(l2=0.1, l1=0.01))
    assert max(found) < 3e-7


def test_wrong_derivative_is_found_in_its_layer(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ACTIVATIONS["tanh"]._replace(derivative=lambda a, **_: 1.0 - a)
    monkeypatch.setitem(ACTIVATIONS, "tanh", broken)
    mlp = MLP((6, 5, 4, 3), ("sigmoid", "tanh"))
    found = check(mlp, examples, select_backend("cpu", "float64"))
    assert min(found[:4]) > 1e-3
    assert max(found[4:]) < 1e-9


def test_entries_beside_a_kink_are_skipped_and_counted(examples: Examples) -> None:
    mlp, backend = MLP((6, 2, 3), "relu"), select_backend("cpu", "float64")
    params = mlp.init(np.random.default_rng(1))
    # A bias that puts example 0 a millionth above the kink of unit 0.
    z = examples.x[0] @ params["layer1.weight"][:, 0]
    params["layer1.bias"] = np.array([1e-6 - z, 0.0])
    rows = check_gradients(mlp, params, examples, backend=backend, samples=None)
    by_name = {row.name: row for row in rows}
    assert (by_name["layer1.weight"].checked, by_name["layer1.weight"].skipped) == (6, 6)
    assert (by_name["layer1.bias"].checked, by_name["layer1.bias"].skipped) == (1, 1)
    assert by_name["layer2.weight"].skipped == 0
    assert max(row.relative for row in rows) < 3e-7


def test_weights_beside_the_kink_of_l1_are_skipped() -> None:
    """Of a thousand weights around 0 some are within a step of it; the rest must pass."""
    rng = np.random.default_rng(0)
    examples = Examples(rng.normal(size=(9, 30)), rng.integers(3, size=9))
    mlp, backend = MLP((30, 40, 3)), select_backend("cpu", "float64")
    params = mlp.init(np.random.default_rng(1))
    rows = check_gradients(mlp, params, examples, backend=backend, penalty=Penalty(l1=0.1))
    skipped = {row.name: row.skipped for row in rows}
    assert 0 < skipped["layer1.weight"] < 50
    assert skipped["layer1.bias"] == skipped["layer2.bias"] == 0
    assert max(row.relative for row in rows) < 3e-7


def test_gradient_that_is_no_number_never_passes(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ACTIVATIONS["tanh"]._replace(derivative=lambda a, **_: a * np.nan)
    monkeypatch.setitem(ACTIVATIONS, "tanh", broken)
    found = check(MLP((6, 5, 3), "tanh"), examples, select_backend("cpu", "float64"))
    assert found[:2] == [np.inf, np.inf]
    assert max(found[2:]) < 1e-9


def test_models_of_a_stack_are_checked_one_by_one(backend: Backend, examples: Examples) -> None:
    mlp = MLP((6, 5, 3), "tanh")
    models = [mlp.init(np.random.default_rng(seed)) for seed in range(3)]
    stack = stack_of(models)
    rows = check_gradients(mlp, stack, examples, backend=backend, penalty=Penalty(l2=0.1))
    assert [row.name for row in rows][::4] == [f"layer1.weight of model {k}" for k in range(3)]
    assert max(row.relative for row in rows) < 3e-7


def test_sample_is_drawn_by_seed(examples: Examples) -> None:
    mlp, backend = MLP((6, 50, 3)), select_backend("cpu", "float64")
    params = mlp.init(np.random.default_rng(1))
    one, same, other = (
        check_gradients(mlp, params, examples, backend=backend, samples=20, seed=seed)
        for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other
    assert [row.checked for row in one] == [20, 20, 20, 3]


def test_float32_is_refused(examples: Examples) -> None:
    with pytest.raises(UsageError, match="needs float64, not float32"):
        check(MLP((6, 5, 3)), examples, select_backend("cpu", "float32"))


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(repository: Path, tmp_path: Path) -> Run:
    """Return a function that runs the script with flags, after some code if there is any."""

    def run(*flags: str, first: str = "pass") -> subprocess.CompletedProcess[str]:
        path = repository / "scripts" / "check_gradients.py"
        code = (
            f"import runpy, sys\n{first}\nsys.argv[0] = {str(path)!r}\n"
            f"sys.path.insert(0, {str(path.parent)!r})\n"
            f"runpy.run_path({str(path)!r}, run_name='__main__')"
        )
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *flags],
            env=os.environ | {"PYTHONPATH": str(repository)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


DEEP = ("--hidden", "150,200,150,50", "--activation", "sigmoid")


def test_script_passes_at_its_tolerance(script: Run) -> None:
    result = script(*DEEP, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["passed"]
    assert found["tolerance"] == 3e-7
    assert [row["name"] for row in found["rows"]][-1] == "layer5.bias"
    assert max(row["relative"] for row in found["rows"]) < 3e-7


def test_script_fails_on_a_broken_derivative_and_names_the_layer(script: Run) -> None:
    broken = (
        "from xpmlp.mathematics.activations import ACTIVATIONS as known\n"
        "known['sigmoid'] = known['sigmoid']._replace(derivative=lambda a, xp: 1.01 * a * (1 - a))"
    )
    flags = ("--hidden", "30,20,20", "--activation", "tanh,sigmoid,tanh", "--samples", "20")
    result = script(*flags, first=broken)
    assert result.returncode == 1
    assert "the gradient of layer2." in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stdout.splitlines()) == 9


def test_weights_of_float32_are_checked_in_float64(examples: Examples) -> None:
    """Their steps would be lost in the rounding."""
    backend = select_backend("cpu", "float64")
    mlp = MLP((examples.features, 5, 4))
    params = {k: w.astype("f") for k, w in mlp.init(np.random.default_rng(0)).items()}
    rows = check_gradients(mlp, params, examples, backend=backend)
    assert max(row.relative for row in rows) < 1e-7

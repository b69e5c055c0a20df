"""Fixtures: every test that takes `make_backend` or `backend` runs on each library at hand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from strict_backend import StrictBackend, strict_rules

from xpmlp.backends import Backend, select_backend
from xpmlp.errors import DeviceError

MakeBackend = Callable[[str], Backend]

REPOSITORY = Path(__file__).parent.parent

# Before JAX is imported: a test's programs run for less time than they are compiled. Those that are
# compiled are there for the other worker, for scripts that are started, and for the next run.
os.environ |= {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "JAX_COMPILATION_CACHE_DIR": str(REPOSITORY / ".pytest_cache" / "xla"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
} | os.environ


# Tests on JAX that have ended, and after how many its programs are forgotten.
_ENDED, _KEEP = itertools.count(1), 20


def has_gpu() -> bool:
    try:
        select_backend("gpu")
    except DeviceError:
        return False
    return True


@pytest.fixture(
    params=[
        "numpy",
        "strict",
        pytest.param("jax", marks=pytest.mark.jax),
        pytest.param("torch", marks=pytest.mark.torch),
        pytest.param("cupy", marks=pytest.mark.gpu),
    ]
)
def make_backend(request: pytest.FixtureRequest) -> Iterator[MakeBackend]:
    """Return a function from a dtype's name to a backend."""
    if request.param == "strict":
        with strict_rules():
            yield StrictBackend
    elif request.param == "jax":
        import jax

        with jax.enable_x64(True):  # for what a test computes by itself
            yield lambda dtype: select_backend("cpu", dtype, backend="jax")
        if next(_ENDED) % _KEEP == 0:
            jax.clear_caches()  # thousands of programs would take gigabytes
    else:
        device = "gpu" if request.param == "cupy" else "cpu"
        yield lambda dtype: select_backend(device, dtype, backend=request.param)


@pytest.fixture
def backend(make_backend: MakeBackend) -> Backend:
    """Return a backend in float64."""
    return make_backend("float64")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no other program change last digits between two trainings that are compared."""
    monkeypatch.setattr("xpmlp.backends.cpu.company.Company._consider", lambda _: None)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the stacks that estimators are trained in."""
    from xpmlp.estimators import stacked  # scikit-learn is slow to load

    sizes: list[int] = []
    begin = stacked.Stack.__init__

    def counted(self: Any, part: Any) -> None:
        sizes.append(len(part.begun))
        begin(self, part)

    monkeypatch.setattr(stacked.Stack, "__init__", counted)
    return sizes


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine lacks, saying so."""
    missing = {
        "gpu": "no CuPy with a usable GPU",
        "mnist": "no MNIST files under $XPMLP_DATA/mnist",
        "jax": "JAX is not installed",
        "torch": "PyTorch is not installed",
    }
    for library in ("jax", "torch"):
        if find_spec(library) is not None:
            del missing[library]
    if any(item.get_closest_marker("gpu") for item in items) and has_gpu():
        del missing["gpu"]
    if (Path(os.environ.get("XPMLP_DATA", "-")) / "mnist").is_dir():
        del missing["mnist"]
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))

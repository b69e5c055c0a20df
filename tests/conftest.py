"""Fixtures: every test that takes `make_backend` or `backend` runs on each library at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from strict_backend import StrictBackend, strict_rules

from xpmlp.backends import Backend, select_backend
from xpmlp.errors import DeviceError

MakeBackend = Callable[[str], Backend]

REPOSITORY = Path(__file__).parent.parent


def has_gpu() -> bool:
    try:
        select_backend("gpu")
    except DeviceError:
        return False
    return True


@pytest.fixture(params=["numpy", "strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def make_backend(request: pytest.FixtureRequest) -> Iterator[MakeBackend]:
    """Return a function from a dtype's name to a backend."""
    if request.param == "numpy":
        yield lambda dtype: select_backend("cpu", dtype)
    elif request.param == "cupy":
        yield lambda dtype: select_backend("gpu", dtype)
    else:
        with strict_rules():
            yield StrictBackend


@pytest.fixture
def backend(make_backend: MakeBackend) -> Backend:
    """Return a backend in float64."""
    return make_backend("float64")


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine lacks, saying so."""
    missing = {
        "gpu": "no CuPy with a usable GPU",
        "mnist": "no MNIST files under $XPMLP_DATA/mnist",
    }
    if any(item.get_closest_marker("gpu") for item in items) and has_gpu():
        del missing["gpu"]
    if (Path(os.environ.get("XPMLP_DATA", "-")) / "mnist").is_dir():
        del missing["mnist"]
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))

"""The accumulating product, and the scheduling of sums on threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from xpmlp import MLP, SGD, Examples, Momentum, evaluate, initial_state, select_backend
from xpmlp.backends import Backend
from xpmlp.backends.blas import accumulating_product
from xpmlp.backends.cores import usable_cores
from xpmlp.errors import UsageError
from xpmlp.optimizers import Optimizer
from xpmlp.products import Product, accumulate, accumulate_plainly, multiplied
from xpmlp.training import TrainingState, train_step

FACTORS = [(1.0, 1.0), (-0.1, 1.0), (1.0, 0.9), (2.0, 0.0), (-0.5, 0.25)]


@pytest.mark.parametrize(("alpha", "beta"), FACTORS)
def test_accumulation_by_the_definition(backend: Backend, alpha: float, beta: float) -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(7, 4)), rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    product = Product(backend.to_device(a), backend.to_device(b))
    for gradient in (product, multiplied(product, xp=backend.xp)):
        target = backend.to_device(c)
        result = accumulate(target, gradient, xp=backend.xp, alpha=alpha, beta=beta)
        expected = beta * c + alpha * a.T @ b
        np.testing.assert_allclose(backend.to_host(result), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(backend.to_host(target), expected, rtol=1e-12, atol=1e-14)


def test_factors_of_a_stack(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 4)), rng.normal(size=(2, 7, 3))
    c, alpha, beta = rng.normal(size=(2, 4, 3)), np.array([-0.1, 2.0]), np.array([0.5, 1.0])
    result = accumulate(
        backend.to_device(c),
        Product(backend.to_device(a), backend.to_device(b)),
        xp=backend.xp,
        alpha=backend.to_device(alpha),
        beta=backend.to_device(beta),
    )
    for k in range(2):
        expected = beta[k] * c[k] + alpha[k] * a.T @ b[k]
        np.testing.assert_allclose(backend.to_host(result)[k], expected, rtol=1e-12, atol=1e-14)


needs_blas = pytest.mark.skipif(
    accumulating_product() is None, reason="numpy's BLAS is not one whose product can be called"
)


@needs_blas
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_blas_equals_the_plain_form(dtype: str, rows: int) -> None:
    """Also for rows that lie apart, as those of a slice do, and for matrices by columns."""
    product, rng = accumulating_product(), np.random.default_rng(0)
    assert product is not None
    xp = select_backend("cpu").xp
    wide_a, wide_b = (rng.normal(size=(2 * rows, 40)).astype(dtype) for _ in range(2))
    for a, b in (
        (wide_a[:rows], wide_b[:rows]),
        (wide_a[::2, :17], wide_b[::2, 5:]),
        (wide_a[rows:, 3:4], wide_b[rows:, :1]),
        (np.asfortranarray(wide_a)[:rows, 2:], np.asfortranarray(wide_b)[rows:]),
    ):
        for alpha, beta in FACTORS:
            c = rng.normal(size=(a.shape[1], b.shape[1])).astype(dtype)
            expected = accumulate_plainly(c.copy(), Product(a, b), alpha, beta, xp)
            assert product(c, a, b, alpha, beta)
            tolerance = 1e-5 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(c, expected, rtol=tolerance, atol=tolerance)


def refused_products() -> Iterator[tuple[str, list[Any]]]:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(5, 4)), rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    frozen = c.copy()
    frozen.flags.writeable = False
    yield "columns apart", [c, rng.normal(size=(5, 8))[:, ::2], b, 1.0, 1.0]
    yield "by columns, every other value", [c, rng.normal(size=(4, 10)).T[::2], b, 1.0, 1.0]
    yield "one row for all", [c, np.broadcast_to(a[:1], a.shape), b, 1.0, 1.0]
    yield "reversed rows", [c, a[::-1], b, 1.0, 1.0]
    yield "result by columns", [np.asfortranarray(c), a, b, 1.0, 1.0]
    yield "result that may not change", [frozen, a, b, 1.0, 1.0]
    yield "other dtype", [c, a.astype("f"), b, 1.0, 1.0]
    yield "half precision", [c.astype("e"), a.astype("e"), b.astype("e"), 1.0, 1.0]
    yield "other rows", [c, a[:3], b, 1.0, 1.0]
    yield "other result", [c[:2], a, b, 1.0, 1.0]
    yield "no rows", [c, a[:0], b[:0], 1.0, 1.0]
    yield "stack", [c[None], a[None], b[None], 1.0, 1.0]
    yield "factor that is an array", [c, a, b, np.array(1.0), 1.0]


@needs_blas
@pytest.mark.parametrize(
    "arguments", [case[1] for case in refused_products()], ids=[c[0] for c in refused_products()]
)
def test_blas_leaves_alone_what_it_cannot_do(arguments: list[Any]) -> None:
    product, before = accumulating_product(), arguments[0].copy()
    assert product is not None
    assert product(*arguments) is False
    np.testing.assert_array_equal(arguments[0], before)


def train(backend: Backend, optimizer: Optimizer, batch_rows: int = 2500) -> TrainingState:
    rng = np.random.default_rng(0)
    examples = Examples(rng.normal(size=(batch_rows, 20)), rng.integers(5, size=batch_rows))
    mlp = MLP((20, 16, 12, 5), "tanh")
    state = initial_state(mlp, optimizer, seed=0, backend=backend)
    batch = examples.to_device(backend).whole(backend)
    for _ in range(5):
        train_step(mlp, optimizer, state, batch, learning_rate=0.1, backend=backend)
    return state


@pytest.fixture
def always_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.backends.numpy_backend._FLOP_FOR_THREADS", 0)
    monkeypatch.setattr("xpmlp.backends.numpy_backend._THREAD_PIECE", 300)


@pytest.mark.usefixtures("always_threads")
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_change_nothing_but_rounding(threads: int) -> None:
    with threadpool_limits(None):
        one = train(select_backend("cpu", "float64", threads=1), Momentum())
        several = train(select_backend("cpu", "float64", threads=threads), Momentum())
        again = train(select_backend("cpu", "float64", threads=threads), Momentum())
    for name, array in one.params.items():
        np.testing.assert_allclose(several.params[name], array, rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(several.params[name], again.params[name])


@pytest.mark.usefixtures("always_threads")
def test_evaluation_on_threads() -> None:
    rng, mlp = np.random.default_rng(0), MLP((20, 16, 5))
    examples = Examples(rng.normal(size=(2500, 20)), rng.integers(5, size=2500))
    with threadpool_limits(None):
        found = []
        for threads in (1, 3):
            backend = select_backend("cpu", "float64", threads=threads)
            state = initial_state(mlp, SGD(), seed=0, backend=backend)
            moved = examples.to_device(backend)
            found.append(evaluate(mlp, state.params, moved, backend=backend))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    assert found[1][1] == found[0][1]


def test_error_on_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.backends.numpy_backend._FLOP_FOR_THREADS", 0)
    with threadpool_limits(None):
        backend = select_backend("cpu", threads=2)

        def fail(piece: slice) -> Any:
            raise ValueError(f"row {piece.start}")

        with pytest.raises(ValueError, match="row"):
            backend.sum_over_examples(fail, 5000, 1.0)


def test_no_threads_are_refused() -> None:
    with pytest.raises(UsageError, match="0 threads cannot work"):
        select_backend("cpu", threads=0)


def cores_in_a_process(**variables: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", "from xpmlp import select_backend as s; print(s().threads)"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout)


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert cores_in_a_process(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1") == 1
    with threadpool_limits(1, user_api="blas"):
        assert usable_cores() == 1
    if hasattr(os, "sched_getaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert usable_cores() == 1
        finally:
            os.sched_setaffinity(0, before)

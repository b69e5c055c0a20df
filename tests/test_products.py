"""The accumulating product, by the definition and through BLAS."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xpmlp.backends import Backend
from xpmlp.backends.cpu.blas import accumulating_product
from xpmlp.mathematics.products import Decayed, Product, accumulate, multiplied

FACTORS = [(1.0, 1.0), (-0.1, 1.0), (1.0, 0.9), (2.0, 0.0), (-0.5, 0.25)]

# Functions of the standard alone.
PLAIN = SimpleNamespace(matmul=np.matmul, reshape=np.reshape, ones=np.ones)


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
        if backend.name != "jax":  # whose arrays do not change
            np.testing.assert_allclose(backend.to_host(target), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("models", [None, 2])
@pytest.mark.parametrize(("alpha", "beta"), [*FACTORS, ("each", 1.0)])
def test_without_a_left_factor_rows_are_added_up(
    backend: Backend, models: int | None, alpha: Any, beta: float
) -> None:
    """As the gradient of a bias is Σ_n δ_n."""
    rng = np.random.default_rng(0)
    stack = () if models is None else (models,)
    rows, c = rng.normal(size=(*stack, 7, 3)), rng.normal(size=(*stack, 3))
    factor: Any = alpha
    if alpha == "each":
        alpha = np.array(-0.3) if models is None else np.array([-0.3, 0.8])
        factor = alpha if models is None else alpha[:, None]
        alpha = backend.to_device(alpha)
    summed, target = Product(None, backend.to_device(rows)), backend.to_device(c)
    result = accumulate(target, summed, xp=backend.xp, alpha=alpha, beta=beta)
    expected = beta * c + factor * rows.sum(axis=-2)
    np.testing.assert_allclose(backend.to_host(result), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        backend.to_host(multiplied(summed, xp=backend.xp)), rows.sum(axis=-2), rtol=1e-12
    )
    for _ in range(2):  # what is kept from one call to the next is not changed by it
        found = backend.to_host(multiplied(summed, xp=backend.xp))
        np.testing.assert_allclose(found, rows.sum(axis=-2), rtol=1e-12)


@pytest.mark.parametrize("models", [None, 2])
def test_decay_of_the_weight_itself_and_of_another(backend: Backend, models: int | None) -> None:
    rng = np.random.default_rng(0)
    stack = () if models is None else (models,)
    shape = (*stack, 4, 3)
    a, b = rng.normal(size=(7, 4)), rng.normal(size=(*stack, 7, 3))
    c, w = rng.normal(size=shape), rng.normal(size=shape)
    strength = 0.3 if models is None else np.array([0.3, 0.0])
    factor = strength if models is None else np.array([0.3, 0.0])[:, None, None]
    on_device = strength if models is None else backend.to_device(np.asarray(strength))
    for weight in (c, w):
        product = Product(backend.to_device(a), backend.to_device(b))
        target = backend.to_device(c)
        pulled = Decayed(product, target if weight is c else backend.to_device(w), on_device)
        expected = 0.9 * c - 0.1 * (a.T @ b + factor * weight)
        result = accumulate(target, pulled, xp=backend.xp, alpha=-0.1, beta=0.9)
        np.testing.assert_allclose(backend.to_host(result), expected, rtol=1e-12, atol=1e-14)
    gradient = multiplied(Decayed(product, backend.to_device(w), on_device), xp=backend.xp)
    np.testing.assert_allclose(backend.to_host(gradient), a.T @ b + factor * w, rtol=1e-12)


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
    wide_a, wide_b = (rng.normal(size=(2 * rows, 40)).astype(dtype) for _ in range(2))
    for a, b in (
        (wide_a[:rows], wide_b[:rows]),
        (wide_a[::2, :17], wide_b[::2, 5:]),
        (wide_a[rows:, 3:4], wide_b[rows:, :1]),
        (np.asfortranarray(wide_a)[:rows, 2:], np.asfortranarray(wide_b)[rows:]),
    ):
        for alpha, beta in FACTORS:
            c = rng.normal(size=(a.shape[1], b.shape[1])).astype(dtype)
            expected = accumulate(c.copy(), Product(a, b), alpha=alpha, beta=beta, xp=PLAIN)
            assert product(c, a, b, alpha, beta)
            tolerance = 1e-5 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(c, expected, rtol=tolerance, atol=tolerance)


@needs_blas
@pytest.mark.parametrize("shared", [False, True])
def test_blas_on_stacks(shared: bool) -> None:
    product, rng = accumulating_product(), np.random.default_rng(0)
    assert product is not None
    a, b = rng.normal(size=(5, 4) if shared else (3, 5, 4)), rng.normal(size=(3, 5, 2))
    alpha, beta = rng.normal(size=(3, 1, 1)), np.array([1.0, 0.5, 0.0]).reshape(3, 1, 1)
    pairs: list[tuple[Any, Any]] = [(alpha, beta), (alpha, 1.0), (-0.5, 1.0)]
    for by, keep in pairs:
        c = rng.normal(size=(3, 4, 2))
        expected = accumulate(c.copy(), Product(a, b), alpha=by, beta=keep, xp=PLAIN)
        assert product(c, a, b, by, keep)
        np.testing.assert_allclose(c, expected, rtol=1e-13, atol=1e-13)


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
    yield "stacks of stacks", [c[None, None], a[None, None], b[None, None], 1.0, 1.0]
    yield "other number of models", [np.stack([c, c]), a, b[None], 1.0, 1.0]
    yield "a stack's factors of one model", [c[None], a, b[None], np.ones(1), 1.0]
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

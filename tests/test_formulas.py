"""Activations and losses: values worked out by hand, and what holds at the extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import MakeBackend

from xpmlp.backends import Backend
from xpmlp.mathematics.activations import ACTIVATIONS, gated, sigmoid
from xpmlp.mathematics.losses import count_correct, softmax, softmax_cross_entropy


def test_sigmoid_at_known_points(backend: Backend) -> None:
    z = backend.to_device(np.array([0.0, math.log(3), -math.log(3)]))
    a = backend.to_host(sigmoid(z, xp=backend.xp))
    np.testing.assert_allclose(a, [0.5, 0.75, 0.25], rtol=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_finite_at_extremes(make_backend: MakeBackend, name: str) -> None:
    backend = make_backend("float32")
    z = backend.to_device(np.array([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4]))
    a = ACTIVATIONS[name].function(z, xp=backend.xp)
    slope = ACTIVATIONS[name].slope(z, xp=backend.xp)
    for array in (a, slope):
        assert array.dtype == backend.dtype
        assert np.isfinite(backend.to_host(array)).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_equals_central_difference(backend: Backend, name: str) -> None:
    f = ACTIVATIONS[name]
    z, h = np.linspace(-3, 3, 20), 1e-6
    above, below = (
        f.function(backend.to_device(points), xp=backend.xp) for points in (z + h, z - h)
    )
    numeric = (backend.to_host(above) - backend.to_host(below)) / (2 * h)
    slope = backend.to_host(f.slope(backend.to_device(z), xp=backend.xp))
    np.testing.assert_allclose(slope, numeric, rtol=1e-7, atol=1e-9)


# By hand: z σ(z); z σ(√(8/π) (z + 0.044715 z³)); z tanh(ln(1 + e^z)).
GATED = {
    "silu": [-1 / (1 + math.e), 0.0, 2 / (1 + math.exp(-2))],
    "gelu": [-1 / (1 + math.exp(1.0447150 * math.sqrt(8 / math.pi))), 0.0, 1.9545977],
    "mish": [-math.tanh(math.log(1 + 1 / math.e)), 0.0, 2 * math.tanh(math.log(1 + math.e**2))],
}


@pytest.mark.parametrize("name", GATED)
def test_gated_activations_at_known_points(backend: Backend, name: str) -> None:
    z = backend.to_device(np.array([-1.0, 0.0, 2.0]))
    a = backend.to_host(ACTIVATIONS[name].function(z, xp=backend.xp))
    np.testing.assert_allclose(a, GATED[name], rtol=1e-7)


def test_a_gate_makes_an_activation(backend: Backend) -> None:
    """f = z g and f′ = g + z g′, of the gate g = z² with g′ = 2z: z³ and 3 z²."""

    def square_gate(z: Any, *, xp: Any) -> tuple[Any, Any]:
        assert xp is backend.xp
        return z * z, 2.0 * z

    f = gated(square_gate, 7.5, ("Sqrt", {}))
    z = backend.to_device(np.array([-1.0, 0.0, 3.0]))
    np.testing.assert_array_equal(backend.to_host(f.function(z, xp=backend.xp)), [-1, 0, 27])
    np.testing.assert_array_equal(backend.to_host(f.derivative(z, xp=backend.xp)), [3, 0, 27])
    assert (f.of_input, f.kinked, f.steepest) == (True, False, 7.5)
    assert f.onnx == (("Sqrt", {}), ("Mul", "z"))
    # A backend that makes kernels of them calls them by these names.
    assert f.function.__name__ == "square_gate"
    assert f.derivative.__name__ == "square_gate_derivative"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_steepest_slope_is_the_largest(backend: Backend, name: str) -> None:
    f = ACTIVATIONS[name]
    slopes = backend.to_host(f.slope(backend.to_device(np.linspace(-9, 9, 9001)), xp=backend.xp))
    assert slopes.max() == pytest.approx(f.steepest, rel=1e-5)


@pytest.mark.parametrize(("name", "left", "right"), [("relu", 0, 1), ("leaky_relu", 0.01, 1)])
def test_a_kink_has_the_slope_on_its_left(
    backend: Backend, name: str, left: float, right: float
) -> None:
    a = backend.to_device(np.array([-0.5, 0.0, 0.5]))
    slope = ACTIVATIONS[name].derivative(a, xp=backend.xp)
    np.testing.assert_allclose(backend.to_host(slope), [left, left, right], rtol=1e-15)


def test_softmax_at_known_points(backend: Backend) -> None:
    logits = backend.to_device(np.log(np.array([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]])))
    a = backend.to_host(softmax(logits, xp=backend.xp))
    np.testing.assert_allclose(a, [[0.125, 0.25, 0.625], [0.25, 0.25, 0.5]], rtol=1e-14)


def test_softmax_of_rows_far_apart_is_that_of_each_row(backend: Backend) -> None:
    """The maximum of each row by itself, or a row would vanish beside another, or overflow."""
    z = np.array([[900.0, 900.0], [-900.0, -900.0 + np.log(3)]])
    found = backend.to_host(softmax(backend.to_device(z), xp=backend.xp))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75]], rtol=1e-13)


def test_cross_entropy_by_hand(backend: Backend) -> None:
    # a = (1/8, 1/4, 5/8), class 1: C = −ln ¼, ∂C/∂z = a − (0, 1, 0); mean over two such rows.
    logits = backend.to_device(np.log(np.array([[1.0, 2.0, 5.0]] * 2)))
    targets = backend.to_device(np.array([1, 1]))
    loss, gradient = softmax_cross_entropy(logits, targets, scale=0.5, xp=backend.xp)
    assert float(backend.to_host(loss)) == pytest.approx(math.log(4), rel=1e-14)
    expected = np.array([[0.125, -0.75, 0.625]] * 2) / 2
    np.testing.assert_allclose(backend.to_host(gradient), expected, rtol=1e-14)


def test_cross_entropy_takes_one_hot_rows_as_well_as_ids(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    logits, ids = backend.to_device(rng.normal(size=(6, 4))), rng.integers(4, size=6)
    by_id = softmax_cross_entropy(logits, backend.to_device(ids), xp=backend.xp)
    by_row = softmax_cross_entropy(logits, backend.to_device(np.eye(4)[ids]), xp=backend.xp)
    for one, other in zip(by_id, by_row, strict=True):
        np.testing.assert_array_equal(backend.to_host(one), backend.to_host(other))
    for targets in (ids, np.eye(4)[ids]):
        correct = count_correct(logits, backend.to_device(targets), xp=backend.xp)
        expected = (backend.to_host(logits).argmax(axis=1) == ids).sum()
        assert int(backend.to_host(correct)) == expected


def test_cross_entropy_of_a_hopeless_logit_is_finite(make_backend: MakeBackend) -> None:
    # ln softmax would be ln 0 here; the loss is the distance to the largest logit.
    backend = make_backend("float32")
    logits = backend.to_device(np.array([[1e4, -1e4, 0.0]]))
    loss, gradient = softmax_cross_entropy(logits, backend.to_device(np.array([1])), xp=backend.xp)
    assert float(backend.to_host(loss)) == 2e4
    np.testing.assert_array_equal(backend.to_host(gradient), [[1, -1, 0]])

"""What holds for any input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from xpmlp import select_backend
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.losses import LOSSES, softmax
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.products import Sums
from xpmlp.mathematics.step import Piece, piece_gradient

BACKEND = select_backend("cpu", "float64")
XP = BACKEND.xp

LOGITS = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.floats(-1e4, 1e4),
)
SEEDS = st.integers(0, 10_000)


@given(LOGITS)
def test_softmax_sums_to_one(logits: np.ndarray) -> None:
    a = softmax(logits, xp=XP)
    assert (a >= 0).all()
    np.testing.assert_allclose(a.sum(axis=-1), 1, rtol=1e-12)


@given(LOGITS, st.floats(-1e4, 1e4))
def test_softmax_is_shift_invariant(logits: np.ndarray, shift: float) -> None:
    # Adding the shift rounds the logits by up to 1e4 ε.
    np.testing.assert_allclose(
        softmax(logits + shift, xp=XP), softmax(logits, xp=XP), rtol=1e-10, atol=1e-300
    )


def problem(
    seed: int, examples: int, loss: str
) -> tuple[MLP, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mlp = MLP((4, 5, 3), "tanh", loss)
    params = {name: rng.normal(size=array.shape) for name, array in mlp.init(rng).items()}
    return mlp, params, rng.normal(size=(examples, 4)), rng.integers(3, size=examples)


def assert_same(one: Sums, other: Sums) -> None:
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-12)
    assert one["correct"] == other["correct"]
    for name, gradient in one.items():
        np.testing.assert_allclose(gradient, other[name], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=SEEDS, examples=st.integers(2, 12), data=st.data())
@settings(max_examples=50)
def test_splitting_a_batch_anywhere_changes_nothing(
    loss: str, seed: int, examples: int, data: st.DataObject
) -> None:
    mlp, params, x, y = problem(seed, examples, loss)
    cut = data.draw(st.integers(1, examples - 1))

    def sums(rows: slice) -> Sums:
        return piece_gradient(mlp, params, Piece(x[rows], y[rows]), scale=1 / examples, xp=XP)

    parts = sums(slice(0, cut))
    parts.add(sums(slice(cut, examples)))
    assert_same(parts, sums(slice(0, examples)))


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=SEEDS, examples=st.integers(1, 6), times=st.integers(1, 4))
@settings(max_examples=50)
def test_repeating_the_data_equals_weights(loss: str, seed: int, examples: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    outputs, y = rng.normal(size=(examples, 3)), rng.integers(3, size=examples)
    function = LOSSES[loss]
    repeated, gradient = function(np.tile(outputs, (times, 1)), np.tile(y, times), xp=XP)
    weights = np.full(examples, float(times))
    weighted, weighted_gradient = function(outputs, y, sample_weight=weights, xp=XP)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12)
    total = gradient.reshape(times, examples, 3).sum(axis=0)
    np.testing.assert_allclose(weighted_gradient, total, rtol=1e-12, atol=1e-15)


@given(
    name=st.sampled_from(sorted(ACTIVATIONS)),
    dtype=st.sampled_from(["float32", "float64"]),
    values=arrays(np.float64, st.integers(1, 8), elements=st.floats(-1e4, 1e4)),
)
def test_activation_keeps_dtype_and_argument(name: str, dtype: str, values: np.ndarray) -> None:
    f, z = ACTIVATIONS[name], values.astype(dtype)
    before = z.copy()
    a = f.function(z, xp=XP)
    output = a.copy()
    slope = f.derivative(z if f.of_input else a, xp=XP)
    assert a.dtype == slope.dtype == dtype
    assert np.isfinite(a).all()
    assert np.isfinite(slope).all()
    assert slope.max() <= f.steepest * (1 + 1e-6)
    np.testing.assert_array_equal(z, before)
    np.testing.assert_array_equal(a, output)


@pytest.mark.parametrize("loss", LOSSES)
@given(logits=LOGITS, dtype=st.sampled_from(["float32", "float64"]))
def test_loss_keeps_dtype_and_arguments(loss: str, logits: np.ndarray, dtype: str) -> None:
    if loss == "poisson_deviance":
        logits = np.minimum(logits, 50)  # a count of e^89 is beyond float32
    outputs = logits.astype(dtype)
    targets = np.zeros(len(outputs), dtype=np.int64)
    weights = np.ones(len(outputs), dtype=dtype)
    before = outputs.copy()
    value, gradient = LOSSES[loss](outputs, targets, sample_weight=weights, scale=0.5, xp=XP)
    assert value.dtype == gradient.dtype == dtype
    assert np.isfinite(value)
    np.testing.assert_array_equal(outputs, before)
    assert (weights == 1).all()
    assert (targets == 0).all()

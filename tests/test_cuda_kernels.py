"""Kernels written by hand against the functions that they stand in for, on the host."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from cuda_on_host import Cupy

from xpmlp.backends.cuda.fusion import Fusion
from xpmlp.backends.cuda.kernels import Kernels
from xpmlp.data.examples import prepared_rows
from xpmlp.data.normalization import Normalization
from xpmlp.mathematics.losses import LOSSES, assess

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
CROSS_ENTROPY = LOSSES["cross_entropy"]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(Cupy(tmp_path_factory.mktemp("kernels")))


def logits_and_ids(dtype: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs as a network makes them, examples side by side, and class ids."""
    rng = np.random.default_rng(0)
    *stack, examples, classes = shape
    outputs = (3 * rng.normal(size=(*stack, classes, examples))).astype(dtype).swapaxes(-1, -2)
    return outputs, rng.integers(classes, size=(*stack, examples))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 2), (64, 10), (1500, 3), (300, 128), (3, 70, 10), (1, 5, 4)])
def test_assess_finds_what_the_function_finds(
    kernels: Kernels, dtype: str, shape: tuple[int, ...]
) -> None:
    outputs, ids = logits_and_ids(dtype, *shape)
    expected = assess(CROSS_ENTROPY, outputs, ids, None, 1 / 7, xp=xp)
    found = kernels.assess(CROSS_ENTROPY, outputs, ids, None, 1 / 7)
    assert found is not None
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (np.shape(other), np.asarray(other).dtype)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    # The last product of a step reads it as the outputs lie.
    assert found[1].strides[-2] == found[1].itemsize


def test_targets_that_a_stack_shares(kernels: Kernels) -> None:
    outputs, ids = logits_and_ids("float64", 3, 40, 10)
    for shared in (ids[0], ids[:1]):
        expected = assess(CROSS_ENTROPY, outputs, ids[[0, 0, 0]], None, 0.5, xp=xp)
        found: Any = kernels.assess(CROSS_ENTROPY, outputs, shared, None, 0.5)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-13)


def test_logits_far_from_each_other(kernels: Kernels) -> None:
    """No e^z above 1, and the first of equal ones is the predicted class."""
    outputs = np.array([[1e4, -1e4, 0.0], [7.0, 7.0, 7.0]])
    found: Any = kernels.assess(CROSS_ENTROPY, outputs, np.array([1, 0]), None, 1.0)
    np.testing.assert_allclose(found[0], 2e4 + np.log(3))
    np.testing.assert_allclose(found[1][0], [1.0, -1.0, 0.0])
    assert found[2] == 1


def test_a_loss_that_is_no_number_stays_none(kernels: Kernels) -> None:
    outputs = np.array([[np.nan, 0.0], [1.0, 2.0]])
    found: Any = kernels.assess(CROSS_ENTROPY, outputs, np.array([0, 1]), None, 1.0)
    assert np.isnan(found[0])


def test_what_assess_leaves_to_the_function(kernels: Kernels) -> None:
    outputs, ids = logits_and_ids("float32", 6, 4)
    weights, rows = np.ones(6, "f"), np.eye(4, dtype="f")[ids]
    squared = LOSSES["mean_squared_error"]
    assert kernels.assess(squared, outputs, ids, None, 1.0) is None
    assert kernels.assess(LOSSES["binary_cross_entropy"], outputs, ids, None, 1.0) is None
    smoothed = LOSSES["smoothed_cross_entropy(0.1)"]
    assert kernels.assess(smoothed, outputs, ids, None, 1.0) is None
    assert kernels.assess(CROSS_ENTROPY, outputs, rows, None, 1.0) is None
    assert kernels.assess(CROSS_ENTROPY, outputs, ids, weights, 1.0) is None
    assert kernels.assess(CROSS_ENTROPY, outputs, ids, None, np.float32(1.0)) is None
    assert kernels.assess(CROSS_ENTROPY, outputs.astype("e"), ids, None, 1.0) is None
    wide, ids = logits_and_ids("float32", 6, 129)
    assert kernels.assess(CROSS_ENTROPY, wide, ids, None, 1.0) is None


@pytest.mark.parametrize("stored", ["uint8", "float32"])
@pytest.mark.parametrize("numbers", [(0.0, 255.0), (33.0, 70.0), (33.0, 1.0), "feature"])
@pytest.mark.parametrize("targets", ["int64", "float64"])
def test_rows_are_gathered_and_scaled_as_by_the_function(
    kernels: Kernels, stored: str, numbers: Any, targets: str
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(30, 7)).astype(stored)
    if numbers == "feature":
        numbers = (x.mean(axis=0).astype("f"), 1.0 + x.std(axis=0).astype("f"))
    y, rows = rng.integers(10, size=30).astype(targets), np.array([3, 29, 0, 3])
    given = (x, y, rows, Normalization(*numbers), np.dtype("float32"))
    found, expected = kernels.prepared_rows(*given), prepared_rows(*given, xp=xp)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_rows_that_are_left_to_the_function(kernels: Kernels) -> None:
    x, y, rows, unit = np.ones((3, 2), "f"), np.arange(3), np.array([2, 0]), Normalization(0.0, 2.0)
    assert kernels.prepared_rows(x, y, rows, unit, x.dtype) is not None
    with_ones = replace(unit, bias_column=True)
    assert kernels.prepared_rows(x, y, slice(0, 2), unit, x.dtype) is None
    assert kernels.prepared_rows(x, y, rows, None, x.dtype) is None
    assert kernels.prepared_rows(x, y, rows, with_ones, x.dtype) is None
    assert kernels.prepared_rows(x, np.eye(3), rows, unit, x.dtype) is None
    assert kernels.prepared_rows(x.T, np.arange(2), rows % 2, unit, x.dtype) is None


COMPARING: Any = SimpleNamespace(
    allclose=np.allclose, max=np.max, abs=np.abs, where=np.where, isfinite=np.isfinite
)


def test_a_kernel_is_held_against_the_size_of_what_it_finds(kernels: Kernels) -> None:
    """Derivatives of a mean over many examples are below any absolute tolerance."""
    outputs, ids = logits_and_ids("float32", 1500, 10)

    def wrong(*arguments: Any) -> Any:
        loss, delta, correct = kernels.assess(*arguments)  # type: ignore[misc]
        return loss, delta + np.float32(0.01 / 1500), correct

    fusion = Fusion(COMPARING, vars(xp), SimpleNamespace(assess=wrong))
    assert fusion.by_hand(assess, (CROSS_ENTROPY, outputs, ids, None, 1 / 1500)) is None


def test_rows_by_a_slice_are_left_to_the_function(kernels: Kernels) -> None:
    """A slice has no hash before Python 3.12."""
    fusion = Fusion(COMPARING, vars(xp), kernels)
    given = (np.ones((3, 2), "f"), np.arange(3), slice(0, 2), Normalization(0.0, 2.0), None)
    assert fusion.by_hand(prepared_rows, given) is None


def test_a_kernel_that_finds_something_else_is_not_used(kernels: Kernels) -> None:
    """It is held once for each kind: then it is trusted, or the function is called."""
    outputs, ids = logits_and_ids("float64", 6, 4)

    def wrong(*arguments: Any) -> Any:
        found: Any = kernels.assess(*arguments)
        right = arguments[1].dtype == "float64"
        return None if found is None else (found[0] + (not right), *found[1:])

    fusion = Fusion(COMPARING, vars(xp), SimpleNamespace(assess=wrong))
    for dtype in ("float64", "float32", "float64", "float32"):
        found = fusion.by_hand(assess, (CROSS_ENTROPY, outputs.astype(dtype), ids, None, 1.0))
        assert (found is None) == (dtype == "float32")
    weighted = (CROSS_ENTROPY, outputs, ids, np.ones(6), 1.0)
    assert fusion.by_hand(assess, weighted) is None

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import MakeBackend

from xpmlp import MLP, Model, Plan, fit, select_backend
from xpmlp.backends import Backend
from xpmlp.data import (
    Examples,
    Normalization,
    dataset_of_arrays,
    fit_normalization,
    prepare,
    read_data,
)
from xpmlp.data.examples import narrowed
from xpmlp.errors import DataError, UsageError

X = np.array([[0, 4], [8, 4]], dtype=np.uint8)


def applied(kind: str, backend: Backend, maximum: float = 16, **settings: Any) -> np.ndarray:
    found = fit_normalization(kind, X, maximum, **settings).to_device(backend)
    return backend.to_host(found.apply(backend.to_device(X), backend.dtype, xp=backend.xp))


def test_standard_by_hand(backend: Backend) -> None:
    # mean 4, variance (16 + 0 + 16 + 0) / 4 = 8
    expected = np.array([[-4, 0], [4, 0]]) / np.sqrt(8)
    np.testing.assert_allclose(applied("standard", backend), expected, rtol=1e-15)


def test_each_feature_by_hand(backend: Backend) -> None:
    # The first has mean 4 and deviation 4; the second never changes and is only shifted.
    np.testing.assert_array_equal(applied("feature", backend), [[-1, 0], [1, 0]])


def test_unit_and_none(backend: Backend) -> None:
    np.testing.assert_array_equal(applied("unit", backend), [[0, 0.25], [0.5, 0.25]])
    np.testing.assert_array_equal(applied("none", backend), X)


def test_bias_column_is_always_one(make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    found = applied("none", backend, bias_column=True)
    np.testing.assert_array_equal(found, [[0, 4, 1], [8, 4, 1]])
    assert found.dtype == np.float32
    assert Examples(X, X[:, 0], fit_normalization("none", X, 1, bias_column=True)).features == 3


def test_statistics_of_training_serve_every_set(backend: Backend) -> None:
    found = fit_normalization("standard", X, 255)
    other = Examples(np.array([[12, 4]], dtype=np.uint8), np.array([0])).normalized(found)
    x = other.to_device(backend).batch(xp=backend.xp).read(slice(0, 1)).x
    np.testing.assert_allclose(backend.to_host(x), [[8 / np.sqrt(8), 0]], rtol=1e-15)


def test_pieces_do_not_change_the_statistics() -> None:
    x = np.random.default_rng(0).integers(0, 256, size=(5000, 3), dtype=np.uint8)
    scalars = fit_normalization("standard", x, 255)
    np.testing.assert_allclose([scalars.shift, scalars.scale], [x.mean(), x.std()], rtol=1e-12)
    each = fit_normalization("feature", x, 255)
    np.testing.assert_allclose(each.shift, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(each.scale, x.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", ["standard", "feature"])
def test_constant_features_cannot_be_standardised(kind: str) -> None:
    with pytest.raises(DataError, match=r"every row has the same value.*no deviation"):
        fit_normalization(kind, np.full((3, 2), 7), 255)


def test_unit_without_a_known_maximum_uses_the_training_rows() -> None:
    x = np.array([[-8.0, 2.0], [4.0, 0.0]])
    assert fit_normalization("unit", x, None).scale == 8
    with pytest.raises(DataError, match="every value is 0"):
        fit_normalization("unit", np.zeros((3, 2)), None)


def test_small_deviation_around_a_large_mean_survives(make_backend: MakeBackend) -> None:
    """In float32 numbers near 1e9 are 64 apart: the mean goes before they are rounded."""
    backend = make_backend("float32")
    x = np.random.default_rng(0).normal(size=(200, 2))
    large = Examples(x + 1e9, np.zeros(200, dtype=int))
    scaled = large.normalized(fit_normalization("standard", large.rows, None))
    found = scaled.to_device(backend).batch(xp=backend.xp).read(slice(0, 200)).x
    expected = (x - x.mean()) / x.std()
    np.testing.assert_allclose(backend.to_host(found), expected, atol=1e-5)


def test_values_beyond_the_dtype_are_refused(make_backend: MakeBackend) -> None:
    huge = Examples(np.full((2, 2), 1e300), np.zeros(2, dtype=int))
    with pytest.raises(DataError, match="beyond the range of float32: use float64"):
        huge.to_device(make_backend("float32"))


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'minmax' is not known: choose from none, unit"):
        fit_normalization("minmax", X, 255)


def test_record_is_plain_numbers() -> None:
    record = fit_normalization("feature", X, 255).as_record()
    assert record == {"shift": [4.0, 4.0], "scale": [4.0, 1.0], "bias_column": False}


# Type, values, and the deviation of 0, 1, ..., 1000 times a unit: 288.96... units.
UNIT_DEVIATION = np.sqrt((1001**2 - 1) / 12)
RANGES = [("f2", 1.0), ("f4", 1e25), ("f4", 1e-30), ("f8", 1e100), ("f8", 1e-100)]


@pytest.mark.parametrize(("dtype", "unit"), RANGES)
def test_deviation_is_that_of_the_numbers_whatever_their_type(dtype: str, unit: float) -> None:
    x = (np.arange(1001)[:, None] * unit).astype(dtype)
    for kind in ("standard", "feature"):
        found = fit_normalization(kind, x, None)
        np.testing.assert_allclose(found.scale, UNIT_DEVIATION * unit, rtol=1e-6)
        example = Examples(x, np.zeros(1001, dtype=int)).normalized(found)
        backend = select_backend()
        scaled = example.to_device(backend).batch(xp=backend.xp).read(slice(0, 1001)).x
        np.testing.assert_allclose(scaled.std(), 1, rtol=1e-5)


def test_a_deviation_beyond_float64_is_refused() -> None:
    x = np.array([[1e200], [-1e200], [3e200]])
    for kind in ("standard", "feature"):
        with pytest.raises(DataError, match="too large for their deviation"):
            fit_normalization(kind, x, None)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e9 + 0.1])
def test_a_constant_is_one_whatever_its_mean_is_rounded_to(value: float) -> None:
    x = np.full((10_000, 2), value)
    with pytest.raises(DataError, match="every row has the same value"):
        fit_normalization("standard", x, None)
    x[:, 1] = np.arange(10_000)
    assert fit_normalization("feature", x, None).scale[0] == 1  # type: ignore[index]


def test_the_largest_size_is_that_of_the_smallest_integer() -> None:
    x = np.array([[-(2**31)], [0], [5]], dtype=np.int32)
    assert fit_normalization("unit", x, None).scale == 2**31


def stored(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "images":
        return x.reshape(-1, 8, 8)
    return np.asfortranarray(x) if layout == "by columns" else x.astype(layout)


LAYOUTS = ["i1", "u2", "i4", "i8", "f2", "f4", "f8", ">i4", "images", "by columns"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("normalize", ["standard", "feature", "none"])
@pytest.mark.parametrize("batch_size", [32, None])
def test_numbers_train_the_same_network_however_they_are_stored(
    layout: str, normalize: str, batch_size: int | None
) -> None:
    read = read_data("digits").train
    model = Model(MLP((64, 12, 10), "tanh"), learning_rate=0.03)
    weights = []
    for x in (read.x, stored(read.x, layout)):
        data = prepare(dataset_of_arrays(x, read.y), normalize=normalize)
        weights.append(fit(model, data, Plan(epochs=2, batch_size=batch_size)).params)
    for name, array in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], array)


@pytest.mark.parametrize("kind", ["none", "unit", "standard", "feature"])
def test_the_bias_column_comes_after_every_scaling(kind: str, backend: Backend) -> None:
    x = np.array([[0.0, 2, 4], [8, 4, 6]])  # not as many rows as features
    found = fit_normalization(kind, x, None, bias_column=True)
    plain = fit_normalization(kind, x, None)
    assert (found.bias_column, plain.bias_column) == (True, False)
    assert (found.width(3), plain.width(3)) == (4, 3)
    scaled, without = (
        backend.to_host(
            each.to_device(backend).apply(backend.to_device(x), backend.dtype, xp=backend.xp)
        )
        for each in (found, plain)
    )
    np.testing.assert_array_equal(scaled, np.column_stack([without, np.ones(2)]))


def test_refusals_say_what_to_do() -> None:
    constant, zeros = np.full((3, 2), 7.0), np.zeros((3, 2))
    tells = "as far as float64 tells, and there is no deviation to divide by: check the file, or "
    cases = [
        (
            "standard",
            constant,
            f"every row has the same value 7, {tells}use the normalisation none",
        ),
        ("feature", constant, f"every row has the same values, {tells}use the normalisation none"),
        ("unit", zeros, "every value is 0, and there is no largest to divide by"),
        (
            "standard",
            np.array([[1e200], [-1e200]]),
            "the features are too large for their deviation to be computed in float64: divide them "
            "by a large number first, or use the normalisation none",
        ),
    ]
    for kind, x, said in cases:
        with pytest.raises(DataError) as caught:
            fit_normalization(kind, x, None)
        assert str(caught.value) == said


def test_a_rounded_constant_is_told_from_a_small_deviation() -> None:
    """Rounding of a mean grows with the values added in a chain, and no deviation is that small."""
    x = np.full((4096, 1), 1e6)
    x[::2] += 1e-3
    assert fit_normalization("feature", x, None).scale == pytest.approx([5e-4], rel=1e-6)
    x[:] = 1e6
    x[0] += 1e-9 * 1e6
    found = fit_normalization("feature", x, None).scale
    assert found == pytest.approx([1e-3 * np.sqrt(4095) / 4096], rel=1e-3)


def test_what_is_scaled_on_the_host_is_scaled_in_float64() -> None:
    x = np.array([[1e9 + 1], [1e9 + 2], [1e9 + 3]])
    found = fit_normalization("standard", x, None)
    scaled, rest = found.applied_on_host(x.astype(object).astype(float), "float32")
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    assert (rest.shift, rest.scale) == (0.0, 1.0)


def test_a_record_is_read_back() -> None:
    for kind in ("standard", "feature", "none"):
        found = fit_normalization(kind, X, 255, bias_column=kind == "feature")
        again = Normalization.from_record(found.as_record(), found.width(2))
        assert again.as_record() == found.as_record()
    with pytest.raises(DataError, match="normalization: 2 numbers of shift for 3 features"):
        Normalization.from_record(fit_normalization("feature", X, 255).as_record(), 3)
    with pytest.raises(DataError, match="normalization: bias_column is None"):
        Normalization.from_record({"shift": 0.0, "scale": 1.0}, 3)


def test_a_shift_of_one_and_a_scale_of_two_are_applied(backend: Backend) -> None:
    """1 and 0 are what may be left out, and each of one of them."""
    x = backend.to_device(np.array([[3.0], [5.0]]))
    for shift, scale, expected in ((1.0, 2.0, [1, 2]), (0.0, 2.0, [1.5, 2.5]), (1.0, 1.0, [2, 4])):
        found = Normalization(shift, scale).apply(x, backend.dtype, xp=backend.xp)
        np.testing.assert_array_equal(backend.to_host(found)[:, 0], expected)


def test_equal_values_have_no_deviation_however_many_there_are() -> None:
    rows = np.broadcast_to(np.float64(0.1), (5_000_000, 1))
    with pytest.raises(DataError, match=r"every row has the same value 0\.1"):
        fit_normalization("standard", rows, None)


def test_a_rank_without_rows_has_the_largest_of_the_others() -> None:
    class Others:
        def largest(self, value: float) -> float:
            return max(value, 0.5)

    empty = np.zeros((0, 3))
    found = fit_normalization("unit", empty, None, ranks=Others())  # type: ignore[arg-type]
    assert found.scale == 0.5


def test_sums_that_overflow_both_ways_are_refused() -> None:
    rows = np.array([[1.7e308], [1.7e308], [-1.7e308], [-1.7e308]] * 2000)
    with pytest.raises(DataError, match="too large for their deviation"):
        fit_normalization("standard", rows, None)


def test_a_scale_that_float32_cannot_divide_by_is_applied_before() -> None:
    x = np.array([[1e-36], [3e-36]], dtype="float32")
    scaled, left = narrowed(x, Normalization(0.0, 1e-36), "float32")
    np.testing.assert_allclose(scaled, [[1.0], [3.0]], rtol=1e-6)
    assert left is not None
    assert left.scale == 1.0
    same, none = narrowed(x, None, "float32")
    assert same is x
    assert none is None

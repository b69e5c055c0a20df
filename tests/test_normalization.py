from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import MakeBackend

from xpmlp.backends import Backend
from xpmlp.data import Examples, fit_normalization
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

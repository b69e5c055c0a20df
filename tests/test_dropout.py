from __future__ import annotations

import numpy as np
import pytest
from central_differences import HostParams, central_differences
from conftest import MakeBackend
from stacks import stack_of

from xpmlp.arrays import Array
from xpmlp.backends import Backend, select_backend
from xpmlp.mathematics.dropout import dropout_mask
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.products import Sums
from xpmlp.mathematics.step import Piece, piece_gradient


def key(backend: Backend, *values: int) -> Array:
    array = np.array(values, dtype=np.uint32)
    return backend.to_device(array if len(values) > 1 else array[0])


def mask(backend: Backend, value: int, rows: int, units: int, rate: float) -> np.ndarray:
    like = backend.to_device(np.zeros((rows, units)))
    return backend.to_host(dropout_mask(key(backend, value), like, rate, xp=backend.xp))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_mask_keeps_its_share_and_the_mean(rate: float) -> None:
    m = mask(select_backend("cpu"), 7, 400, 500, rate)
    assert m.dtype == np.float32
    assert set(np.unique(m)) == {0, np.float32(1 / (1 - rate))}
    # Binomial: 200,000 draws, five standard deviations.
    deviation = np.sqrt(rate * (1 - rate) / m.size)
    assert abs((m == 0).mean() - rate) < 5 * deviation
    assert abs((m == 0).mean(axis=0) - rate).max() < 5 * np.sqrt(rate * (1 - rate) / 400)
    assert abs((m == 0).mean(axis=1) - rate).max() < 5 * np.sqrt(rate * (1 - rate) / 500)


def test_masks_look_independent() -> None:
    """Neighbouring rows, units, keys and steps of a key are uncorrelated."""
    backend = select_backend("cpu", "float64")
    m = mask(backend, 1, 400, 500, 0.5) - 1
    others = [mask(backend, value, 400, 500, 0.5) - 1 for value in (2, 3, 1 << 31)]
    pairs = [(m[1:], m[:-1]), (m[:, 1:], m[:, :-1]), *((m, other) for other in others)]
    for one, other in pairs:
        assert abs((one * other).mean()) < 5 / np.sqrt(one.size)


def test_every_backend_draws_the_same(make_backend: MakeBackend) -> None:
    reference = mask(select_backend("cpu", "float64"), 12345, 30, 20, 0.3)
    np.testing.assert_array_equal(mask(make_backend("float64"), 12345, 30, 20, 0.3), reference)


def test_masks_are_those_of_the_formula_in_whole_numbers(backend: Backend) -> None:
    """Worked out without arrays: a seed keeps its masks whatever becomes of the source."""

    def mixed(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    golden, key_value = 0x9E3779B9, 12345
    expected = [
        [
            mixed(
                (mixed((key_value + golden * row) % 2**32) + mixed(golden * (unit + 1) % 2**32))
                % 2**32
            )
            < int(0.7 * 2**32)
            for unit in range(30)
        ]
        for row in range(20)
    ]
    found = mask(backend, key_value, 20, 30, 0.3)
    np.testing.assert_array_equal(found > 0, expected)
    np.testing.assert_allclose(found[found > 0], 1 / 0.7, rtol=1e-15)


def test_slice_of_a_batch_has_its_slice_of_the_mask(backend: Backend) -> None:
    whole = mask(backend, 9, 20, 6, 0.4)
    like = backend.to_device(np.zeros((7, 6)))
    for numbers in (range(5, 12), (0, 3, 4, 9, 10, 18, 19)):
        rows = backend.to_device(np.array(numbers, dtype=np.uint32))
        part = dropout_mask(key(backend, 9), like, 0.4, rows=rows, xp=backend.xp)
        np.testing.assert_array_equal(backend.to_host(part), whole[list(numbers)])


def test_one_key_a_model(backend: Backend) -> None:
    like = backend.to_device(np.zeros((2, 20, 6)))
    stacked = dropout_mask(key(backend, 4, 9), like, 0.4, xp=backend.xp)
    for k, value in enumerate((4, 9)):
        np.testing.assert_array_equal(backend.to_host(stacked)[k], mask(backend, value, 20, 6, 0.4))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("models", [1, 3])
def test_gradients_through_the_masks_equal_central_differences(
    activation: str, models: int
) -> None:
    """The loss with masks held fixed is a function like any other."""
    backend = select_backend("cpu", "float64")
    mlp, xp, rng = MLP((4, 6, 5, 3), activation), backend.xp, np.random.default_rng(4)
    members = [
        {name: rng.normal(size=array.shape) for name, array in mlp.init(rng).items()}
        for _ in range(models)
    ]
    params = members[0] if models == 1 else stack_of(members)
    piece = Piece(rng.normal(size=(9, 4)), rng.integers(3, size=9))
    keys = backend.to_device(np.array([11, 12], dtype=np.uint32))

    def noise(layer: int, a: Array) -> tuple[Array, Array | None]:
        if layer == 0:
            return a, None
        m = dropout_mask(keys[layer - 1], a, 0.4, xp=xp)
        return a * m, m

    def sums(moved: HostParams) -> Sums:
        return piece_gradient(mlp, moved, piece, scale=1 / 9, xp=xp, noise=noise)

    found = sums(params)
    found.multiply_out()
    numeric = central_differences(lambda moved: float(np.sum(sums(moved)["loss"])), params)
    for name, expected in numeric.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-8)

from __future__ import annotations

import numpy as np
import pytest

from xpmlp import Examples
from xpmlp.backends import Backend
from xpmlp.data.batches import ShuffledBatches
from xpmlp.errors import DataError


def rows_of(backend: Backend, seed: int, steps: range) -> list[np.ndarray]:
    """Return the row numbers of the batches of some steps, of 23 examples in fives."""
    numbered = Examples(np.arange(23.0)[:, None], np.arange(23)).to_device(backend)
    batches = ShuffledBatches(numbered, 23, 5, seed=seed, backend=backend)
    assert batches.steps_per_epoch == 5
    found = []
    for step in steps:
        drawn = batches.draw(step)
        batch = drawn.data.batch(drawn.rows, xp=backend.xp)
        assert batch.size == drawn.size == batches.size_of(step % 5)
        x, y, _ = batch.read(slice(0, batch.size))
        np.testing.assert_array_equal(backend.to_host(x)[:, 0], backend.to_host(y))
        found.append(backend.to_host(y))
    return found


def test_every_example_comes_once_an_epoch(backend: Backend) -> None:
    epochs = [rows_of(backend, 1, range(start, start + 5)) for start in (0, 5)]
    for epoch in epochs:
        assert [len(rows) for rows in epoch] == [5, 5, 5, 5, 3]
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(23))
    first, second = (np.concatenate(epoch) for epoch in epochs)
    assert (first != second).any()
    assert (first != np.arange(23)).any()


def test_batch_of_a_step_does_not_depend_on_the_steps_before(backend: Backend) -> None:
    expected = rows_of(backend, 1, range(8))[7]
    np.testing.assert_array_equal(rows_of(backend, 1, range(7, 8))[0], expected)
    assert (rows_of(backend, 2, range(7, 8))[0] != expected).any()


def test_full_batch_is_everything_in_order(backend: Backend) -> None:
    numbered = Examples(np.arange(23.0)[:, None], np.arange(23)).to_device(backend)
    batches = numbered.batches(None, seed=0, backend=backend)
    for step in (0, 3):
        drawn = batches.draw(step)
        batch = drawn.data.batch(drawn.rows, xp=backend.xp)
        assert batch.size == drawn.size == 23
        np.testing.assert_array_equal(backend.to_host(batch.read(slice(4, 9))[1]), np.arange(4, 9))


@pytest.mark.parametrize("size", [0, 24])
def test_size_that_does_not_fit_is_refused(backend: Backend, size: int) -> None:
    numbered = Examples(np.arange(23.0)[:, None], np.arange(23))
    with pytest.raises(DataError, match=f"batch size of {size} does not fit 23 training"):
        numbered.batches(size, seed=0, backend=backend)


def test_validation_is_held_out_by_seed() -> None:
    examples = Examples(np.arange(40).reshape(20, 2), np.arange(20))
    train, validation = examples.hold_out(5, seed=1)
    assert (len(train), len(validation)) == (15, 5)
    assert set(train.y) | set(validation.y) == set(range(20))
    np.testing.assert_array_equal(train.x[:, 0], 2 * train.y)
    same, other = examples.hold_out(5, seed=1)[1], examples.hold_out(5, seed=2)[1]
    assert set(validation.y) == set(same.y)
    assert set(validation.y) != set(other.y)


@pytest.mark.parametrize("size", [20, -1])
def test_validation_that_leaves_nothing_is_refused(size: int) -> None:
    with pytest.raises(DataError, match=f"{size} examples held out leaves no training example"):
        Examples(np.zeros((20, 2)), np.zeros(20)).hold_out(size, seed=0)


def test_bytes_stay_bytes_on_the_device(backend: Backend) -> None:
    images = Examples(np.full((4, 2), 200, dtype=np.uint8), np.zeros(4, dtype=np.uint8))
    moved = images.to_device(backend)
    assert moved.x.dtype == backend.xp.uint8
    x, *_ = moved.batch(xp=backend.xp).read(slice(0, 4))
    assert x.dtype == backend.dtype
    assert (backend.to_host(x) == 200).all()
    wide = Examples(np.full((4, 2), 200), np.zeros(4, dtype=np.uint8)).to_device(backend)
    assert wide.x.dtype == backend.dtype

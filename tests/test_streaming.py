"""Training from a file that stays on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import small_set, write_h5
from trainings import fit, initial_state, take_step

from xpmlp import (
    Dataset,
    Deformation,
    Examples,
    Model,
    Momentum,
    Plan,
    Regularization,
    StreamedExamples,
    Training,
    TrainingState,
    evaluate,
    fit_normalization,
)
from xpmlp.backends import Backend, select_backend
from xpmlp.data import read_data
from xpmlp.data.batches import Draw, ShuffledBatches
from xpmlp.data.streaming import StreamedBatches
from xpmlp.errors import DataError
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.step import Step

ROWS = 1003
X, Y = small_set(ROWS)


@pytest.fixture
def stream(tmp_path: Path) -> StreamedExamples:
    path = write_h5(tmp_path / "set.h5", X, Y, chunks=(16, 3, 4), compression="gzip")
    dataset = read_data(path, stream=True)
    assert isinstance(dataset.train, StreamedExamples)
    return dataset.train


def small_batches(stream: StreamedExamples, backend: Backend, seed: int = 3) -> StreamedBatches:
    """Batches of 20 from buffers of 200 rows, so that an epoch is 5 buffers and a short one."""
    small = replace(stream, buffer_bytes=200 * 12)
    return StreamedBatches(small, 20, seed=seed, backend=backend)


def features_of(batches: StreamedBatches, steps: range, backend: Backend) -> list[np.ndarray]:
    found = []
    for step in steps:
        drawn = batches.draw(step)
        batch = drawn.data.batch(drawn.rows, xp=backend.xp)
        found.append(backend.to_host(batch.read(slice(0, batch.size)).x))
    return found


def test_every_row_comes_once_an_epoch(stream: StreamedExamples, backend: Backend) -> None:
    batches = small_batches(stream, backend)
    assert batches.steps_per_epoch == 51
    for epoch in range(2):
        order = batches.order(epoch)
        np.testing.assert_array_equal(np.sort(order), np.arange(ROWS))
        steps = range(51 * epoch, 51 * (epoch + 1))
        read = features_of(batches, steps, backend)
        assert [len(rows) for rows in read] == [20] * 50 + [3]
        np.testing.assert_array_equal(np.concatenate(read), X.reshape(ROWS, 12)[order])


def test_order_is_shuffled_well_enough(stream: StreamedExamples) -> None:
    batches = small_batches(stream, select_backend("cpu"))
    first, second = batches.order(0), batches.order(1)
    assert (first != second).mean() > 0.95
    # Rows of one batch come from all over the file.
    spans = [np.ptp(first[i : i + 20]) for i in range(0, 1000, 20)]
    assert np.median(spans) > 0.7 * ROWS
    neighbours = np.abs(np.diff(first)) == 1
    assert neighbours.mean() < 0.05


def test_order_depends_on_the_seed_and_the_step_alone(
    stream: StreamedExamples, backend: Backend
) -> None:
    expected = features_of(small_batches(stream, backend), range(60), backend)[57]
    alone = features_of(small_batches(stream, backend), range(57, 58), backend)[0]
    np.testing.assert_array_equal(alone, expected)
    other = features_of(small_batches(stream, backend, seed=4), range(57, 58), backend)[0]
    assert (other != expected).any()


def trained(backend: Backend, draw: Callable[[int], Draw], steps: int) -> TrainingState:
    mlp, rule = MLP((12, 9, 3), "tanh"), Momentum(0.9)
    state = initial_state(mlp, rule, seed=1, backend=backend)
    for step in range(steps):
        take_step(Step(mlp, rule), state, draw(step), 0.1, backend)
    return state


def assert_same_weights(one: TrainingState, other: TrainingState, backend: Backend) -> None:
    for name, array in one.params.items():
        np.testing.assert_allclose(
            backend.to_host(array), backend.to_host(other.params[name]), rtol=1e-12, atol=1e-12
        )


def test_minibatches_equal_those_in_memory(stream: StreamedExamples, backend: Backend) -> None:
    scale = fit_normalization("standard", stream.rows, 255)
    streamed = small_batches(stream.normalized(scale), backend)
    memory = Examples(X.reshape(ROWS, 12), Y, scale).to_device(backend)
    order = streamed.order
    in_memory = ShuffledBatches(memory, ROWS, 20, seed=0, backend=backend, order=order)
    one = trained(backend, streamed.draw, 110)
    assert_same_weights(one, trained(backend, in_memory.draw, 110), backend)


def test_full_batch_equals_that_in_memory(stream: StreamedExamples, backend: Backend) -> None:
    scale = fit_normalization("standard", stream.rows, 255)
    whole = stream.normalized(scale).to_device(backend)
    memory = Examples(X.reshape(ROWS, 12), Y, scale).to_device(backend)
    one = trained(backend, lambda _: Draw(whole, None, ROWS), 20)
    two = trained(backend, lambda _: Draw(memory, None, ROWS), 20)
    assert_same_weights(one, two, backend)


def test_deformed_images_of_a_stream_are_those_in_memory(stream: StreamedExamples) -> None:
    """The full batch, read in pieces: an image is bent by its number in the whole batch."""
    backend = select_backend("cpu", "float64")
    bent = Deformation(rotation=20, shift=0.5, elastic=0.3, image_shape=(3, 4))
    model = Model(MLP((12, 9, 3)), regularization=Regularization(deformation=bent, noise=0.1))
    in_memory, plan = Examples(X.reshape(ROWS, 12), Y), Plan(steps=4, batch_size=None)
    one, two = (
        Training(model, Dataset("set", train), plan, backend=backend).run()
        for train in (stream, in_memory)
    )
    assert_same_weights(one, two, backend)
    plain = Training(Model(MLP((12, 9, 3))), in_memory, plan, backend=backend).run()
    assert abs(plain.params["layer1.weight"] - two.params["layer1.weight"]).max() > 1e-3


def test_statistics_and_evaluation_are_those_in_memory(
    stream: StreamedExamples, backend: Backend
) -> None:
    for kind in ("standard", "feature"):
        found = fit_normalization(kind, stream.rows, 255)
        expected = fit_normalization(kind, X, 255)
        np.testing.assert_allclose(found.shift, expected.shift, rtol=1e-12)
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-12)
    mlp = MLP((12, 9, 3))
    params = initial_state(mlp, Momentum(), seed=1, backend=backend).params
    memory = Examples(X.reshape(ROWS, 12), Y).to_device(backend)
    one = evaluate(mlp, params, stream.to_device(backend), backend=backend)
    assert one == pytest.approx(evaluate(mlp, params, memory, backend=backend), rel=1e-12)


def test_validation_is_taken_out_of_the_file(stream: StreamedExamples) -> None:
    train, validation = stream.hold_out(300, seed=2)
    assert (len(train), len(validation)) == (703, 300)
    rows = np.concatenate([np.arange(start, stop) for start, stop in train.spans])
    assert len(np.unique(rows)) == 703
    kept = train.read(0, 703)
    np.testing.assert_array_equal(kept.x, X.reshape(ROWS, 12)[rows])
    held = np.setdiff1d(np.arange(ROWS), rows)
    np.testing.assert_array_equal(validation.x, X.reshape(ROWS, 12)[held])
    np.testing.assert_array_equal(validation.y, Y[held])
    order = small_batches(train, select_backend("cpu")).order(0)
    np.testing.assert_array_equal(np.sort(order), rows)
    nothing = stream.hold_out(0, seed=2)
    assert (len(nothing[0]), len(nothing[1])) == (ROWS, 0)
    with pytest.raises(DataError, match="leaves no training example of 1003"):
        stream.hold_out(ROWS, seed=2)


def test_first_rows_only(stream: StreamedExamples) -> None:
    few = stream.first(10)
    assert len(few) == 10
    np.testing.assert_array_equal(few.read(2, 5).y, Y[2:5])
    assert len(stream.first(None)) == ROWS


def test_fit_trains_from_the_file(stream: StreamedExamples) -> None:
    backend, mlp = select_backend("cpu"), MLP((12, 9, 3))
    scale = fit_normalization("standard", stream.rows, 255)
    train, validation = stream.normalized(scale).hold_out(100, seed=0)
    state = initial_state(mlp, Momentum(), seed=1, backend=backend)
    rows = list(
        fit(
            mlp,
            state,
            train.to_device(backend),
            optimizer=Momentum(),
            learning_rate=0.05,
            batch_size=20,
            steps=138,
            validation=validation.to_device(backend),
            backend=backend,
        )
    )
    assert [row.step for row in rows] == [46, 92, 138]
    assert rows[-1].train_loss < rows[0].train_loss
    assert rows[-1].val_loss is not None


def test_damage_found_while_reading_is_an_error_of_the_data(tmp_path: Path) -> None:
    x = np.ones((100, 4))
    path = write_h5(tmp_path / "set.h5", x, np.arange(100) % 2)
    source = read_data(path, stream=True).train
    assert isinstance(source, StreamedExamples)
    source.x._data.file.close()
    with pytest.raises(DataError, match=r"set\.h5"):
        source.read(0, 10)

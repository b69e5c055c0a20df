"""Deformed images against the geometry and the statistics that they are asked for."""

from __future__ import annotations

from dataclasses import replace
from math import exp, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeBackend

from xpmlp import (
    MLP,
    DataError,
    Deformation,
    Examples,
    Model,
    Plan,
    Regularization,
    StackTraining,
    Training,
    UsageError,
    prepare,
    read_data,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.counters import random_bits
from xpmlp.regularization.deformation import Deformed

RNG = np.random.default_rng(0)


def placed(deformation: Deformation, pixels: int, backend: Backend) -> Deformed:
    like = backend.to_device(np.zeros(1))
    with backend.computing():
        return deformation.of_images(pixels, like=like, xp=backend.xp)


def deformed(
    deformation: Deformation,
    images: np.ndarray,
    backend: Backend,
    key: int | list[int] = 3,
    first: int = 0,
) -> np.ndarray:
    """Return the images deformed, numbered from `first` on."""
    numbers = backend.to_device(np.arange(first, first + len(images), dtype=np.uint32))
    keys, x = backend.to_device(np.array(key, dtype=np.uint32)), backend.to_device(images)
    made = placed(deformation, images.shape[1], backend)
    with backend.computing():
        found: np.ndarray = backend.to_host(made(x, keys, numbers, xp=backend.xp))
    return found


def drawn(key: int, images: int, count: int) -> np.ndarray:
    """Return what is drawn of each image, even in −1 to 1."""
    rows, columns = np.arange(images, dtype="u4")[:, None], np.arange(count, dtype="u4")
    bits: np.ndarray = random_bits(np.uint32(key), rows, columns, xp=np)
    return bits / 2.0**31 - 1


# A picture whose values are linear in the place is, inside, sampled exactly.
HEIGHT, WIDTH = 9, 13
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(float)
SLOPE = (2.0 * Y - 3.0 * X).reshape(1, -1)
INSIDE = (slice(None), slice(3, 6), slice(4, 9))


@pytest.mark.parametrize(
    "asked",
    [
        {"rotation": 15},
        {"scaling": 0.2},
        {"shear": 12},
        {"shift": 2.0},
        {"rotation": 10, "scaling": 0.1, "shear": 8, "shift": 1.0},
    ],
    ids=str,
)
def test_places_are_those_of_the_affine_map(asked: dict[str, Any], backend: Backend) -> None:
    """Around the middle: turned by an angle, each direction by a factor, sheared, and shifted."""
    images = np.repeat(SLOPE, 5, axis=0)
    found = deformed(Deformation(**asked, image_shape=(HEIGHT, WIDTH)), images, backend)
    u = drawn(3, 5, 6)
    angle, shear = (
        np.radians(asked.get(k, 0)) * u[:, n] for k, n in (("rotation", 0), ("shear", 3))
    )
    tall, wide = (np.exp(asked.get("scaling", 0) * u[:, n]) for n in (1, 2))
    down, right = (asked.get("shift", 0) * u[:, n] for n in (4, 5))
    y, x = Y - (HEIGHT - 1) / 2, X - (WIDTH - 1) / 2
    for k in range(5):
        turn = np.array(
            [[np.cos(angle[k]), np.sin(angle[k])], [-np.sin(angle[k]), np.cos(angle[k])]]
        )
        turn[1, 0] += np.tan(shear[k])
        matrix = turn * np.array([tall[k], wide[k]])
        rows = matrix[0, 0] * y + matrix[0, 1] * x + (HEIGHT - 1) / 2 + down[k]
        columns = matrix[1, 0] * y + matrix[1, 1] * x + (WIDTH - 1) / 2 + right[k]
        expected = (2.0 * rows - 3.0 * columns)[INSIDE[1:]]
        np.testing.assert_allclose(found[k].reshape(HEIGHT, WIDTH)[INSIDE[1:]], expected, atol=1e-9)


def test_outside_is_the_edge(backend: Backend) -> None:
    """Shifted by so much that nothing of the picture is left, a row of it stands in."""
    images = np.repeat(SLOPE, 20, axis=0)
    found = deformed(Deformation(shift=500.0, image_shape=(HEIGHT, WIDTH)), images, backend)
    u = drawn(3, 20, 6) * 500
    for k in range(20):
        if abs(u[k, 4:]).min() > 20:
            corner = 2.0 * (HEIGHT - 1) * (u[k, 4] > 0) - 3.0 * (WIDTH - 1) * (u[k, 5] > 0)
            np.testing.assert_allclose(found[k], corner, atol=1e-9)


def test_between_pixels_it_is_bilinear() -> None:
    """Four pixels 0, 1, 2, 5 in a square, read at (y, x)."""
    backend = select_backend("cpu", "float64")
    images = np.repeat([[0.0, 1.0, 2.0, 5.0]], 8, axis=0)
    found = deformed(Deformation(shift=0.5), images, backend)
    u = drawn(3, 8, 6)
    y, x = np.clip(0.5 * u[:, 4], 0, 1), np.clip(0.5 * u[:, 5], 0, 1)
    expected = (1 - y) * x * 1 + y * (1 - x) * 2 + y * x * 5
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-12)


def test_elastic_displacements_have_the_size_and_the_width_asked_for() -> None:
    """Standard deviation in pixels, and covariance e^(−d²/4σ²) of places d apart."""
    backend, sigma = select_backend("cpu", "float64"), 3.0
    made = placed(Deformation(elastic=1.5, elastic_width=sigma), 21 * 21, backend)
    count, numbers = 4000, np.arange(4000, dtype=np.uint32)
    key = np.array(1, dtype=np.uint32)
    moved = made.displacements(key, numbers, like=made.basis, xp=backend.xp)
    moved = moved.reshape(count, 2, 21, 21)
    assert moved.std(axis=0) == pytest.approx(np.full((2, 21, 21), 1.5), rel=0.06)
    assert moved.std() == pytest.approx(1.5, rel=0.01)
    middle = moved[:, :, 10, 10]
    for distance in (1, 3, 6):
        for other in (moved[:, :, 10, 10 + distance], moved[:, :, 10 - distance, 10]):
            correlation = (middle * other).mean() / 1.5**2
            expected = exp(-(distance**2) / (4 * sigma**2))
            assert correlation == pytest.approx(expected, abs=5 / sqrt(2 * count))
    assert abs((moved[:, 0] * moved[:, 1]).mean()) < 0.05  # rows and columns on their own


def test_random_numbers_at_knots_stand_for_those_at_all_pixels() -> None:
    """The displacement of white noise smoothed by a Gaussian, in covariance, to a thousandth."""
    made = placed(
        Deformation(elastic=1.0, elastic_width=4.0), 28 * 28, select_backend("cpu", "float64")
    )
    assert made.bumps is not None
    down, across = made.bumps
    found = np.outer(down.T @ down[:, 10], across.T @ across[:, 12]).reshape(28, 28)
    y, x = np.mgrid[:28, :28]
    expected = np.exp(-((y - 10) ** 2 + (x - 12) ** 2) / (4 * 4.0**2))
    np.testing.assert_allclose(found, expected, atol=1e-3)


FULL = Deformation(rotation=15, scaling=0.15, shear=10, shift=1.5, elastic=1.2)


def test_every_backend_deforms_alike(make_backend: MakeBackend) -> None:
    images = RNG.uniform(size=(6, 100))
    expected = deformed(FULL, images, select_backend("cpu", "float64"))
    np.testing.assert_allclose(
        deformed(FULL, images, make_backend("float64")), expected, rtol=1e-10, atol=1e-12
    )
    assert abs(expected - images).max() > 0.1


def test_an_image_depends_on_its_key_and_number_alone() -> None:
    backend, images = select_backend("cpu", "float64"), RNG.uniform(size=(6, 100))
    whole = deformed(FULL, images, backend)
    np.testing.assert_allclose(
        deformed(FULL, images[2:5], backend, first=2), whole[2:5], rtol=1e-12
    )
    same = np.repeat(images[:1], 6, axis=0)
    others = deformed(FULL, same, backend)
    assert all(abs(others[k] - others[0]).max() > 0.05 for k in range(1, 6))
    assert abs(deformed(FULL, images, backend, key=4) - whole).max() > 0.05


def test_each_key_of_a_stack_deforms_the_images_in_its_own_way(make_backend: MakeBackend) -> None:
    backend, images = make_backend("float64"), RNG.uniform(size=(6, 100))
    both = deformed(FULL, images, backend, key=[4, 9])
    assert both.shape == (2, 6, 100)
    for found, key in zip(both, (4, 9), strict=True):
        alone = deformed(FULL, images, backend, key=key)
        np.testing.assert_allclose(found, alone, rtol=1e-12, atol=1e-14)


def test_float32_stays_float32() -> None:
    images = RNG.uniform(size=(3, 64)).astype("f")
    assert deformed(FULL, images, select_backend("cpu")).dtype == np.float32


IMAGES = Examples(RNG.integers(256, size=(40, 64), dtype=np.uint8), RNG.integers(3, size=40))


def test_training_images_are_deformed_and_others_are_not() -> None:
    """Every epoch anew; what is evaluated stays as it was read."""
    from xpmlp import evaluate

    backend = select_backend("cpu", "float64")
    model = Model(MLP((64, 3)), learning_rate=1e-12)  # the weights stay
    bent = Model(MLP((64, 3)), learning_rate=1e-12, regularization=Regularization(deformation=FULL))
    plan = Plan(epochs=3, batch_size=10)
    losses = [
        [row.train_loss for row in Training(each, IMAGES, plan, backend=backend)]
        for each in (model, bent)
    ]
    assert losses[0] == pytest.approx([losses[0][0]] * 3, rel=1e-6)
    assert len({round(loss, 6) for loss in losses[1]}) == 3
    exact = Training(bent, IMAGES, Plan(epochs=1, batch_size=10, train_exact=True), backend=backend)
    (row,) = exact
    params = exact.state.params
    expected, _ = evaluate(MLP((64, 3)), params, IMAGES.to_device(backend), backend=backend)
    assert row.train_loss == pytest.approx(expected, rel=1e-12)


def test_a_stack_deforms_images_as_each_model_would_alone() -> None:
    backend = select_backend("cpu", "float64", threads=1)
    extra = Regularization(deformation=FULL, input_dropout=0.1)
    models = [
        Model(MLP((64, 5, 3)), learning_rate=1e-4, seed=k, regularization=extra) for k in (0, 1)
    ]
    plan = Plan(steps=9, batch_size=16)
    for model, found in zip(
        models, StackTraining(models, IMAGES, plan, backend=backend).run(), strict=True
    ):
        alone = Training(model, IMAGES, plan, backend=backend).run()
        for name, array in alone.params.items():
            np.testing.assert_allclose(found.result[name], array, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("features", "shape", "said"),
    [
        (10, None, "10 features are no image of a square, and only"),
        (64, (8, 9), "64 features are no image of 8 × 9"),
        (192, (8, 8, 3), "192 features are no image of 8 × 8 × 3"),
        (3, (1, 3), "image_shape is"),
    ],
)
def test_what_is_no_grey_image_is_refused(features: int, shape: Any, said: str) -> None:
    from xpmlp import XpmlpError

    with pytest.raises(XpmlpError, match=said) as error:
        placed(Deformation(rotation=5, image_shape=shape), features, select_backend("cpu"))
    assert said.startswith("image_shape") or isinstance(error.value, DataError)


def test_angles_are_in_degrees_and_around_none() -> None:
    """Of many images the mean of what is drawn is 0, and its largest what was asked for."""
    made = placed(Deformation(rotation=30), 64, select_backend("cpu", "float64"))
    numbers = np.arange(5000, dtype=np.uint32)
    key = np.array(9, dtype=np.uint32)
    moved = made.displacements(key, numbers, like=made.basis, xp=np)
    # Of the pixel in the middle's right lower neighbour: half a pixel down, half to the right.
    down, right = moved[:, 0, 36] + 0.5, moved[:, 1, 36] + 0.5
    angles = np.arctan2(down, right) - pi / 4
    assert abs(angles.mean()) < 5 * pi / 6 / sqrt(3 * 5000)
    assert 0.99 * pi / 6 < abs(angles).max() <= pi / 6


def test_no_images_are_no_images(backend: Backend) -> None:
    """What is left of a batch for a piece, or a rank, may be nothing."""
    found = deformed(FULL, np.zeros((0, 64)), backend)
    assert found.shape == (0, 64)


def test_columns_of_a_table_are_no_image(tmp_path: Path) -> None:
    """However many they are."""
    names = ",".join(f"c{k}" for k in range(4))
    rows = "".join(f"{k},{2 * k},{-k},{k % 7},{'ab'[k % 2]}\n" for k in range(60))
    (tmp_path / "t.csv").write_text(f"{names},y\n{rows}")
    data = prepare(read_data(tmp_path / "t.csv", target="y"), intervals=1, val_size=0)
    extra = Regularization(deformation=Deformation(elastic=1))
    with pytest.raises(DataError, match="the columns of t are no images"):
        Training(Model(MLP((data.train.features, 2)), regularization=extra), data, Plan(steps=1))


def test_the_shape_is_that_of_the_data_set() -> None:
    from xpmlp import dataset_of_arrays

    images, labels = RNG.integers(256, size=(30, 4, 16), dtype=np.uint8), np.arange(30) % 3
    data, backend = dataset_of_arrays(images, labels), select_backend("cpu", "float64")
    plan = Plan(steps=3, batch_size=10)

    def weights(bent: Deformation, of: Any = data) -> np.ndarray:
        extra = Regularization(deformation=bent)
        model = Model(MLP((64, 3)), learning_rate=1e-5, regularization=extra)
        found: np.ndarray = Training(model, of, plan, backend=backend).run().params["layer1.weight"]
        return found

    given = weights(Deformation(rotation=20, image_shape=(4, 16)))
    np.testing.assert_array_equal(weights(Deformation(rotation=20)), given)
    with pytest.raises(DataError, match="images of 4 × 16, and those that are deformed are 8 × 8"):
        weights(Deformation(rotation=20, image_shape=(8, 8)))
    one_channel = dataset_of_arrays(images[..., None], labels)
    np.testing.assert_array_equal(weights(Deformation(rotation=20), one_channel), given)
    colours = dataset_of_arrays(RNG.integers(256, size=(30, 4, 4, 4), dtype=np.uint8), labels)
    with pytest.raises(
        DataError, match="images of 4 × 4 × 4, and those that are deformed are grey"
    ):
        weights(Deformation(rotation=20), colours)
    # Rows that are flat look like squares, and may be others.
    flat = dataset_of_arrays(images.reshape(30, 64), labels)
    np.testing.assert_array_equal(
        weights(Deformation(rotation=20, image_shape=(4, 16)), flat), given
    )
    wide = Model(MLP((65, 3)), regularization=Regularization(input_noise=0.1))
    with_ones = prepare(data, bias_column=True, val_size=0)
    with pytest.raises(UsageError, match="would change the feature of bias_column"):
        Training(wide, with_ones, plan, backend=backend)
    # A pixel from another place would be scaled as that place is.
    for own in (data, replace(data, image_shape=None)):
        scaled = prepare(own, normalize="feature", val_size=0)
        with pytest.raises(DataError, match="is scaled on its own, and a deformed image has"):
            weights(Deformation(rotation=20), scaled)
        weights(Deformation(), scaled)


@pytest.mark.parametrize("numbers", [np.float64, np.float32], ids=str)
def test_numbers_of_numpy_are_numbers(numbers: Any) -> None:
    shape: Any = [np.int64(8), np.int64(8)]
    found = Deformation(rotation=numbers(10), shear=numbers(5), image_shape=shape)
    assert found == Deformation(rotation=10, shear=5, image_shape=(8, 8))
    assert type(found.rotation) is float
    extra = Regularization(label_smoothing=numbers(0.5))
    model = Model(MLP((64, 3)), regularization=extra)
    Training(model, IMAGES, Plan(steps=1, batch_size=8)).run()


def test_a_large_image_is_bent_by_small_fields() -> None:
    made = placed(Deformation(elastic=2.0), 200 * 200, select_backend("cpu"))
    assert made.bumps is not None
    assert sum(array.size for array in (*made.bumps, made.basis)) < 200_000

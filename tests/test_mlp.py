from __future__ import annotations

import numpy as np
import pytest
from central_differences import HostParams, central_differences
from conftest import MakeBackend

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.errors import UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.products import Sums
from xpmlp.mathematics.step import Piece, piece_gradient
from xpmlp.training.stacking import StackedMLP

DEPTHS = [(5, 3), (5, 4, 3), (5, 4, 6, 3), (5, 4, 3, 4, 3)]


def to_device(backend: Backend, params: HostParams) -> Params:
    return {name: backend.to_device(array) for name, array in params.items()}


def problem(mlp: MLP, examples: int = 7) -> tuple[HostParams, np.ndarray, np.ndarray]:
    """Random parameters (biases too), features and class ids."""
    rng = np.random.default_rng(3)
    params = {
        name: array + rng.normal(scale=0.3, size=array.shape)
        for name, array in mlp.init(rng).items()
    }
    x = rng.normal(size=(examples, mlp.sizes[0]))
    return params, x, rng.integers(mlp.sizes[-1], size=examples)


@pytest.mark.parametrize("sizes", DEPTHS)
def test_gradients_equal_central_differences(backend: Backend, sizes: tuple[int, ...]) -> None:
    mlp = MLP(sizes)
    params, x, y = problem(mlp)
    x_device, y_device = backend.to_device(x), backend.to_device(y)

    def sums(host: HostParams) -> tuple[float, Params]:
        piece = Piece(x_device, y_device)
        params = to_device(backend, host)
        result = piece_gradient(mlp, params, piece, scale=1 / len(x), xp=backend.xp)
        return float(backend.to_host(result["loss"])), {name: result[name] for name in host}

    gradients = sums(params)[1]
    expected = central_differences(lambda host: sums(host)[0], params)
    assert gradients.keys() == params.keys()
    for name, numeric in expected.items():
        np.testing.assert_allclose(backend.to_host(gradients[name]), numeric, rtol=1e-6, atol=1e-9)


def test_slices_add_up_to_the_batch(backend: Backend) -> None:
    mlp = MLP((5, 4, 6, 3))
    params, x, y = problem(mlp, examples=40)
    device_params = to_device(backend, params)
    x_device, y_device = backend.to_device(x), backend.to_device(y)

    def sums(start: int, stop: int) -> Sums:
        piece = Piece(x_device[start:stop, ...], y_device[start:stop])
        return piece_gradient(mlp, device_params, piece, scale=1 / 40, xp=backend.xp)

    whole = sums(0, 40)
    parts = sums(0, 17)
    parts.add(sums(17, 18))
    parts.add(sums(18, 40))
    np.testing.assert_allclose(
        backend.to_host(parts["loss"]), backend.to_host(whole["loss"]), rtol=1e-13
    )
    assert int(backend.to_host(parts["correct"])) == int(backend.to_host(whole["correct"]))
    for name in params:
        np.testing.assert_allclose(
            backend.to_host(parts[name]),
            backend.to_host(whole[name]),
            rtol=1e-12,
            atol=1e-15,
        )


def test_stack_equals_its_models(backend: Backend) -> None:
    mlp = MLP((5, 4, 6, 3))
    _, x, y = problem(mlp)
    models = [mlp.init(np.random.default_rng(seed)) for seed in range(3)]
    stacked = {name: np.stack([model[name] for model in models]) for name in models[0]}
    x_device, y_device = backend.to_device(x), backend.to_device(y)

    def sums(params: HostParams) -> Sums:
        piece = Piece(x_device, y_device)
        device = to_device(backend, params)
        return piece_gradient(mlp, device, piece, scale=1 / len(x), xp=backend.xp)

    together = sums(stacked)
    assert together["loss"].shape == (3,)
    for k, model in enumerate(models):
        alone = sums(model)
        np.testing.assert_allclose(
            backend.to_host(together["loss"])[k], backend.to_host(alone["loss"]), rtol=1e-12
        )
        assert backend.to_host(together["correct"])[k] == backend.to_host(alone["correct"])
        for name in model:
            np.testing.assert_allclose(
                backend.to_host(together[name])[k],
                backend.to_host(alone[name]),
                rtol=1e-12,
                atol=1e-15,
            )


def test_caller_keeps_its_arrays_and_its_dtype(make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    mlp = MLP((5, 4, 3))
    params, x, y = problem(mlp)
    given = to_device(backend, params) | {"x": backend.to_device(x), "y": backend.to_device(y)}
    before = {name: backend.to_host(array) for name, array in given.items()}
    own = {name: given[name] for name in params}
    piece = Piece(given["x"], given["y"])
    result = piece_gradient(mlp, own, piece, scale=1 / 7, xp=backend.xp)
    assert result["loss"].dtype == backend.dtype
    assert all(result[name].dtype == backend.dtype for name in params)
    for name, array in given.items():
        np.testing.assert_array_equal(backend.to_host(array), before[name])


def test_parameter_count_is_that_of_the_arrays() -> None:
    mlp = MLP((784, 64, 10))
    assert mlp.parameter_count == 50_890
    assert mlp.parameter_count == sum(a.size for a in mlp.init(np.random.default_rng(0)).values())


def test_xavier_weights_have_their_range_and_biases_are_zero() -> None:
    params = MLP((100, 50, 10)).init(np.random.default_rng(0))
    limit = np.sqrt(6 / 150)
    assert 0.98 * limit < np.abs(params["layer1.weight"]).max() <= limit
    assert not params["layer1.bias"].any()


@pytest.mark.parametrize("sizes", [(4,), (4, 0, 2)])
def test_sizes_without_meaning_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="layer sizes"):
        MLP(sizes)


@pytest.mark.parametrize(
    ("mlp", "said"),
    [
        (MLP((4, 3)), "4-3, linear"),
        (MLP((4, 5, 3), "tanh"), "4-5-3, tanh"),
        (MLP((4, 5, 6, 3), ("relu", "relu")), "4-5-6-3, relu"),
        (MLP((4, 5, 6, 3), ("relu", "tanh")), "4-5-6-3, relu, tanh"),
        (
            StackedMLP((4, 5, 3), "tanh", model_activations=("relu", "tanh", "relu")),
            "4-5-3, relu, tanh",
        ),
    ],
)
def test_a_network_says_what_it_is(mlp: MLP, said: str) -> None:
    assert str(mlp) == said


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'sigmoyd' is not known: choose from .*sigmoid"):
        MLP((4, 3, 2), activation="sigmoyd")
    with pytest.raises(UsageError, match=r"'zavier' is not known: choose from .*xavier"):
        MLP((4, 3, 2)).init(np.random.default_rng(0), "zavier")

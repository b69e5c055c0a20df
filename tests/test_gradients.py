"""Every activation with every loss and penalty, for one model and for a stack."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from central_differences import central_differences
from stacks import stack_of, to_device, to_host

from xpmlp.arrays import Params
from xpmlp.backends import Backend, select_backend
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.initializers import HostParams
from xpmlp.mathematics.losses import LOSSES
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.products import Sums
from xpmlp.mathematics.step import Piece, piece_gradient

PENALTIES = {
    "no penalty": Penalty(),
    "l2": Penalty(l2=0.3),
    "l1": Penalty(l1=0.2),
    "l1 and l2": Penalty(l2=0.3, l1=0.2),
}


def random_params(mlp: MLP, seed: int) -> HostParams:
    """Weights and biases of a size at which all units are in use."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=array.shape) for name, array in mlp.init(rng).items()}


def loss_and_gradients_of(
    mlp: MLP, params: HostParams, x: np.ndarray, y: np.ndarray, penalty: Penalty, backend: Backend
) -> tuple[np.ndarray, Params]:
    """Mean loss with penalty, and gradients, from pieces of five examples and a short one."""
    backend.piece_size = 5
    n, device = len(x), to_device(backend, params)
    x, y = backend.to_device(x), backend.to_device(y)
    sums = backend.sum_over_examples(
        lambda rows: piece_gradient(
            mlp, device, Piece(x[rows, ...], y[rows, ...]), scale=1 / n, xp=backend.xp
        ),
        n,
    )
    penalty.penalize(sums, device, scale=1 / n, xp=backend.xp)
    sums.multiply_out()
    gradients = {name: sums[name] for name in params}
    return backend.to_host(sums["loss"] + penalty.loss(device, xp=backend.xp)), gradients


@pytest.mark.parametrize("models", [1, 3], ids=["single", "stack of 3"])
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize(("activation", "loss"), list(product(ACTIVATIONS, LOSSES)))
def test_gradients_equal_central_differences(
    activation: str, loss: str, penalty: Penalty, models: int
) -> None:
    backend = select_backend("cpu", "float64")
    mlp = MLP((4, 5, 3, 3), activation, loss)
    members = [random_params(mlp, seed) for seed in range(models)]
    params = members[0] if models == 1 else stack_of(members)
    rng = np.random.default_rng(9)
    x = rng.normal(size=(7, 4))
    y = rng.integers(3, size=7) if loss == "cross_entropy" else rng.normal(size=(7, 3))

    def total_loss(moved: HostParams) -> float:
        return float(loss_and_gradients_of(mlp, moved, x, y, penalty, backend)[0].sum())

    gradients = loss_and_gradients_of(mlp, params, x, y, penalty, backend)[1]
    for name, numeric in central_differences(total_loss, params, step=1e-5).items():
        scale = np.sqrt(np.mean(numeric**2))
        np.testing.assert_allclose(gradients[name], numeric, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize(("activation", "loss"), list(product(ACTIVATIONS, LOSSES)))
def test_every_backend_has_the_same_gradients(backend: Backend, activation: str, loss: str) -> None:
    mlp, penalty = MLP((4, 5, 3, 3), activation, loss), Penalty(l2=0.3, l1=0.2)
    params = stack_of([random_params(mlp, seed) for seed in range(3)])
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(7, 4)), rng.integers(3, size=7)
    reference = select_backend("cpu", "float64")
    expected = loss_and_gradients_of(mlp, params, x, y, penalty, reference)
    found = loss_and_gradients_of(mlp, params, x, y, penalty, backend)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-13)
    for name, array in to_host(backend, found[1]).items():
        # JAX rounds exponentials otherwise: what cancels is as exact as what it is made of.
        size = np.abs(expected[1][name]).max() if backend.name == "jax" else 1.0
        np.testing.assert_allclose(array, expected[1][name], rtol=1e-11, atol=1e-14 * size)


def test_one_activation_each_layer() -> None:
    mlp = MLP((4, 5, 3, 3), ("tanh", "relu"))
    params, backend = random_params(mlp, 0), select_backend("cpu", "float64")
    x = np.random.default_rng(1).normal(size=(7, 4))
    outputs, _ = mlp.forward(params, x, xp=backend.xp)
    h = np.tanh(x @ params["layer1.weight"] + params["layer1.bias"])
    h = np.maximum(h @ params["layer2.weight"] + params["layer2.bias"], 0)
    expected = h @ params["layer3.weight"] + params["layer3.bias"]
    np.testing.assert_allclose(outputs, expected, rtol=1e-13)


def test_penalty_by_hand(backend: Backend) -> None:
    # ½ · 0.5 · (9 + 16) + 0.1 · (3 + 4) = 6.95; gradient 0.5 w + 0.1 sign w; 0 at 0
    params = {
        "layer1.weight": backend.to_device(np.array([[3.0, -4.0, 0.0]])),
        "layer1.bias": backend.to_device(np.array([5.0, 5.0, 5.0])),
    }
    penalty = Penalty(l2=0.5, l1=0.1)
    loss = backend.to_host(penalty.loss(params, xp=backend.xp))
    assert float(loss) == pytest.approx(6.95, rel=1e-14)
    sums = Sums({n: backend.xp.zeros_like(w) for n, w in params.items()}, xp=backend.xp)
    penalty.penalize(sums, params, scale=1.0, xp=backend.xp)
    sums.multiply_out()
    gradients = to_host(backend, sums)
    np.testing.assert_allclose(gradients["layer1.weight"], [[1.6, -2.1, 0.0]], rtol=1e-14)
    np.testing.assert_array_equal(gradients["layer1.bias"], [0, 0, 0])

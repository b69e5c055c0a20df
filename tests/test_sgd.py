from __future__ import annotations

import numpy as np

from xpmlp import SGD
from xpmlp.backends import Backend


def test_step_by_hand(backend: Backend) -> None:
    # w ← w − α g: 3 − 0.5 · 4 = 1
    params = {"layer1.weight": backend.to_device(np.array([[3.0]]))}
    gradients = {"layer1.weight": backend.to_device(np.array([[4.0]]))}
    params, _ = SGD().update(params, gradients, {}, learning_rate=0.5, xp=backend.xp)
    np.testing.assert_array_equal(backend.to_host(params["layer1.weight"]), [[1.0]])


def test_one_learning_rate_a_model(backend: Backend) -> None:
    shapes = {"layer1.weight": (2, 3, 4), "layer1.bias": (2, 4)}
    params = {name: backend.to_device(np.ones(shape)) for name, shape in shapes.items()}
    gradients = {name: backend.to_device(np.ones(shape)) for name, shape in shapes.items()}
    rates = backend.to_device(np.array([0.25, 0.5]))
    params, _ = SGD().update(params, gradients, {}, learning_rate=rates, xp=backend.xp)
    for name, shape in shapes.items():
        updated = backend.to_host(params[name])
        assert updated.shape == shape
        assert (updated[0] == 0.75).all()
        assert (updated[1] == 0.5).all()

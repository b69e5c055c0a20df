"""Numeric gradients, for comparison with backpropagation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

HostParams = dict[str, np.ndarray]


def central_differences(
    loss: Callable[[HostParams], float], params: HostParams, step: float = 1e-6
) -> HostParams:
    """∂C/∂θ_i ≈ (C(θ_i + h) − C(θ_i − h)) / 2h for every entry of every parameter."""
    gradients = {name: np.zeros_like(array) for name, array in params.items()}
    for name, array in params.items():
        for index in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = {key: value.copy() for key, value in params.items()}
                moved[name][index] += sign * step
                values.append(loss(moved))
            gradients[name][index] = (values[0] - values[1]) / (2 * step)
    return gradients

"""Activation functions f and their derivatives, written in terms of the output a = f(z).

Every f used here is monotonic where it matters, so a determines f′: nothing but the
output has to be kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xpmlp.arrays import Array, Namespace


class Activation(NamedTuple):
    """f: `function(z, xp=xp)` → a, and f′: `derivative(a, xp=xp)` from that output."""

    function: Callable[..., Array]
    derivative: Callable[..., Array]


def sigmoid(z: Array, *, xp: Namespace) -> Array:
    """σ(z) = 1 / (1 + e^−z)."""
    # ½ (1 + tanh(z/2)) is the same function, cannot overflow, and takes fewer passes.
    a = xp.tanh(0.5 * z)
    a += 1.0
    a *= 0.5
    return a


def sigmoid_derivative(a: Array, *, xp: Namespace) -> Array:
    """σ′(z) = a (1 − a) with a = σ(z)."""
    slope = 1.0 - a
    slope *= a
    return slope


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
}

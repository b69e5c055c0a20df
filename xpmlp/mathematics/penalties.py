"""Penalties on the size of weights; biases are free."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from numbers import Real

from xpmlp.arrays import Array, Namespace, Params, is_weight, plain
from xpmlp.errors import UsageError
from xpmlp.mathematics.products import Decayed, Sums, accumulate, multiplied


@dataclass(frozen=True)
class Penalty:
    """R = Σ_W (½ l2 ‖W‖² + l1 |W|₁), added once to the mean loss of a batch.

    Strengths are numbers, or arrays (models,) for a stack. Raises `UsageError` for a negative one.
    """

    l2: float | Array = 0.0
    l1: float | Array = 0.0

    def __post_init__(self) -> None:
        for name in ("l2", "l1"):
            value = getattr(self, name)
            if isinstance(value, Real) and not 0 <= float(value) < inf:
                raise UsageError(f"{name} is {value!r}: choose a number from 0 up")

    def loss(self, params: Params, *, xp: Namespace) -> float | Array:
        """Return R, one value per model."""
        total: float | Array = 0.0
        for w in _weights(params).values():
            if is_on(self.l2):
                squares = xp.sum(xp.vecdot(w, w, axis=-1), axis=-1)
                total = total + 0.5 * plain(self.l2) * squares
            if is_on(self.l1):
                total = total + plain(self.l1) * xp.sum(xp.abs(w), axis=(-2, -1))
        return total

    def penalize(self, sums: Sums, params: Params, *, scale: float | Array, xp: Namespace) -> None:
        """Add ∂R/∂W = l2 W + l1 sign(W) to the gradients; the loss stays that of the data alone.

        `scale` is what the sum of the batch's losses was multiplied by.
        """
        for name, w in _weights(params).items():
            if is_on(self.l1):
                # Two comparisons: the sign functions of some libraries mask with booleans.
                sign = xp.astype(w > 0, w.dtype) - xp.astype(w < 0, w.dtype)
                sums[name] = accumulate(multiplied(sums[name], xp=xp), sign, alpha=self.l1, xp=xp)
            if is_on(self.l2):
                sums[name] = Decayed(sums[name], w, self.l2)


def _weights(params: Params) -> Params:
    return {name: array for name, array in params.items() if is_weight(name)}


def is_on(strength: float | Array) -> bool:
    """Tell whether a strength can matter: an array is not looked into."""
    return not (isinstance(strength, Real) and strength == 0)

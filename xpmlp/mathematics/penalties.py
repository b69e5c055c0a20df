"""Penalties on the size of weights; biases are free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Self

from xpmlp.arrays import Array, Namespace, Params, is_weight, per_model, plain
from xpmlp.mathematics.products import Decayed, Gradient, multiplied


@dataclass(frozen=True)
class Penalty:
    """R = Σ_W (½ l2 ‖W‖² + l1 |W|₁), added once to the mean loss of a batch.

    Strengths are numbers, or arrays (models,) for a stack. With `shared` R is divided by the
    batch's number of examples (the sum of their weights), as scikit-learn's MLPs do: they add
    it to the sum of the losses before they take the mean.
    """

    l2: float | Array = 0.0
    l1: float | Array = 0.0
    shared: bool = False

    def in_a_batch(self, scale: float | Array) -> Self:
        """Return the penalty on the mean loss of a batch, which is `scale` times its sum."""
        if not self.shared:
            return self
        return replace(self, l2=plain(self.l2) * scale, l1=plain(self.l1) * scale, shared=False)

    def loss(self, params: Params, *, xp: Namespace) -> float | Array:
        """Return R, one value a model."""
        total: float | Array = 0.0
        for w in _weights(params).values():
            if is_on(self.l2):
                squares = xp.sum(xp.vecdot(w, w, axis=-1), axis=-1)
                total = total + 0.5 * plain(self.l2) * squares
            if is_on(self.l1):
                total = total + plain(self.l1) * xp.sum(xp.abs(w), axis=(-2, -1))
        return total

    def added_to(
        self, gradients: Mapping[str, Gradient], params: Params, *, xp: Namespace
    ) -> dict[str, Gradient]:
        """Return gradients with ∂R/∂W = l2 W + l1 sign(W); their arrays are used up."""
        total = dict(gradients)
        for name, w in _weights(params).items():
            if is_on(self.l1):
                # Two comparisons: the sign functions of some libraries mask with booleans.
                sign = xp.astype(w > 0, w.dtype) - xp.astype(w < 0, w.dtype)
                g = multiplied(total[name], xp=xp)
                g += per_model(self.l1, like=w, xp=xp) * sign
                total[name] = g
            if is_on(self.l2):
                total[name] = Decayed(total[name], w, self.l2)
        return total


def _weights(params: Params) -> Params:
    return {name: array for name, array in params.items() if is_weight(name)}


def is_on(strength: float | Array) -> bool:
    """Tell whether a strength can matter: an array is not looked into."""
    return not (isinstance(strength, Real) and strength == 0)

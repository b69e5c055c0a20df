"""Optimisers: a pair of pure functions, `init` for the state and `update` for a step.

`update` may change the arrays of the parameters and of the state in place (and returns
them): they belong to the training, and a pass over memory is saved. Gradients are its to use up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from xpmlp.arrays import Array, Namespace, Params

# Moments by name ("velocity", ...), each with an array under every parameter's name.
OptimizerState = dict[str, Params]


class Optimizer(Protocol):
    """What training needs of an optimiser."""

    def init(self, params: Params, *, xp: Namespace) -> OptimizerState:
        """Return the state before the first step."""
        ...

    def update(
        self,
        params: Params,
        gradients: Params,
        state: OptimizerState,
        *,
        learning_rate: float | Array,
        xp: Namespace,
    ) -> tuple[Params, OptimizerState]:
        """Return parameters and state after one step; their arrays may be changed in place."""
        ...


@dataclass(frozen=True)
class SGD:
    """Gradient descent on a batch: w ← w − α ∂C/∂w."""

    def init(self, params: Params, *, xp: Namespace) -> OptimizerState:
        """Return an empty state: nothing is remembered between steps."""
        return {}

    def update(
        self,
        params: Params,
        gradients: Params,
        state: OptimizerState,
        *,
        learning_rate: float | Array,
        xp: Namespace,
    ) -> tuple[Params, OptimizerState]:
        """Return w − α g for every parameter; α a number, or an array (models,) for a stack."""
        updated = {}
        for name, w in params.items():
            g = gradients[name]
            g *= per_model(learning_rate, like=w, xp=xp)
            w -= g
            updated[name] = w
        return updated, state


def per_model(value: float | Array, *, like: Array, xp: Namespace) -> float | Array:
    """Shape one value a model, (models,), so that it broadcasts against (models, ...)."""
    if isinstance(value, float | int) or value.ndim == 0:
        return value
    return xp.reshape(value, value.shape + (1,) * (like.ndim - value.ndim))


OPTIMIZERS: dict[str, type[SGD]] = {"sgd": SGD}

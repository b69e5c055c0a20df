"""What is right for a network and a batch, by the one mathematics, and with some of it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpmlp.backends import select_backend
from xpmlp.mathematics.activations import ACTIVATIONS, Activation
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.products import product
from xpmlp.teach.layout import Params
from xpmlp.training.hidden import hidden_layers

Delta = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Truth:
    """Outputs, loss and gradients of a batch: x (N, F), y (N, K) as rows, in float64."""

    def __init__(self, mlp: MLP, params: Params, x: np.ndarray, y: np.ndarray) -> None:
        self.mlp, self.params, self.x, self.y = mlp, params, x, y
        self.xp = select_backend("cpu", "float64").xp
        self.count = len(x)
        self.outputs = self.outputs_of(mlp)
        self.predicted = mlp.loss_function.link.function(self.outputs, xp=self.xp)
        loss, _ = mlp.loss_function(self.outputs, y, xp=self.xp, scale=1.0 / self.count)
        self.loss = float(loss)
        self.gradients = self.gradients_with()

    @property
    def backwards(self) -> list[str]:
        """The names of the parameters in the order in which their gradients are made."""
        return [
            f"layer{layer}.{part}"
            for layer in range(self.mlp.layers, 0, -1)
            for part in ("weight", "bias")
        ]

    def hidden(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return z and h of each hidden layer."""
        return hidden_layers(self.mlp, self.params, self.x, xp=self.xp)

    def outputs_of(self, mlp: MLP, params: Params | None = None) -> np.ndarray:
        """Return the outputs of another network, or with other parameters."""
        outputs, _ = mlp.forward(dict(params or self.params), self.x, xp=self.xp)
        return np.array(outputs)

    def with_activations(self, activations: dict[int, Activation]) -> MLP:
        """Return the network with others in some hidden layers, counted from 1."""
        mlp = MLP(self.mlp.sizes, self.mlp.activation, self.mlp.loss)
        own = [activations.get(k, f) for k, f in enumerate(self.mlp.activations, start=1)]
        mlp.__dict__["activations"] = tuple(own)
        return mlp

    def gradients_with(
        self,
        mlp: MLP | None = None,
        delta: Delta | None = None,
        multiply: Callable[[str, Any, np.ndarray, Params], np.ndarray] | None = None,
        below: Callable[[Params], None] | None = None,
    ) -> Params:
        """Return the gradients with some of it done in another way.

        `delta(δ, outputs)` is another error term of the outputs, `multiply(name, h, δ, params)` the
        gradient of a parameter, and `below(params)` changes the weights that δ goes down through.
        """
        mlp, params = mlp or self.mlp, {name: w.copy() for name, w in self.params.items()}
        outputs, backprop = mlp.forward(params, self.x, xp=self.xp)
        _, d = mlp.loss_function(outputs, self.y, xp=self.xp, scale=1.0 / self.count)
        if delta is not None:
            d = delta(np.array(d), np.array(outputs))
        if below is not None:
            below(params)
        names = iter(self.backwards)

        def made(h: Any, error: np.ndarray) -> np.ndarray:
            name = next(names)
            if multiply is None:
                return self.usual(h, error)
            return multiply(name, h, error, params)

        return {name: np.array(g) for name, g in backprop(np.array(d), made).items()}

    def usual(self, h: Any, error: np.ndarray) -> np.ndarray:
        """Return the gradient as it is made."""
        found: np.ndarray = product(h, error, xp=self.xp)
        return found


def other_activations(truth: Truth) -> Iterator[tuple[str, np.ndarray]]:
    """Return the outputs with each other activation in the hidden layers."""
    for name, f in ACTIVATIONS.items():
        if f not in truth.mlp.activations:
            every = dict.fromkeys(range(1, truth.mlp.layers), f)
            yield name, truth.outputs_of(truth.with_activations(every))

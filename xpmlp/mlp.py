"""The network: initial parameters, the forward pass, and the backward pass it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from xpmlp.activations import ACTIVATIONS
from xpmlp.arrays import Array, Namespace, Params
from xpmlp.errors import UsageError
from xpmlp.initializers import INITIALIZERS

Backprop = Callable[[Array], Params]


@dataclass(frozen=True)
class MLP:
    """A fully connected network: hidden layers h = f(h W + b), an output layer of logits.

    `sizes` is (features, hidden units ..., outputs); layer l has the parameters
    "layer{l}.weight" (fan_in, fan_out) and "layer{l}.bias" (fan_out,), counted from 1.
    Leading axes of the parameters are independent models: the same functions train a stack.
    """

    sizes: tuple[int, ...]
    activation: str = "sigmoid"

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise UsageError(f"layer sizes {self.sizes} need an input, an output and no zeros")
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UsageError(f"activation {self.activation!r} is not known: choose from {known}")

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, {self.activation}"

    @property
    def layers(self) -> int:
        """Number of layers with parameters."""
        return len(self.sizes) - 1

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases: Σ_l (fan_in + 1) fan_out."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.sizes))

    def init(self, rng: np.random.Generator, initializer: str = "xavier") -> dict[str, np.ndarray]:
        """Draw the initial parameters on the host; biases are zero."""
        if initializer not in INITIALIZERS:
            known = ", ".join(INITIALIZERS)
            raise UsageError(f"initialiser {initializer!r} is not known: choose from {known}")
        params = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.sizes), start=1):
            params[f"layer{layer}.weight"] = INITIALIZERS[initializer](rng, fan_in, fan_out)
            params[f"layer{layer}.bias"] = np.zeros(fan_out)
        return params

    def forward(self, params: Params, x: Array, *, xp: Namespace) -> tuple[Array, Backprop]:
        """Return the logits (..., N, outputs) of x (..., N, features), and backprop.

        `backprop(dlogits)` takes δ = ∂C/∂logits and returns ∂C/∂parameter under the
        parameters' names, from the layer above to the one below:

            ∂C/∂W = hᵀ δ,   ∂C/∂b = Σ_n δ_n,   δ ← (δ Wᵀ) ⊙ f′(z)

        with h the layer's input. The activations live in that closure and nowhere else.
        """
        f = ACTIVATIONS[self.activation]
        inputs = [x]
        for layer in range(1, self.layers):
            z = _affine(params, layer, inputs[-1], xp)
            inputs.append(f.function(z, xp=xp))
        logits = _affine(params, self.layers, inputs[-1], xp)

        def backprop(dlogits: Array) -> Params:
            gradients: Params = {}
            delta = dlogits
            for layer in range(self.layers, 0, -1):
                h = inputs[layer - 1]
                gradients[f"layer{layer}.weight"] = xp.matmul(xp.matrix_transpose(h), delta)
                gradients[f"layer{layer}.bias"] = xp.sum(delta, axis=-2)
                if layer > 1:  # nobody asks for the gradient with respect to x
                    weight = params[f"layer{layer}.weight"]
                    delta = xp.matmul(delta, xp.matrix_transpose(weight))
                    delta *= f.derivative(h, xp=xp)
            return gradients

        return logits, backprop


def _affine(params: Params, layer: int, h: Array, xp: Namespace) -> Array:
    """z = h W + b."""
    z = xp.matmul(h, params[f"layer{layer}.weight"])
    z += xp.expand_dims(params[f"layer{layer}.bias"], axis=-2)
    return z

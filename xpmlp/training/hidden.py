"""What hidden layers make of examples, to look at."""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.mathematics.mlp import MLP, of_layer


def hidden_layers(
    mlp: MLP, params: Params, x: Array, *, xp: Namespace
) -> list[tuple[Array, Array]]:
    """Return z and a = f(z) (..., N, units) of every hidden layer."""
    found: list[tuple[Array, Array]] = []
    for layer, f in enumerate(mlp.activations, start=1):
        w, b = of_layer(params, layer)
        z = xp.matmul(found[-1][1] if found else x, w) + b
        found.append((z, f.function(z, xp=xp)))
    return found

"""What hidden layers make of examples, to look at."""

from __future__ import annotations

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.mathematics.mlp import MLP, weighted_sum


def hidden_layers(
    mlp: MLP, params: Params, x: Array, *, xp: Namespace
) -> list[tuple[Array, Array]]:
    """Return z and a = f(z) (..., N, units) of every hidden layer."""
    found: list[tuple[Array, Array]] = []
    for layer, f in enumerate(mlp.activations, start=1):
        z = weighted_sum(params, layer, found[-1][1] if found else x, xp)
        found.append((z, f.function(z, xp=xp)))
    return found

"""Where a training that is no longer finite began to go wrong."""

from __future__ import annotations

from xpmlp.arrays import Array, Params
from xpmlp.backends import Backend
from xpmlp.data.batches import Draw
from xpmlp.mathematics.mlp import MLP
from xpmlp.training.hidden import hidden_layers


def first_bad_layer(mlp: MLP, params: Params, drawn: Draw, backend: Backend) -> str:
    """Name where the forward pass of a batch stops being finite."""

    def finite(array: Array) -> bool:
        here = bool(backend.to_host(xp.all(xp.isfinite(array))))
        return backend.ranks.largest(0.0 if here else 1.0) == 0  # of rows that another rank has

    xp = backend.xp
    with backend.computing():
        batch = drawn.data.batch(drawn.rows, xp=xp)
        x = batch.read(slice(0, min(batch.size, backend.piece_size))).x
        if not finite(x):
            return "the features"
        hidden = [a for _, a in hidden_layers(mlp, params, x, xp=xp)]
        outputs, _ = mlp.forward(params, x, xp=xp)
        for layer, values in enumerate([*hidden, outputs], start=1):
            for kind in ("weight", "bias"):
                if not finite(params[f"layer{layer}.{kind}"]):
                    return f"layer{layer}.{kind}"
            if not finite(values):
                return f"the outputs of layer {layer}"
    return "the loss"


def divergence_sentence(what: str, step: int, learning_rate: float, where: str) -> str:
    """Say what has gone wrong, since when, with which learning rate, and where it began."""
    return (
        f"{what} at step {step} with learning rate {learning_rate:g}; it began in {where}: choose "
        "a smaller learning rate, or scale the features"
    )

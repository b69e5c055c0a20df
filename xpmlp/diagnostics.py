"""Is this network learning? Gradient norms, saturated and dead units, sizes of updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.backends import Backend
from xpmlp.data.source import Source
from xpmlp.mlp import MLP
from xpmlp.optimizers import Optimizer
from xpmlp.penalties import Penalty
from xpmlp.training import Sums, TrainingState, loss_and_gradients

# A unit is flat at an example where its slope is below this share of the steepest.
_FLAT = 0.01


@dataclass(frozen=True)
class LayerDiagnostics:
    """What was seen in one layer, on the examples given.

    `gradient_norm` is ‖∂C/∂W‖ and `update_ratio` ‖Δw‖/‖w‖ of the weights in the next step,
    healthy near 10⁻³. `saturated` is the share of (example, unit) pairs where f′(z) is below
    1 % of its largest value (for ReLU: off), `dead` the share of units where that holds for
    every example; both are None for the output layer.
    """

    layer: int
    gradient_norm: float
    update_ratio: float
    saturated: float | None
    dead: float | None


def diagnose(
    mlp: MLP,
    state: TrainingState,
    examples: Source,
    *,
    optimizer: Optimizer,
    learning_rate: float,
    backend: Backend,
    penalty: Penalty | None = None,
) -> list[LayerDiagnostics]:
    """Look at every layer of a network in training; costs one step on the examples.

    Examples are on the backend's device: a thousand or so are enough. The state is left as it
    is: the update is taken on copies.
    """
    n, xp = len(examples), backend.xp
    batch = examples.whole(backend)

    def gradient_sums(piece: slice) -> Sums:
        x, y = batch.read(piece)
        return loss_and_gradients(mlp, state.params, x, y, examples=n, xp=xp)

    def flat_counts(piece: slice) -> _FlatCounts:
        outputs = mlp.hidden_outputs(state.params, batch.read(piece)[0], xp=xp)
        counts = []
        for f, a in zip(mlp.activations, outputs, strict=True):
            flat = f.derivative(a, xp=xp) < _FLAT * f.steepest
            counts.append(xp.count_nonzero(flat, axis=-2))
        return _FlatCounts(counts)

    with backend.computing():
        gradients = backend.sum_over_examples(gradient_sums, n).gradients
        counts = backend.sum_over_examples(flat_counts, n).units
        if penalty is not None:
            penalty.add_gradients(gradients, state.params, xp=xp)
        norms = {name: _norm(g, backend) for name, g in gradients.items()}
        moved, _ = optimizer.update(
            _copies(state.params, xp),
            gradients,
            {kind: _copies(arrays, xp) for kind, arrays in state.optimizer_state.items()},
            learning_rate=learning_rate,
            xp=xp,
        )
        rows = []
        for layer in range(1, mlp.layers + 1):
            name = f"layer{layer}.weight"
            w = state.params[name]
            saturated, dead = None, None
            if layer < mlp.layers:
                flat, units = counts[layer - 1], mlp.sizes[layer]
                saturated = float(backend.to_host(xp.sum(flat))) / (n * units)
                dead = float(backend.to_host(xp.count_nonzero(flat == n))) / units
            ratio = _norm(moved[name] - w, backend) / (_norm(w, backend) or 1.0)
            rows.append(LayerDiagnostics(layer, norms[name], ratio, saturated, dead))
    return rows


@dataclass
class _FlatCounts:
    """For every hidden layer: at how many examples each unit is flat."""

    units: list[Array]

    def __iadd__(self, other: Self) -> Self:
        for mine, more in zip(self.units, other.units, strict=True):
            mine += more
        return self


def _norm(array: Array, backend: Backend) -> float:
    xp = backend.xp
    return float(backend.to_host(xp.sqrt(xp.sum(array * array))))


def _copies(arrays: Params, xp: Namespace) -> Params:
    return {name: xp.asarray(array, copy=True) for name, array in arrays.items()}

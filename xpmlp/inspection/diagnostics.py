"""Is this network learning? Gradient norms, saturated and dead units, sizes of updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from xpmlp.arrays import Array, Namespace, copied, is_weight
from xpmlp.backends import Backend, Summable
from xpmlp.data.source import Source
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.products import multiplied
from xpmlp.training.steps import Sums, TrainingState, check_shared_out, loss_and_gradients

# A unit is flat at an example where its slope is below this share of the steepest.
_FLAT = 0.01


@dataclass(frozen=True)
class LayerDiagnostics:
    """What was seen in one layer, on the examples given.

    `gradient_norm` is ‖∂C/∂W‖ and `update_ratio` ‖Δw‖/‖w‖ of the weights in the next step,
    healthy near 10⁻³. `saturated` is the share of (example, unit) pairs where f′(z) is below
    1 % of its largest value (for ReLU: off), `dead` the share of units where that holds for
    every example; both are None for the output layer. Of a stack each is a list, with a value
    a model.
    """

    layer: int
    gradient_norm: Any
    update_ratio: Any
    saturated: Any
    dead: Any


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
    check_shared_out(examples, backend)
    n, xp = len(examples), backend.xp
    batch = examples.whole(backend)

    def gradient_sums(piece: slice) -> Sums:
        x, y = batch.read(piece)
        weights = batch.weights_of(piece)
        return loss_and_gradients(mlp, state.params, x, y, scale=scale, weights=weights, xp=xp)

    def flat_counts(piece: slice) -> _FlatCounts:
        outputs = mlp.hidden_outputs(state.params, batch.read(piece)[0], xp=xp)
        counts = []
        for f, a in zip(mlp.activations, outputs, strict=True):
            flat = f.derivative(a, xp=xp) < _FLAT * f.steepest
            counts.append(xp.count_nonzero(flat, axis=-2))
        return _FlatCounts(counts)

    with backend.computing():
        scale = batch.scale(xp=xp)
        gradients = backend.sum_over_examples(gradient_sums, batch.size).gradients
        counts = backend.sum_over_examples(flat_counts, batch.size).units
        if penalty is not None:
            penalty = penalty.in_a_batch(scale)
            penalized = penalty.added_to(gradients, state.params, xp=xp)
            gradients = {name: multiplied(g, xp=xp) for name, g in penalized.items()}
        norms = {name: _norm(g, xp) for name, g in gradients.items() if is_weight(name)}
        moved, _ = optimizer.update(
            copied(state.params, xp=xp),
            gradients,
            {kind: copied(arrays, xp=xp) for kind, arrays in state.optimizer_state.items()},
            learning_rate=learning_rate,
            xp=xp,
        )
        rows = []
        for layer in range(1, mlp.layers + 1):
            name = f"layer{layer}.weight"
            w = state.params[name]
            ratio = _norm(moved[name] - w, xp) / _norm(w, xp)
            figures = [norms[name], ratio]
            if layer < mlp.layers:
                flat, units = counts[layer - 1], mlp.sizes[layer]
                dead = xp.count_nonzero(flat == n, axis=-1)
                figures.append(xp.astype(xp.sum(flat, axis=-1), w.dtype) / (n * units))
                figures.append(xp.astype(dead, w.dtype) / units)
            read = [backend.to_host(figure).tolist() for figure in figures]
            rows.append(LayerDiagnostics(layer, *read, *[None] * (4 - len(read))))
    return rows


@dataclass
class _FlatCounts(Summable):
    """For every hidden layer: at how many examples each unit is flat."""

    units: list[Array]

    def add(self, other: Self) -> None:
        """Add the counts over other examples."""
        for mine, more in zip(self.units, other.units, strict=True):
            mine += more

    def complete(self) -> None:
        """Nothing is put off."""

    def arrays(self) -> list[Array]:
        """A layer's counts, in order."""
        return self.units

    def take(self, arrays: list[Array]) -> None:
        """Take other counts."""
        self.units = arrays


def _norm(array: Array, xp: Namespace) -> Array:
    """‖W‖ of the last two axes."""
    return xp.sqrt(xp.sum(array * array, axis=(-2, -1)))

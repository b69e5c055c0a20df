"""Is this network learning? Gradient norms, saturated and dead units, sizes of updates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xpmlp.arrays import Array, Namespace, is_weight
from xpmlp.backends import Backend
from xpmlp.data.dataset import check_shared_out
from xpmlp.mathematics.products import Sums
from xpmlp.mathematics.step import Inputs, Step, Variables, gradient
from xpmlp.regularization import Regularization, placed, smoothed
from xpmlp.training.hidden import hidden_layers
from xpmlp.training.plan import Model
from xpmlp.training.state import copied_variables

# A unit is flat at an example where its slope is below this share of the steepest.
_FLAT = 0.01


@dataclass(frozen=True)
class LayerDiagnostics:
    """What was seen in one layer, on the examples given.

    `gradient_norm` is ‖∂C/∂W‖ and `update_ratio` ‖Δw‖/‖w‖ of the weights in the next step,
    healthy near 10⁻³. `saturated` is the share of (example, unit) pairs where f′(z) is below
    1 % of its largest value (for ReLU: off), `dead` the share of units where that holds for
    every example. `weight_norm` is ‖W‖, `deviation` that of the layer's outputs f(z) over examples
    and units. Those of activations are None for the output layer. Of a stack each is a list, with
    one value per model.
    """

    layer: int
    gradient_norm: Any
    update_ratio: Any
    weight_norm: Any
    saturated: Any = None
    dead: Any = None
    deviation: Any = None


def diagnose(
    model: Model,
    variables: Variables,
    examples: Any,
    *,
    backend: Backend,
    learning_rate: float | Array | None = None,
    momentum: float | Array | None = None,
) -> list[LayerDiagnostics]:
    """Look at every layer of a network in training; costs one step on the examples.

    `variables` are those of a training's state of `model`, which is left as it is: the update is
    taken on copies, with `learning_rate` and `momentum`, or the model's own, bounds of the weights
    and without noise. `examples` are on the backend's device: a thousand or so are enough. Raises
    `DataError` for examples that do not fit.

    >>> import xpmlp
    >>> model, data = xpmlp.Model(xpmlp.MLP((64, 30, 10))), xpmlp.load_data("digits")
    >>> training = xpmlp.Training(model, data, xpmlp.Plan(epochs=2))
    >>> state, backend = training.run(), training.backend
    >>> few = training.data.train.first(1000)
    >>> [row.layer for row in diagnose(model, state.variables, few, backend=backend)]
    [1, 2]
    """
    check_shared_out(examples, backend.ranks.count)
    share = model.regularization.label_smoothing
    mlp = replace(model.mlp, loss=smoothed(model.mlp.loss, [share]))
    params, xp, n = variables.params, backend.xp, len(examples)
    batch = examples.batch(xp=xp)
    bound = Regularization(max_norm=model.regularization.max_norm)
    rate = model.rate if learning_rate is None else learning_rate
    inputs = Inputs(rate, momentum=momentum)

    def of_activations(rows: slice) -> Sums:
        hidden, sums = hidden_layers(mlp, params, batch.read(rows).x, xp=xp), {}
        for k, (f, (z, a)) in enumerate(zip(mlp.activations, hidden, strict=True), start=1):
            flat = xp.abs(f.slope(z, xp=xp)) < _FLAT * f.steepest
            sums[f"flat{k}"] = xp.count_nonzero(flat, axis=-2)
            sums[f"sum{k}"] = xp.sum(a, axis=(-2, -1))
            sums[f"squares{k}"] = xp.sum(a * a, axis=(-2, -1))
        return Sums(sums, xp=xp)

    add_up = backend.sum_over_examples
    with backend.computing():
        gradients = gradient(mlp, params, batch, xp=xp, add_up=add_up, penalty=model.penalty)
        gradients.multiply_out()
        norms = {name: _norm(gradients[name], xp) for name in params if is_weight(name)}
        sums = add_up(of_activations, batch.size)
        own = copied_variables(variables, xp=xp)
        after = placed([bound], mlp.sizes[0], like=params["layer1.weight"], xp=xp)
        step = Step(mlp, model.optimizer, model.penalty, after)
        moved, _ = step(own, examples, inputs, xp=xp, add_up=add_up)
        rows = []
        for layer in range(1, mlp.layers + 1):
            name = f"layer{layer}.weight"
            w = params[name]
            norm = _norm(w, xp)
            figures = [norms[name], _norm(moved.params[name] - w, xp) / norm, norm]
            if layer < mlp.layers:
                flat, units = sums[f"flat{layer}"], mlp.sizes[layer]
                dead = xp.count_nonzero(flat == n, axis=-1)
                mean = sums[f"sum{layer}"] / (n * units)
                variance = sums[f"squares{layer}"] / (n * units) - mean * mean
                figures.append(xp.astype(xp.sum(flat, axis=-1), w.dtype) / (n * units))
                figures.append(xp.astype(dead, w.dtype) / units)
                figures.append(xp.sqrt(xp.maximum(variance, 0.0)))
            rows.append(
                LayerDiagnostics(layer, *(backend.to_host(figure).tolist() for figure in figures))
            )
    return rows


def _norm(array: Array, xp: Namespace) -> Array:
    """‖W‖ of the last two axes."""
    return xp.sqrt(xp.sum(array * array, axis=(-2, -1)))

"""What a trained network says of examples, one by one: to count, and to look at the mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpmlp.arrays import Array, Params
from xpmlp.backends import Backend, select_backend
from xpmlp.data.targets import Targets
from xpmlp.errors import UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.training.evaluation import check_fit, evaluate

# The smallest probability whose logarithm is taken: float64's smallest normal number.
_TINY = 2.3e-308


@dataclass(frozen=True)
class Compared:
    """What was predicted (N, outputs), probabilities or values, beside what is true, on the host.

    `targets` are class ids (N,), or rows (N, outputs). Values are in their own unit.
    """

    predicted: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Predictions:
    """Class probabilities (N, C) and true class ids (N,) of examples, on the host."""

    probabilities: np.ndarray
    targets: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The most probable class of each example."""
        found: np.ndarray = self.probabilities.argmax(axis=1)
        return found

    def confusion(self) -> np.ndarray:
        """Return how many examples of class i (row) were taken for class j (column)."""
        count = self.probabilities.shape[1]
        matrix = np.zeros((count, count), dtype=np.int64)
        np.add.at(matrix, (self.targets, self.classes), 1)
        return matrix

    def worst(self, count: int) -> np.ndarray:
        """Return the numbers of the mistakes with the largest losses −ln a_target, worst first."""
        of_target = self.probabilities[np.arange(len(self.targets)), self.targets]
        losses = -np.log(np.maximum(of_target, _TINY))
        order = np.argsort(-losses, kind="stable")
        mistakes: np.ndarray = order[self.classes[order] != self.targets[order]][:count]
        return mistakes


def predict(mlp: MLP, params: Params, examples: Any, *, backend: Backend) -> Predictions:
    """Return what a network predicts for examples with class ids, a piece at a time.

    `params` and `examples` are on the backend's device. Raises `DataError` for examples that do
    not fit the network, `UsageError` for a regression.
    """
    if not mlp.loss_function.one_class:
        raise UsageError(f"a network trained on {mlp.loss} gives no class probabilities")
    found = outputs_of(mlp, params, examples, backend=backend)
    return Predictions(found.predicted, found.targets)


def mean_output(mlp: MLP, params: Params, x: Array, *, backend: Backend) -> Array:
    """Return what outputs stand for (N, outputs), of a stack the mean over its members."""
    found = mlp.predict(params, x, xp=backend.xp)
    return backend.xp.mean(found, axis=0) if found.ndim == 3 else found


def outputs_of(
    mlp: MLP, params: Params, examples: Any, *, backend: Backend, targets: Targets | None = None
) -> Compared:
    """Return what a network predicts for examples of any task, and their targets.

    `params` and `examples` are on the backend's device, a piece is worked on at a time; `targets`
    have the unit of a regression's values. Raises `DataError` for examples that do not fit.
    """
    check_fit(mlp, examples, backend)
    size, meant = backend.piece_rows(mlp.sizes[0]), backend.compiled(mean_output)
    batch = examples.batch(xp=backend.xp)
    predicted, true = [], []
    with backend.computing():
        for start in range(0, batch.size, size):
            x, y, _ = batch.read(slice(start, min(start + size, batch.size)))
            predicted.append(backend.to_host(meant(mlp, params, x)))
            true.append(backend.to_host(y))
    outputs, y = np.concatenate(predicted).astype(np.float64), np.concatenate(true)
    if targets is None or targets.scaling is None:
        return Compared(outputs, y)
    return Compared(targets.unscaled(outputs), targets.unscaled(y))


def evaluate_mean_output(
    mlp: MLP, params: Params, examples: Any, *, backend: Backend
) -> tuple[float, float | None]:
    """Return mean loss and accuracy of a network, or of the mean outputs of a stack of them.

    `params` and `examples` are on the backend's device. Of a single network it is `evaluate`; for a
    loss whose link is not known here, the loss is the mean of the members' losses. Raises
    `DataError` for examples that do not fit.
    """
    if params["layer1.weight"].ndim == 2:
        found: tuple[float, float | None] = evaluate(mlp, params, examples, backend=backend)
        return found
    together = outputs_of(mlp, params, examples, backend=backend)
    predicted, y = together.predicted, together.targets
    given = examples.batch(xp=backend.xp).sample_weight
    weight = np.ones(len(y)) if given is None else backend.to_host(given).astype(np.float64)
    inverse = _INVERSES.get(mlp.loss_function.link.name)
    if inverse is None:
        loss = float(np.mean(evaluate(mlp, params, examples, backend=backend)[0]))
    else:
        host = select_backend("cpu", "float64")
        with host.computing():
            outputs, scale = inverse(predicted), 1 / weight.sum()
            c, _ = mlp.loss_function(outputs, y, xp=host.xp, scale=scale, sample_weight=weight)
        loss = float(c)
    if y.ndim > 1:
        return loss, None
    return loss, float(np.average(predicted.argmax(axis=1) == y, weights=weight))


def _logarithms(a: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.log(np.maximum(a, _TINY))
    return found


def _steps(q: np.ndarray) -> np.ndarray:
    """Return z with z_1 = q_1 and ln(1 + e^{z_k}) = q_k − q_{k−1}."""
    d = np.maximum(np.diff(q, axis=1), _TINY)
    return np.concatenate([q[:, :1], d + _logarithms(-np.expm1(-d))], axis=1)


# Name of a link -> outputs that stand for what is given.
_INVERSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda values: values,
    "softmax": _logarithms,
    "softmaxes": _logarithms,
    "sigmoid": lambda a: _logarithms(a) - _logarithms(1 - a),
    "exp": _logarithms,
    "quantiles": _steps,
}

"""Loss and accuracy of a network, or of a stack of them, over examples."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any

import numpy as np

from xpmlp.arrays import Array, Params, SomeRows
from xpmlp.backends import Backend
from xpmlp.data.dataset import check_shared_out
from xpmlp.errors import DataError
from xpmlp.mathematics.losses import count_correct
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.products import Sums

# What the rounding of half precision may take from probabilities that add up to 1.
_SUM_TOLERANCE = 5e-3


def evaluate(mlp: MLP, params: Params, examples: Any, *, backend: Backend) -> tuple[Any, Any]:
    """Return mean loss and accuracy of a network over examples; a regression has no accuracy.

    `params` and `examples` are on the backend's device; of a stack both results are lists, with
    one value per model. Raises `DataError` for examples that do not fit the network.

    >>> import xpmlp
    >>> backend = xpmlp.select_backend("cpu")
    >>> mlp, test = xpmlp.MLP((64, 10)), xpmlp.load_data("digits").test.to_device(backend)
    >>> params = xpmlp.initial_state(xpmlp.Model(mlp), backend).params
    >>> loss, accuracy = evaluate(mlp, params, test, backend=backend)
    """
    check_fit(mlp, examples, backend)
    return evaluate_unchecked(mlp, params, examples, backend)


def evaluate_unchecked(
    mlp: MLP, params: Params, examples: Any, backend: Backend
) -> tuple[Any, Any]:
    """Evaluate examples that have been found to fit already."""
    batch = examples.batch(xp=backend.xp)
    with backend.computing():
        loss, correct = backend.compiled(_summed)(mlp, params, examples)
        loss = backend.to_host(loss).tolist()
        if correct is None:
            return loss, None
        counted = backend.to_host(correct)
    if batch.sample_weight is None:
        return loss, (counted / batch.examples).tolist()
    # A share of the weights, which rounding may have made more than all.
    return loss, np.minimum(counted, 1.0).tolist()


def _summed(
    mlp: MLP, params: Params, examples: Any, *, backend: Backend
) -> tuple[Array, Array | None]:
    """Return the mean loss, and how many were right, or which share of the weights."""
    xp = backend.xp
    batch = examples.batch(xp=xp)
    scale = batch.scale(xp=xp)

    def sums_of(rows: SomeRows) -> Sums:
        x, y, weight = batch.read(rows)
        outputs, _ = mlp.forward(params, x, xp=xp)
        loss, _ = mlp.loss_function(outputs, y, scale=scale, sample_weight=weight, xp=xp)
        sums = Sums({"loss": loss}, xp=xp)
        if xp.isdtype(y.dtype, "integral"):
            sums["correct"] = count_correct(outputs, y, xp=xp, sample_weight=weight)
        return sums

    sums = backend.sum_over_examples(sums_of, batch.size, mlp.forward_flop, mlp.sizes[0])
    correct = sums.get("correct")
    if correct is not None and batch.sample_weight is not None:
        correct = correct * scale
    return sums["loss"], correct


def check_fit(mlp: MLP, examples: Any, backend: Backend) -> None:
    """Raise `DataError` unless the network has an input per feature and an output per class.

    Looks at all labels once. Raises it for examples, too, that ranks have not shared out.
    """
    check_shared_out(examples, backend.ranks.count)
    features, outputs = mlp.sizes[0], mlp.sizes[-1]
    if examples.features != features:
        raise DataError(
            f"the network takes {features} features and the data has {examples.features}: they do "
            "not fit"
        )
    needed = examples.outputs(backend)
    exactly = getattr(examples.y, "ndim", 1) == 2
    if needed > outputs or (exactly and needed < outputs):
        raise DataError(
            f"the network has {outputs} outputs and the data needs {needed}: they do not fit"
        )
    if exactly and examples.y.shape[0]:  # a rank may have none of them
        _check_targets(mlp, examples.y, backend)


def _check_targets(mlp: MLP, y: Array, backend: Backend) -> None:
    """Raise `DataError` for floating-point targets that a loss cannot mean anything by."""
    xp, loss = backend.xp, mlp.loss_function
    with backend.computing():
        found = xp.min(y), xp.max(y), xp.max(xp.abs(xp.sum(y, axis=-1) - 1.0))
        low, high, off = (float(backend.to_host(value)) for value in found)
    if not (isfinite(low) and isfinite(high)):
        raise DataError("the targets hold NaN or infinity: repair these rows or leave them out")
    taken = {"probabilities": (0.0, 1.0), "counts": (0.0, inf)}.get(loss.link.predicts, (-inf, inf))
    if low < taken[0] or high > taken[1]:
        raise DataError(
            f"the targets go from {low:g} to {high:g}, and {mlp.loss} takes {loss.link.predicts}, "
            f"from {taken[0]:g} to {taken[1]:g}"
        )
    if loss.one_class and off > _SUM_TOLERANCE:
        raise DataError(
            f"the targets of an example add up to 1 but for {off:g}, and {mlp.loss} takes the "
            "probabilities of its classes, which add up to 1"
        )

"""Ensembles: the averaged probabilities of a stack, beside those of its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.backends import Backend
from xpmlp.errors import UsageError
from xpmlp.mathematics.losses import count_correct, one_hot
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.products import Sums
from xpmlp.training.evaluation import check_fit


@dataclass(frozen=True)
class EnsembleScore:
    """Loss −ln p̄ of the class and accuracy of an ensemble, and the accuracy of each member."""

    loss: float
    accuracy: float
    member_accuracies: list[float]


def ensemble_probabilities(mlp: MLP, stack: Params, x: Array, *, xp: Namespace) -> Array:
    """Return p̄ = (1/M) Σ_m softmax(z_m) (N, classes) of a stack of M models on x (N, F)."""
    return xp.mean(mlp.predict(stack, x, xp=xp), axis=0)


def evaluate_ensemble(mlp: MLP, stack: Params, examples: Any, *, backend: Backend) -> EnsembleScore:
    """Return how good a stack of classifiers is together, and each of them alone.

    `mlp` is the network of the `stack` (`stacked_mlp` where activations differ); stack and
    `examples` are on the backend's device. Raises `UsageError` for a single model, a regression,
    or another network's stack, `DataError` for data that do not fit.

    >>> import xpmlp
    >>> mlp, data = xpmlp.MLP((64, 30, 10)), xpmlp.load_data("digits")
    >>> models = [xpmlp.Model(mlp, seed=seed) for seed in range(3)]
    >>> training = xpmlp.StackTraining(models, data, xpmlp.Plan(epochs=3))
    >>> backend, test = training.backend, data.test.to_device(training.backend)
    >>> stack = xpmlp.stacked([model.result for model in training.run()], xp=backend.xp)
    >>> len(evaluate_ensemble(mlp, stack, test, backend=backend).member_accuracies)
    3
    """
    if not mlp.loss_function.one_class:
        raise UsageError(f"an ensemble averages probabilities, and {mlp.loss} has none")
    arrays = [stack.get(f"layer{layer}.weight") for layer in range(1, mlp.layers + 1)]
    shapes = [None if w is None else tuple(w.shape[-2:]) for w in arrays]
    if shapes != mlp.weight_shapes or len(stack) != 2 * mlp.layers:
        raise UsageError(f"the stack's weights are not those of {mlp}: give it its own network")
    if stack["layer1.weight"].ndim != 3:
        raise UsageError("an ensemble is a stack of classifiers: stack single models first")
    check_fit(mlp, examples, backend)
    xp = backend.xp
    batch = examples.batch(xp=xp)

    def sums_of(rows: slice) -> Sums:
        x, y, weight = batch.read(rows)
        members = mlp.predict(stack, x, xp=xp)
        mean = xp.mean(members, axis=0)
        # Probabilities of a class may all underflow; what is then meant is not infinite.
        tiny = xp.finfo(mean.dtype).smallest_normal
        terms = one_hot(y, mean.shape[-1], like=mean, xp=xp) * xp.log(xp.maximum(mean, tiny))
        if weight is not None:
            terms *= weight[:, None]
        correct, each = (count_correct(p, y, xp=xp, sample_weight=weight) for p in (mean, members))
        return Sums({"loss": -xp.sum(terms), "correct": correct, "members": each}, xp=xp)

    with backend.computing():
        sums = backend.sum_over_examples(sums_of, batch.size, mlp.forward_flop, mlp.sizes[0])
        weight = batch.sample_weight
        total = batch.examples if weight is None else backend.to_host(xp.sum(weight))
        loss, correct, members = (
            (backend.to_host(sums[name]) / total).tolist()
            for name in ("loss", "correct", "members")
        )
    return EnsembleScore(loss, correct, members)

"""Ensembles: the averaged probabilities of a stack, beside those of its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.backends import Backend, Summable
from xpmlp.data.source import Source
from xpmlp.errors import UsageError
from xpmlp.losses import one_hot
from xpmlp.metrics import count_correct
from xpmlp.mlp import MLP
from xpmlp.training import check_fit


@dataclass(frozen=True)
class EnsembleScore:
    """Loss −ln p̄ of the class and accuracy of an ensemble, and the accuracy of each member."""

    loss: float
    accuracy: float
    member_accuracies: list[float]


def ensemble_probabilities(mlp: MLP, stack: Params, x: Array, *, xp: Namespace) -> Array:
    """Return p̄ = (1/M) Σ_m softmax(z_m) (N, classes) of a stack of M models on x (N, F)."""
    return xp.mean(mlp.predict(stack, x, xp=xp), axis=0)


def evaluate_ensemble(
    mlp: MLP, stack: Params, examples: Source, *, backend: Backend
) -> EnsembleScore:
    """Return how good a stack of classifiers is together, and each of them alone.

    Raises `UsageError` for a single model or a regression, `DataError` for data that do not fit.
    """
    if stack["layer1.weight"].ndim != 3 or mlp.loss != "cross_entropy":
        raise UsageError("an ensemble is a stack of classifiers: stack single models first")
    check_fit(mlp, examples, backend)
    batch, xp = examples.whole(backend), backend.xp

    def sums_of(piece: slice) -> _Sums:
        x, y = batch.read(piece)
        members = mlp.predict(stack, x, xp=xp)
        mean = xp.mean(members, axis=0)
        rows = one_hot(y, mean.shape[-1], like=mean, xp=xp)
        # Probabilities of a class may all underflow; what is then meant is not infinite.
        tiny = xp.finfo(mean.dtype).smallest_normal
        loss = -xp.sum(rows * xp.log(xp.maximum(mean, tiny)))
        return _Sums(loss, count_correct(mean, y, xp=xp), count_correct(members, y, xp=xp))

    with backend.computing():
        sums = backend.sum_over_examples(sums_of, batch.size, mlp.step_flop() / 3)
    loss, correct, members = (
        backend.to_host(total) / batch.size for total in (sums.loss, sums.correct, sums.members)
    )
    return EnsembleScore(loss.tolist(), correct.tolist(), members.tolist())


@dataclass
class _Sums(Summable):
    loss: Array
    correct: Array
    members: Array

    def add(self, other: Self) -> None:
        """Add the sums over other examples."""
        self.loss += other.loss
        self.correct += other.correct
        self.members += other.members

    def complete(self) -> Any:
        """Nothing is put off."""

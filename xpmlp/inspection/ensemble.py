"""Ensembles: the averaged probabilities of a stack, beside those of its members."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from xpmlp.arrays import Array, Namespace, Params
from xpmlp.backends import Backend, Summable
from xpmlp.data.source import Source
from xpmlp.errors import UsageError
from xpmlp.mathematics.losses import one_hot
from xpmlp.mathematics.metrics import count_correct
from xpmlp.mathematics.mlp import MLP
from xpmlp.training.steps import check_fit


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

    `mlp` is the network of the stack (`mlp_of` where activations differ). Raises `UsageError` for
    a single model, a regression, or another network's stack, `DataError` for data that do not fit.
    """
    if mlp.loss != "cross_entropy":
        raise UsageError(f"an ensemble averages probabilities, and {mlp.loss} has none")
    weights = [stack.get(f"layer{layer}.weight") for layer in range(1, mlp.layers + 1)]
    shapes = [None if w is None else tuple(w.shape[-2:]) for w in weights]
    if shapes != list(pairwise(mlp.sizes)) or len(stack) != 2 * mlp.layers:
        raise UsageError(f"the stack's weights are not those of {mlp}: give it its own network")
    if stack["layer1.weight"].ndim != 3:
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
        terms, weights = rows * xp.log(xp.maximum(mean, tiny)), batch.weights_of(piece)
        if weights is not None:
            terms *= weights[:, None]
        correct, each = (count_correct(p, y, xp=xp, weights=weights) for p in (mean, members))
        return _Sums(-xp.sum(terms), correct, each)

    with backend.computing():
        sums = backend.sum_over_examples(sums_of, batch.size, mlp.step_flop() / 3)
        total = batch.examples if batch.weights is None else backend.to_host(xp.sum(batch.weights))
    loss, correct, members = (
        backend.to_host(part) / total for part in (sums.loss, sums.correct, sums.members)
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

    def complete(self) -> None:
        """Nothing is put off."""

    def arrays(self) -> list[Array]:
        """Loss, correct predictions together and of each."""
        return [self.loss, self.correct, self.members]

    def take(self, arrays: list[Array]) -> None:
        """Take other values for them."""
        self.loss, self.correct, self.members = arrays

"""Estimators that are trained side by side on the same examples, as the models of one stack."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.backends.exchange import Kind
from xpmlp.errors import DivergedError
from xpmlp.estimators.draws import orders
from xpmlp.estimators.epochs import (
    EpochTraining,
    batch_size_of,
    optimizer_of,
    warn_of_no_convergence,
)
from xpmlp.mathematics.step import Variables
from xpmlp.parts import even_parts
from xpmlp.training.history import LogRow
from xpmlp.training.loop import StackTraining
from xpmlp.training.plan import Model, Plan
from xpmlp.training.state import ModelState, TrainingState
from xpmlp.training.stopping import Patience

# Parameters in which the models of a stack may differ: those of the optimisers that are numbers in
# its formula, the penalty, and the activation, if all hidden layers have it.
_DIFFER = {"alpha", "learning_rate_init", "activation", "init", "verbose"}
_DIFFER |= {"momentum", "beta_1", "beta_2"}


class Ended(NamedTuple):
    """How a training has ended: by an error, or whether it has converged."""

    error: Exception | None = None
    converged: bool = True


class Begun(NamedTuple):
    """An estimator that has been given its examples: what trains, its first weights, X's kind."""

    training: EpochTraining
    params: Params
    kind: Kind


def stack_of(estimator: Any) -> Hashable | None:
    """Return what estimators of one stack have in common, None for one that trains alone."""
    alone = (
        estimator.solver == "lbfgs"
        or estimator.early_stopping
        or estimator.warm_start
        # A velocity is carried over to each new rate, as scikit-learn's.
        or (estimator.solver == "sgd" and estimator.learning_rate != "constant")
        or not isinstance(estimator.activation, str)
    )
    if alone:
        return None
    # Without momentum SGD is another rule.
    rule = optimizer_of(estimator)
    shared = {k: v for k, v in estimator.get_params(deep=False).items() if k not in _DIFFER}
    return type(estimator), type(rule), repr(sorted(shared.items()))


def train_stacks(groups: Sequence[Sequence[Begun]]) -> list[list[Ended]]:
    """Train each group as a stack, or as several where there are more threads than groups.

    Returns for each group how its estimators have ended.
    """
    if not groups:
        return []
    backend = groups[0][0].training.backend
    parts = -(-backend.shares(sum(map(len, groups))) // len(groups))
    shares = [even_parts(len(group), min(parts, len(group))) for group in groups]
    works = [
        partial(train_stack, group[share])
        for group, own in zip(groups, shares, strict=True)
        for share in own
    ]
    found = iter(backend.run_apart(works))
    return [[ended for _ in own for ended in next(found)] for own in shares]


def converged_or_warned(several: Sequence[Ended], max_iter: int) -> None:
    """Raise the first error of some trainings; warn, once, of those that have not converged."""
    for ended in several:
        if ended.error is not None:
            raise ended.error
    if not all(ended.converged for ended in several):
        warn_of_no_convergence(max_iter, stacklevel=4)


def train_stack(begun: Sequence[Begun], backend: Backend) -> list[Ended]:
    """Train estimators of one stack on the examples of the first; return how each has ended.

    Each is trained as `fit` would train it alone: on the same batches, until it has converged.
    """
    first = begun[0].training
    e, n = first.estimator, len(first.train)
    size = batch_size_of(e, n)
    seed = int(first.rng.randint(2**31)) if e.dropout else 0
    tolerance, limit = float(e.tol), float(e.n_iter_no_change) + 1

    def stop(history: list[LogRow]) -> bool:
        patience = Patience(limit, tolerance)
        return patience.after(-row.train_loss for row in history).exhausted

    plan = Plan(
        epochs=int(e.max_iter),
        batch_size=None if size >= n else size,
        schedule=first.schedule(n),
        dropout=float(e.dropout),
        seed=seed,
        order=orders(first.rng, n, bool(e.shuffle)),
        stop=stop,
    )
    states = [_state_of(training, params) for training, params, _ in begun]
    models = [state.only.model for state in states]
    stack = StackTraining(models, first.train, plan, backend=backend, states=states)
    stack.run()
    return [_left_by(one, state, n) for one, state in zip(begun, stack.states(), strict=True)]


def _state_of(training: EpochTraining, params: Params) -> TrainingState:
    e, optimizer = training.estimator, optimizer_of(training.estimator)
    model = Model(training.mlp, optimizer, float(e.learning_rate_init), training.penalty)
    variables = Variables(params, training.optimizer_state(optimizer, params))
    return TrainingState(variables, [ModelState(model)])


def _left_by(begun: Begun, state: TrainingState, examples: int) -> Ended:
    """Give an estimator what `fit` would have left."""
    training, _, kind = begun
    e, model = training.estimator, state.only
    e.loss_curve_ = [row.train_loss for row in model.history]
    e.n_iter_, e.t_ = len(e.loss_curve_), examples * len(e.loss_curve_)
    if model.status == "diverged":
        return Ended(DivergedError(model.cause))
    e.loss_, e.best_loss_ = e.loss_curve_[-1], min(e.loss_curve_)
    e._optimizer_state = state.variables.optimizer_state or None
    e._keep(training.mlp, state.params, training.backend, kind)
    return Ended(converged=model.status == "early_stopped")

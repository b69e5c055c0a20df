"""Estimators that are trained side by side on the same examples, as the models of one stack."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.backends.exchange import Kind
from xpmlp.errors import DivergedError
from xpmlp.estimators.callbacks import has_callbacks
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
from xpmlp.training.plan import Plan
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
        # Who is told of each epoch may stop the training after it.
        or has_callbacks(estimator)
        or estimator.warm_start
        # A velocity is carried over to each new rate, as scikit-learn's.
        or (estimator.solver == "sgd" and estimator.learning_rate != "constant")
        or not isinstance(estimator.activation, str)
    )
    if alone:
        return None
    # Without momentum SGD is another rule; and with `init` None more numbers are drawn.
    rule, drawn = optimizer_of(estimator), estimator.init is None
    shared = {k: v for k, v in estimator.get_params(deep=False).items() if k not in _DIFFER}
    return type(estimator), type(rule), drawn, repr(sorted(shared.items()))


class Part(NamedTuple):
    """Estimators of a group that one stack trains: from number `first` of the group on.

    `lead` is the group's first, and `rng` a copy of its generator: whatever the number of parts,
    all of a group have the same batches.
    """

    begun: Sequence[Begun]
    first: int
    lead: EpochTraining
    rng: np.random.RandomState


def train_stacks(groups: Sequence[Sequence[Begun]]) -> list[list[Ended]]:
    """Train each group as a stack, or as several where there are more threads than groups.

    Returns for each group how its estimators have ended.
    """
    stacks = [[Stack(part) for part in parts] for parts in shared_out(groups)]
    advance([stack for some in stacks for stack in some])
    return [[ended for stack in some for ended in stack.ended()] for some in stacks]


def shared_out(groups: Sequence[Sequence[Begun]]) -> list[list[Part]]:
    """Return the parts that each group is trained in: one, or several, one for each thread."""
    if not groups:
        return []
    backend = groups[0][0].training.backend
    parts = -(-backend.shares(sum(map(len, groups))) // len(groups))
    return [
        [
            Part(group[share], share.start, group[0].training, deepcopy(group[0].training.rng))
            for share in even_parts(len(group), min(parts, len(group)))
        ]
        for group in groups
    ]


def advance(stacks: Sequence[Stack], share: float = 1.0) -> None:
    """Train stacks up to a share of their epochs, dealt to the threads."""
    works = [partial(stack.advance, share) for stack in stacks if stack.begun]
    if works:
        stacks[0].backend.run_apart(works)


def converged_or_warned(several: Sequence[Ended], max_iter: int) -> None:
    """Raise the first error of some trainings; warn, once, of those that have not converged."""
    for ended in several:
        if ended.error is not None:
            raise ended.error
    if not all(ended.converged for ended in several):
        warn_of_no_convergence(max_iter, stacklevel=4)


class Stack:
    """Estimators that are trained together on the examples of the lead, as far as it is asked.

    Each is trained as `fit` would train it alone: on the same batches, until it has converged.
    Those of one `random_state` leave out the same units, others their own.
    """

    def __init__(self, part: Part) -> None:
        self.begun, first, rng = list(part.begun), part.lead, part.rng
        self.backend, self._train = first.backend, first.train
        e, n = first.estimator, len(first.train)
        size = batch_size_of(e, n)
        tolerance, limit = float(e.tol), float(e.n_iter_no_change) + 1

        def stop(history: list[LogRow]) -> bool:
            patience = Patience(limit, tolerance)
            return patience.after(-row.train_loss for row in history).exhausted

        self._plan = Plan(
            epochs=int(e.max_iter),
            batch_size=None if size >= n else size,
            schedule=first.schedule(n),
            seed=int(rng.randint(2**31)) if e.dropout else 0,
            order=orders(rng, n, bool(e.shuffle)),
            stop=stop,
        )
        own = e.random_state  # those of a search have the same, and leave out the same units
        self._states = [
            _state_of(training, params, 0 if training.estimator.random_state == own else number)
            for number, (training, params, _) in enumerate(part.begun, start=part.first)
        ]

    def advance(self, share: float, backend: Backend) -> None:
        """Train up to a share of the epochs, from where the training is."""
        epochs = max(1, ceil(share * (self._plan.epochs or 1)))
        stack = StackTraining(
            [state.only.model for state in self._states],
            self._train,
            replace(self._plan, epochs=epochs),
            backend=backend,
            states=self._states,
        )
        stack.run()
        self._states = stack.states()

    def ended(self) -> list[Ended]:
        """Give each estimator what `fit` would have left now; return how it has ended."""
        pairs = zip(self.begun, self._states, strict=True)
        return [_left_by(one, state, len(self._train)) for one, state in pairs]

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the estimators alone."""
        self.begun = [self.begun[place] for place in places]
        self._states = [self._states[place] for place in places]


def _state_of(training: EpochTraining, params: Params, seed: int) -> TrainingState:
    optimizer = optimizer_of(training.estimator)
    model = replace(training.model(optimizer), seed=seed)
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

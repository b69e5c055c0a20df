"""The candidates of a search: trained side by side on each split, and handed to scikit-learn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import joblib
import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from xpmlp.estimators.base import BaseMLP
from xpmlp.estimators.callbacks import Evaluations
from xpmlp.estimators.halving import Halving, Outcome
from xpmlp.estimators.stacked import (
    Begun,
    Ended,
    Stack,
    advance,
    converged_or_warned,
    shared_out,
    stack_of,
)

# Rows of the data: of a split's training part, and of its test part.
Split = tuple[np.ndarray, np.ndarray]
_VALIDATION = "X_val"
_ALONE = (
    "what ends early with factor trains as a stack, and solver='lbfgs', early_stopping, "
    "warm_start, callbacks, X_val and a learning_rate that changes train alone: leave one of them "
    "out"
)
# Each of them has a copy of its training part meanwhile.
_SPLITS_AT_ONCE = 4


class Given(NamedTuple):
    """What `fit` of a search is given: features, targets, and what goes to the estimator's."""

    X: Any
    y: Any
    params: Mapping[str, Any]

    def rows(self, numbers: np.ndarray) -> Given:
        """Return what there is of some rows; what has not one value for each row stays whole."""
        count = _num_samples(self.X)

        def some(name: str, value: Any) -> Any:
            whole = value is None or name.endswith("_val") or np.ndim(value) == 0
            whole = whole or _num_samples(value) != count
            return value if whole else _safe_indexing(value, numbers)

        params = {name: some(name, value) for name, value in self.params.items()}
        return Given(_safe_indexing(self.X, numbers), _safe_indexing(self.y, numbers), params)


class Trained(BaseEstimator):  # type: ignore[misc]
    """Stands in for an estimator in a search: `fit` hands out what has been trained before.

    `outcomes` come in the order in which a search fits. After the last one it trains: that is the
    best setting, on all that is `given`.
    """

    def __init__(self, estimator: Any, outcomes: Iterator[Outcome], given: Given) -> None:
        self.estimator, self.outcomes, self.given = estimator, outcomes, given

    def __sklearn_clone__(self) -> Trained:
        return Trained(self.estimator, self.outcomes, self.given)

    def __sklearn_tags__(self) -> Any:
        return self.estimator.__sklearn_tags__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "estimator":
            raise AttributeError(name)
        return getattr(self.estimator, name)

    def set_params(self, **params: Any) -> Self:
        """Set those of the estimator."""
        self.estimator = clone(self.estimator).set_params(**params)
        return self

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: ARG002
        """Take the next outcome, or train; raises what the training has raised."""
        try:
            outcome = next(self.outcomes)
        except StopIteration:
            self.estimator = fitted(self.estimator, self.given)
            return self
        _, mlp = divided(outcome.estimator)
        converged_or_warned([outcome.ended], getattr(mlp, "max_iter", 0))
        self.estimator = outcome.estimator
        return self


class _Place(NamedTuple):
    """A candidate on a split, ready to be trained: the fitted steps before it, and itself."""

    candidate: int
    split: int
    whole: Any
    steps: list[Any]
    begun: Begun


class _Prepared(NamedTuple):
    """The steps before an estimator, fitted, and what they make of the data."""

    steps: list[Any]
    given: Given


def trained(
    estimator: Any,
    candidates: Sequence[Mapping[str, Any]],
    splits: Sequence[Split],
    given: Given,
    evaluations: Evaluations,
    halving: Halving | None = None,
) -> list[Outcome]:
    """Train each candidate on each split; return them in the order in which a search fits.

    With `halving` the worst end early. `evaluations` are
    told of each.
    """
    outcomes: dict[tuple[int, int], Outcome] = {}
    noted = 0
    at_once = len(splits) if halving else _SPLITS_AT_ONCE  # they are compared on all splits
    for start in range(0, len(splits), at_once):
        groups: dict[Hashable, list[_Place]] = defaultdict(list)
        for number in range(start, min(start + at_once, len(splits))):
            part = given.rows(splits[number][0])
            prepared: dict[Hashable, _Prepared] = {}
            checked: set[Hashable] = set()
            for candidate, settings in enumerate(candidates):
                whole = clone(estimator).set_params(**clone(dict(settings), safe=False))
                steps, mlp = divided(whole)
                try:
                    if not isinstance(mlp, BaseMLP):
                        whole.fit(part.X, part.y, **part.params)
                        outcomes[candidate, number] = Outcome(whole)
                        continue
                    key = _of_steps(whole, settings)
                    if key not in prepared:
                        prepared[key] = _fitted_steps(steps, part)
                    ready, stack = prepared[key], stack_of(mlp)
                    if stack is None or _VALIDATION in _of_last(whole, part.params):
                        if halving:
                            raise ValueError(_ALONE)
                        outcomes[candidate, number] = Outcome(_fitted_on(whole, ready))
                        continue
                    weight = _of_last(whole, part.params).get("sample_weight")
                    # What has been looked at for another candidate need not be again.
                    with config_context(assume_finite=key in checked):
                        begun = Begun(*mlp._begin(ready.given.X, ready.given.y, weight))
                    checked.add(key)
                    place = _Place(candidate, number, whole, ready.steps, begun)
                    groups[number, key, stack].append(place)
                except Exception as error:  # it is the search's to count, or to raise
                    outcomes[candidate, number] = Outcome(whole, Ended(error))
        _train(list(groups.values()), outcomes, halving)
        for _ in range(len(outcomes) - noted):
            evaluations.note()
        noted = len(outcomes)
    return [outcomes[c, s] for c in range(len(candidates)) for s in range(len(splits))]


def _train(
    groups: list[list[_Place]],
    outcomes: dict[tuple[int, int], Outcome],
    halving: Halving | None,
) -> None:
    """Train each group as a stack, or as several; note the outcome of all that ends."""
    parts = shared_out([[place.begun for place in places] for places in groups])
    stacks, at_work = [], []
    for places, own in zip(groups, parts, strict=True):
        left = iter(places)
        for part in own:
            stacks.append(Stack(part))
            at_work.append([next(left) for _ in part.begun])
    for share in halving.shares if halving else (1.0,):
        advance(stacks, share)
        for stack, places in zip(stacks, at_work, strict=True):
            for place, ended in zip(places, stack.ended(), strict=True):
                whole = _put_together(place.whole, place.steps)
                outcomes[place.candidate, place.split] = Outcome(whole, ended)
        if halving:
            going_on = halving.best(outcomes)
            for number, places in enumerate(at_work):
                kept = [k for k, place in enumerate(places) if place.candidate in going_on]
                stacks[number].keep(kept)
                at_work[number] = [places[k] for k in kept]


def fitted(estimator: Any, given: Given) -> Any:
    """Return an estimator trained on all that is given; what is watched goes through its steps."""
    steps, mlp = divided(estimator)
    if not isinstance(mlp, BaseMLP):
        return estimator.fit(given.X, given.y, **given.params)
    return _fitted_on(estimator, _fitted_steps(steps, given))


def _fitted_on(whole: Any, ready: _Prepared) -> Any:
    _, mlp = divided(whole)
    mlp.fit(ready.given.X, ready.given.y, **_of_last(whole, ready.given.params))
    return _put_together(whole, ready.steps)


def _fitted_steps(steps: list[Any], given: Given) -> _Prepared:
    if not steps:
        return _Prepared([], given)
    before = clone(Pipeline(steps))
    params = dict(given.params)
    X = before.fit_transform(given.X, given.y)
    for name in params:
        if name.split("__")[-1] == _VALIDATION:
            params[name] = before.transform(params[name])
    return _Prepared(before.steps, Given(X, given.y, params))


def divided(whole: Any) -> tuple[list[Any], Any]:
    """Return the steps of a pipeline and its last one's estimator; of another none, and itself."""
    if isinstance(whole, Pipeline):
        return whole.steps[:-1], whole.steps[-1][1]
    return [], whole


def _put_together(whole: Any, steps: list[Any]) -> Any:
    if isinstance(whole, Pipeline):
        whole.steps = [*steps, whole.steps[-1]]
    return whole


def _of_last(whole: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes to the last step's `fit`, named as it names it."""
    prefix = f"{whole.steps[-1][0]}__" if isinstance(whole, Pipeline) else ""
    return {name.removeprefix(prefix): value for name, value in params.items()}


def _of_steps(whole: Any, settings: Mapping[str, Any]) -> Hashable:
    """Return the settings that are of the steps before the last."""
    if not isinstance(whole, Pipeline):
        return ()
    last = f"{whole.steps[-1][0]}__"
    return tuple(
        (name, joblib.hash(v)) for name, v in sorted(settings.items()) if not name.startswith(last)
    )

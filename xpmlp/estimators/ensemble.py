"""EnsembleClassifier and EnsembleRegressor: several networks of one kind, averaged."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn import config_context
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from xpmlp.backends.exchange import on_host
from xpmlp.estimators.classifier import MLPClassifier
from xpmlp.estimators.labels import YesesAndNoes, share_of_right
from xpmlp.estimators.meta import MetaMLP
from xpmlp.estimators.regressor import MLPRegressor
from xpmlp.estimators.stacked import Begun, converged_or_warned, stack_of, train_stacks
from xpmlp.rules import BOOLEAN, check, whole

_MOST_SEED = 2**31 - 1


class _Ensemble(MetaMLP):
    """What both have in common: how the members are trained."""

    _trained_in, _holds_several = "estimators_", True

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        bootstrap: bool = False,
        random_state: Any = None,
    ) -> None:
        self.estimator, self.n_estimators = estimator, n_estimators
        self.bootstrap, self.random_state = bootstrap, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the members on X (N, F) and y; raises what a member's `fit` raises."""
        check("n_estimators", self.n_estimators, whole(1))
        check("bootstrap", self.bootstrap, BOOLEAN)
        rng = check_random_state(self.random_state)
        prototype = self._prototype()
        members = [
            clone(prototype).set_params(random_state=int(rng.randint(_MOST_SEED)))
            for _ in range(self.n_estimators)
        ]
        if self.bootstrap or stack_of(prototype) is None:
            for member in members:
                member.fit(X, y, self._weights(X, sample_weight, rng))
        else:
            begun: list[Begun] = []
            for member in members:
                # What has been looked at for the first need not be again.
                with config_context(assume_finite=bool(begun)):
                    begun.append(Begun(*member._begin(X, y, sample_weight)))
            (ended,) = train_stacks([begun])
            converged_or_warned(ended, prototype.max_iter)
        self.estimators_ = members
        self._adopt(members[0])
        return self

    def _weights(self, X: Any, sample_weight: Any, rng: np.random.RandomState) -> Any:
        """Return how many times each example counts: for a bootstrap as often as it was drawn."""
        if not self.bootstrap:
            return sample_weight
        count = int(X.shape[0] if hasattr(X, "shape") else len(X))
        drawn = np.bincount(rng.randint(count, size=count), minlength=count).astype(np.float64)
        return drawn if sample_weight is None else drawn * np.asarray(on_host(sample_weight))


class EnsembleClassifier(ClassifierMixin, _Ensemble):  # type: ignore[misc]
    """Several networks of one kind, whose probabilities are averaged (Lakshminarayanan 2017).

    They differ in their first weights, train on the same batches as the models of one stack, and
    are dealt to the threads; with `bootstrap` each is trained by itself, on as many examples drawn
    with replacement. What cannot be stacked ("lbfgs", early stopping) is trained one by one.

    `estimator`: an MLPClassifier, by default one with its defaults. `n_estimators`: members.
    `bootstrap`: see above. `random_state`: of all members, in place of their own.
    After `fit`: `estimators_`, `classes_`.

    >>> from sklearn.datasets import load_iris
    >>> from xpmlp import EnsembleClassifier, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> member = MLPClassifier((8,), learning_rate_init=0.02, tol=0.01)
    >>> model = EnsembleClassifier(member, 3, random_state=0).fit(X, y)
    >>> labels, spread = model.predict(X[:5], return_std=True)
    >>> spread.shape
    (5,)
    """

    _default = MLPClassifier

    def predict_proba(self, X: Any) -> Any:
        """Return the mean of the members' probabilities (N, classes).

        Of several questions with classes of their own it is a list with an array for each.
        """
        found = [each.mean(axis=0) for each in self._questions(X)]
        return found if isinstance(self.classes_, list) else found[0]

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the most probable class of each row; of many labels those above a half.

        With `return_std` also the deviation of its probability from member to member (N,), of many
        labels, or questions, that of each (N, columns).
        """
        questions, labels, spreads = self._questions(X), [], []
        several = isinstance(self.classes_, list)
        classes = self.classes_ if several else [self.classes_]
        for known, each in zip(classes, questions, strict=True):
            mean, spread = each.mean(axis=0), each.std(axis=0)
            if isinstance(self.estimators_[0]._labels, YesesAndNoes):
                labels.append((mean > 0.5).astype(np.int64))
            else:
                ids = mean.argmax(axis=1)
                labels.append(known[ids])
                spread = spread[np.arange(len(ids)), ids]
            spreads.append(spread)
        found, spread = (np.stack(c, axis=1) if several else c[0] for c in (labels, spreads))
        return (found, spread) if return_std else found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of rows whose class (all of whose labels) is right."""
        return share_of_right(self.predict(X), y, sample_weight)

    def _questions(self, X: Any) -> list[np.ndarray]:
        """Return what the members say of each question (members, N, classes)."""
        check_is_fitted(self, "estimators_")
        each = [member.predict_proba(X) for member in self.estimators_]
        lists = [one if isinstance(one, list) else [one] for one in each]
        return [
            np.stack([np.asarray(on_host(found)) for found in column])
            for column in zip(*lists, strict=True)
        ]


class EnsembleRegressor(RegressorMixin, _Ensemble):  # type: ignore[misc]
    """Several networks of one kind, whose values are averaged; see `EnsembleClassifier`.

    `estimator`: an MLPRegressor, by default one with its defaults.

    >>> import numpy as np
    >>> from xpmlp import EnsembleRegressor, MLPRegressor
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> member = MLPRegressor(hidden_layer_sizes=(8,), learning_rate_init=0.02, tol=0.01)
    >>> model = EnsembleRegressor(member, 3, random_state=0).fit(x, 3 * x[:, 0])
    >>> values, spread = model.predict(x, return_std=True)
    >>> values.shape, spread.shape
    ((50,), (50,))
    """

    _default = MLPRegressor

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the mean of the members' values (N,) or (N, outputs).

        With `return_std` also their deviation from member to member, of the same shape.
        """
        check_is_fitted(self, "estimators_")
        each = np.stack([np.asarray(on_host(member.predict(X))) for member in self.estimators_])
        mean = each.mean(axis=0)
        return (mean, each.std(axis=0)) if return_std else mean

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², or of quantiles D², as a member does."""
        check_is_fitted(self, "estimators_")
        member = self.estimators_[0]
        return float(member._score_of(self.predict(X), y, sample_weight))

"""StackedSearchCV: a search over settings whose candidates train side by side."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, check_cv
from sklearn.utils import indexable

from xpmlp.estimators.candidates import Given, Trained, trained


class StackedSearchCV(GridSearchCV):  # type: ignore[misc]
    """A search over the settings of our estimators: its candidates train as stacks.

    It takes the place of GridSearchCV, or with `n_iter` of RandomizedSearchCV: the same
    parameters, attributes and scores. Candidates that differ in `alpha`, `learning_rate_init`,
    `activation` or what is a number in the optimiser's formula are the models of one stack, for
    each split of the data; others make stacks of their own, and what cannot be stacked (`solver`
    "lbfgs", another `learning_rate` than "constant", `early_stopping`) is trained by itself. Stacks
    are dealt to the threads. In a Pipeline whose last step is ours the steps before are fitted once
    for each split, and transform `X_val` too. `fit_time` is an equal share of the time of all.

    `estimator`: ours, or a Pipeline that ends with it. `param_grid`: names of parameters and their
    values, or a list of such; with `n_iter` values may be distributions, of which so many settings
    are drawn by `random_state`. All else is as in GridSearchCV.

    >>> from sklearn.datasets import load_iris
    >>> from xpmlp import MLPClassifier, StackedSearchCV
    >>> estimator = MLPClassifier((8,), learning_rate_init=0.02, tol=0.01, random_state=0)
    >>> search = StackedSearchCV(estimator, {"alpha": [0.01, 0.1, 1.0]}, cv=3)
    >>> sorted(search.fit(*load_iris(return_X_y=True)).best_params_)
    ['alpha']
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_iter: int | None = None,
        scoring: Any = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.n_iter, self.random_state = n_iter, random_state

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and train the best setting on all of X and y.

        `groups` goes to `cv`, all else to `fit` of the estimator, a part of each for each split.
        """
        candidates = self._candidates()
        X, y = indexable(X, y)
        groups = params.pop("groups", None)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, groups))
        given, start = Given(X, y, params), perf_counter()
        outcomes = trained(self.estimator, candidates, splits, given)
        share = (perf_counter() - start) / len(outcomes)
        stand_in = Trained(self.estimator, iter(outcomes), given)
        search = GridSearchCV(
            stand_in,
            [{name: [value] for name, value in one.items()} for one in candidates],
            scoring=self.scoring,
            refit=self.refit,
            cv=splits,
            verbose=self.verbose,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        )
        search.fit(X, y)
        search.cv_results_["mean_fit_time"] = np.full(len(candidates), share)
        search.cv_results_["std_fit_time"] = np.zeros(len(candidates))
        for name, value in vars(search).items():
            if name.endswith("_") and not name.startswith("_"):
                setattr(self, name, value)
        if self.refit:
            self.best_estimator_ = search.best_estimator_.estimator
        return self

    def _candidates(self) -> list[dict[str, Any]]:
        if self.n_iter is None:
            return list(ParameterGrid(self.param_grid))
        return list(ParameterSampler(self.param_grid, self.n_iter, random_state=self.random_state))

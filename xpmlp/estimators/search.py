"""StackedSearchCV: a search over settings whose candidates train side by side."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, check_cv
from sklearn.utils import indexable

from xpmlp.estimators.base import BaseMLP
from xpmlp.estimators.callbacks import Evaluations, with_callbacks
from xpmlp.estimators.candidates import Given, Split, Trained, divided, trained
from xpmlp.estimators.halving import Halving

# What `fit` of our estimators is given beside X and y.
FIT_PARAMS = ("sample_weight", "X_val", "y_val", "sample_weight_val")


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
    are drawn by `random_state`. With `factor` only one of so many candidates goes on after each
    round, the best by its mean test score over the splits, and the others end (successive
    halving): the last round ends at `max_iter`, every one before it at 1/`factor` of the next one.
    A candidate's scores are then those of its last round, which `cv_results_["round"]` counts, and
    `best_index_` is one of the last round's. All else is as in GridSearchCV, but for the routing of
    metadata, which is refused.

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
        factor: int | None = None,
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
        self.n_iter, self.factor, self.random_state = n_iter, factor, random_state

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and train the best setting on all of X and y.

        `groups` goes to `cv`, all else to `fit` of the estimator, a part of each for each split.
        """
        candidates = self._candidates()
        X, y = indexable(X, y)
        groups = params.pop("groups", None)
        self._check_params(params)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, groups))
        given, start = Given(X, y, params), perf_counter()
        halving = self._halving(len(candidates), splits, given)
        evaluations = Evaluations(self, X, y, len(candidates) * len(splits))
        outcomes = trained(self.estimator, candidates, splits, given, evaluations, halving)
        share = (perf_counter() - start) / len(outcomes)
        stand_in = Trained(self.estimator, iter(outcomes), given)
        search = GridSearchCV(
            stand_in,
            [{name: [value] for name, value in one.items()} for one in candidates],
            scoring=self.scoring,
            refit=self._refit(halving),
            cv=splits,
            verbose=self.verbose,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
            n_jobs=1,  # what is trained is handed out in its order
        )
        # How scores are weighted is the search's.
        weight = params.get("sample_weight")
        search.fit(X, y, **({} if weight is None else {"sample_weight": weight}))
        results = search.cv_results_
        results["mean_fit_time"] = np.full(len(candidates), share)
        results["std_fit_time"] = np.zeros(len(candidates))
        for name, value in vars(search).items():
            if name.endswith("_") and not name.startswith("_"):
                setattr(self, name, value)
        if self.scoring is None:  # it is the score of the stand-in
            self.scorer_ = check_scoring(self.estimator)
        if halving is not None:
            results["round"] = halving.rounds
            self._take_winner(halving)
        if self.refit:
            self.best_estimator_ = search.best_estimator_.estimator
        evaluations.close()
        return self

    def _halving(self, candidates: int, splits: list[Split], given: Given) -> Halving | None:
        """Return what decides which candidates go on, by the score that the best is chosen by."""
        if self.factor is None:
            return None
        if not isinstance(self.refit, str) and _is_several(self.scoring):
            raise ValueError("factor needs one score to choose by: give refit the name of it")
        scorer = check_scoring(self.estimator, self.scoring)
        weighs = getattr(scorer, "_accept_sample_weight", lambda: False)()
        tests = [given.rows(test) for _, test in splits]

        def score(estimator: Any, split: int) -> float:
            weight = tests[split].params.get("sample_weight") if weighs else None
            more = {} if weight is None else {"sample_weight": weight}
            found = scorer(estimator, tests[split].X, tests[split].y, **more)
            return float(found[self._metric] if isinstance(found, dict) else found)

        _, mlp = divided(self.estimator)
        return Halving(self.factor, candidates, len(splits), int(mlp.max_iter), score)

    def _check_params(self, params: Mapping[str, Any]) -> None:
        """Raise `ValueError` for what goes to `fit` and is none of ours."""
        if params and get_config()["enable_metadata_routing"]:
            raise ValueError(
                f"{type(self).__name__} routes no metadata ({', '.join(params)}): turn off "
                "enable_metadata_routing, or search with GridSearchCV"
            )
        steps, mlp = divided(self.estimator)
        prefix = f"{self.estimator.steps[-1][0]}__" if steps else ""
        for name in params if isinstance(mlp, BaseMLP) else ():
            if name not in [prefix + each for each in FIT_PARAMS]:
                raise ValueError(
                    f"fit has no {name} here: choose from groups, "
                    f"{', '.join(prefix + each for each in FIT_PARAMS)}"
                )

    @property
    def _metric(self) -> str:
        return self.refit if isinstance(self.refit, str) else "score"

    def _refit(self, halving: Halving | None) -> Any:
        """Return `refit` for a search that chooses the best: of the last round, after halving."""
        if halving is None or callable(self.refit) or not self.refit:
            return self.refit
        return lambda results: halving.winner(results[f"mean_test_{self._metric}"])

    def _take_winner(self, halving: Halving) -> None:
        """Say which is the best of the last round, where that is by a score."""
        scores = self.cv_results_.get(f"mean_test_{self._metric}")
        if callable(self.refit) or scores is None:
            return
        self.best_index_ = halving.winner(scores)
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        self.best_score_ = scores[self.best_index_]

    def _candidates(self) -> list[dict[str, Any]]:
        if self.n_iter is None:
            return list(ParameterGrid(self.param_grid))
        return list(ParameterSampler(self.param_grid, self.n_iter, random_state=self.random_state))


def _is_several(scoring: Any) -> bool:
    """Tell whether there are several scores by name."""
    return isinstance(scoring, list | tuple | set | dict)

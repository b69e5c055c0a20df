"""scikit-learn's callbacks (1.9 and newer): what they are told of each epoch, and when to stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("sklearn.callback")

from sklearn import callback as callbacks
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpmlp import EnsembleClassifier, MLPClassifier, MLPRegressor, StackedSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, DIGITS = load_digits(return_X_y=True)
X, DIGITS = X[:300] / 16, DIGITS[:300]
WEIGHTS = np.linspace(0.2, 2.0, 300)
MLP = MLPClassifier((12,), max_iter=4, learning_rate_init=0.01, random_state=0)


class Recorder:
    """Writes down what it is told, and says stop after some epochs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.began: list[str] = []
        self.ended: list[str] = []
        self.scores: list[float] = []
        self.models: list[Any] = []
        self.metadata: Any = None
        self.torn_down = 0

    def setup(self, estimator: Any, context: Any) -> None:
        pass

    def teardown(self, estimator: Any, context: Any) -> None:  # noqa: ARG002
        self.torn_down += 1

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:  # noqa: ARG002
        self.began.append(context.task_name)

    def on_fit_task_end(
        self,
        estimator: Any,  # noqa: ARG002
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        metadata: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:
        self.ended.append(context.task_name)
        if fitted_estimator is not None:
            self.models.append(fitted_estimator)
            self.scores.append(fitted_estimator.score(X, y))
            self.metadata = metadata
        return context.task_name == "epoch" and len(self.scores) == self.stop_after


def test_each_epoch_is_told_with_an_estimator_as_it_is_then() -> None:
    seen = Recorder()
    model = clone(MLP).set_callbacks(seen).fit(X, DIGITS, WEIGHTS)
    assert seen.began == ["fit", *["epoch"] * 4]
    assert seen.ended == [*["epoch"] * 4, "fit"]
    for epochs, (then, score) in enumerate(zip(seen.models[:4], seen.scores, strict=False), 1):
        alone = clone(MLP).set_params(max_iter=epochs).fit(X, DIGITS, WEIGHTS)
        np.testing.assert_array_equal(then.coefs_[0], alone.coefs_[0])
        assert score == alone.score(X, DIGITS)
    np.testing.assert_array_equal(seen.metadata["sample_weight"], WEIGHTS)
    assert seen.scores[4] == model.score(X, DIGITS)
    assert seen.torn_down == 1


def test_it_changes_nothing() -> None:
    with_callback = clone(MLP).set_callbacks(Recorder()).fit(X, DIGITS)
    np.testing.assert_array_equal(with_callback.coefs_[0], clone(MLP).fit(X, DIGITS).coefs_[0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_may_stop_the_training(solver: str) -> None:
    seen = Recorder(stop_after=2)
    model = clone(MLP).set_params(solver=solver, max_iter=9).set_callbacks(seen).fit(X, DIGITS)
    assert model.n_iter_ == 2
    alone = clone(MLP).set_params(solver=solver, max_iter=2).fit(X, DIGITS)
    np.testing.assert_allclose(model.coefs_[0], alone.coefs_[0], rtol=1e-12)
    assert seen.ended.count("epoch") == seen.began.count("epoch")
    assert seen.ended[-1] == "fit"


def test_lbfgs_is_told_by_iterations() -> None:
    seen = Recorder()
    x, y = X[:50], X[:50, 20]
    model = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=200, random_state=0)
    model.set_callbacks(seen).fit(x, y)
    assert len(seen.models) == model.n_iter_ + 1
    assert seen.began.count("epoch") == seen.ended.count("epoch")
    np.testing.assert_array_equal(seen.models[-1].coefs_[0], model.coefs_[0])


def test_an_epoch_of_partial_fit() -> None:
    seen = Recorder()
    model = clone(MLP).set_callbacks(seen)
    for _ in range(2):
        model.partial_fit(X, DIGITS, classes=range(10))
    assert seen.ended == ["epoch", "fit"] * 2


def test_callbacks_are_left_whatever_ends_the_training() -> None:
    seen = Recorder()
    wild = MLPClassifier(solver="sgd", learning_rate_init=1e9).set_callbacks(seen)
    with pytest.raises(ValueError, match="choose a smaller learning rate"):
        wild.fit(X, DIGITS)
    assert seen.torn_down == 1


def scores_of(monitor: Any) -> list[float]:
    return [row["accuracy"] for row in monitor.get_logs().data if "accuracy" in row]


def test_scikit_learns_own_alone_in_a_pipeline_and_in_a_search() -> None:
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    model = clone(MLP).set_callbacks(monitor).fit(X, DIGITS)
    assert scores_of(monitor)[-1] == model.score(X, DIGITS)
    inside = callbacks.ScoringMonitor(scoring="accuracy")
    network = clone(MLP).set_callbacks(inside)
    pipeline = make_pipeline(StandardScaler(), network).fit(X, DIGITS)
    rows = inside.get_logs().data
    assert [row["task_name"] for row in rows].count("epoch") == 4
    assert max(len(row["task_id_path"]) for row in rows) == 3  # pipeline, network, epoch
    assert scores_of(inside)[-1] == pipeline.score(X, DIGITS)


@pytest.mark.parametrize("kind", [GridSearchCV, StackedSearchCV])
def test_a_search_tells_of_each_candidate_split_and_epoch(kind: Any) -> None:
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    grid = {"alpha": [1e-4, 1.0]}
    kind(clone(MLP).set_callbacks(monitor), grid, cv=3).fit(X, DIGITS)
    rows = [row for log in monitor.get_logs(select="all") for row in log.data]
    assert [row["task_name"] for row in rows].count("epoch") == (2 * 3 + 1) * 4


@pytest.mark.parametrize("kind", [GridSearchCV, StackedSearchCV])
def test_a_progress_bar(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    bar = callbacks.ProgressBar()
    search = kind(MLP, {"alpha": [1e-4, 1.0]}, cv=2).set_callbacks(bar).fit(X, DIGITS)
    assert search.best_score_ > 0
    shown = capsys.readouterr().out
    assert kind.__name__ in shown


def test_members_of_an_ensemble() -> None:
    seen = Recorder()
    EnsembleClassifier(clone(MLP).set_callbacks(seen), 3, random_state=0).fit(X, DIGITS)
    assert seen.ended == [*["epoch"] * 4, "fit"] * 3


def test_a_search_in_stacks_counts_candidates_and_splits(stacks: list[int]) -> None:
    seen = Recorder()
    search = StackedSearchCV(MLP, {"alpha": [1e-4, 1.0, 2.0]}, cv=5).set_callbacks(seen)
    search.fit(X, DIGITS)
    assert seen.ended == [*["candidate-split-evaluation"] * 15, "fit"]
    assert sum(stacks) == 15
    assert seen.torn_down == 1

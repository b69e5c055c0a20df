"""TabularClassifier and TabularRegressor: good on a table without any setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from xpmlp.backends import chosen_backend
from xpmlp.data.dataset import Dataset
from xpmlp.data.formats.table_parts import part_of_table
from xpmlp.data.part import Keys
from xpmlp.data.prepare import prepare
from xpmlp.data.tables.rows import TableExamples
from xpmlp.data.tables.table import Table, is_frame, table_of
from xpmlp.data.targets import targets_of_columns
from xpmlp.errors import DataError
from xpmlp.estimators.parameters import hidden_units
from xpmlp.estimators.records import labels_of_record, record_of_labels
from xpmlp.estimators.stored import Stored, untrained
from xpmlp.rules import check, number, optional, whole
from xpmlp.trained import Trained, fit_ensemble, load
from xpmlp.training.tabular import Tabular, is_tried, suited

# Where the targets stand among the columns of a table.
_TARGET = "the target {}"


class _TabularBase(Stored, BaseEstimator):  # type: ignore[misc]
    """What both have in common: the table, its ensemble, and the trained result."""

    _task = ""

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] = (192, 192),
        *,
        members: int = 6,
        learning_rate_init: float = 0.003,
        weight_decay: float | None = None,
        intervals: int | None = None,
        dropout: float = 0.1,
        batch_size: int = 256,
        max_iter: int = 100,
        n_iter_no_change: int = 16,
        validation_fraction: float | None = None,
        categorical: Any = (),
        random_state: int = 0,
        device: str = "cpu",
        backend: str = "auto",
    ) -> None:
        self.hidden_layer_sizes, self.members = hidden_layer_sizes, members
        self.learning_rate_init = learning_rate_init
        self.weight_decay, self.intervals = weight_decay, intervals
        self.dropout, self.batch_size, self.max_iter = dropout, batch_size, max_iter
        self.n_iter_no_change = n_iter_no_change
        self.validation_fraction, self.categorical = validation_fraction, categorical
        self.random_state, self.device, self.backend = random_state, device, backend

    def fit(self, X: Any, y: Any) -> Self:
        """Train on a data frame or an array X (N, F) and targets y, and return itself.

        Raises `DataError` (a `ValueError`) for rows that cannot be examples, `UsageError` for
        parameters that mean nothing.
        """
        fraction = self.validation_fraction
        check("validation_fraction", fraction, optional(number(0, 0.9, "a number from 0 to 0.9")))
        check("members", self.members, whole(1))
        table, targets = _table(X), np.asarray(y)
        if len(targets) != len(table):
            raise DataError(f"X has {len(table)} rows and y has {len(targets)}: they do not fit")
        rows = targets.reshape(len(targets), -1)
        columns = {_TARGET.format(k): rows[:, k] for k in range(rows.shape[1])}
        together = table_of({**_columns(table), **columns}, "X")
        part = part_of_table(
            together, Keys(target=tuple(columns), categorical=tuple(map(str, self.categorical)))
        )
        meant = targets_of_columns(part.y, part.names, "y", self._task)
        raw = Dataset("X", TableExamples(part.x, meant.encoded(part.y, "y")), targets=meant)
        usual = Tabular(
            hidden=hidden_units(self),
            members=self.members,
            learning_rate=self.learning_rate_init,
            dropout=self.dropout,
            batch_size=self.batch_size,
            epochs=self.max_iter,
            patience=self.n_iter_no_change,
        )
        backend, seed = chosen_backend(self.backend, self.device, "float32"), self.random_state
        asked: dict[str, Any] = {"weight_decay": self.weight_decay, "intervals": self.intervals}
        given = {name: value for name, value in asked.items() if value is not None}
        if not given and fraction is None and is_tried(raw, usual):
            usual = suited(raw, usual, seed=seed, backend=backend)
        usual = replace(usual, **given)
        size = int((fraction or 0) * len(table))
        data = prepare(raw, intervals=usual.intervals, seed=seed, test_size=0, val_size=size)
        plan = usual.plan(data, seed)
        if fraction == 0:
            plan = replace(plan, folds=None, patience=None)
        self.trained_: Trained = fit_ensemble(usual.models(data, seed), data, plan, backend=backend)
        self.n_features_in_ = len(table.names)
        self.__dict__.pop("feature_names_in_", None)  # of a fit before
        if is_frame(X):
            self.feature_names_in_ = np.array(table.names, dtype=object)
        self._one = targets.ndim == 1
        return self

    def _record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        # `xpmlp.load` reads what was trained: it lies in the file as a whole.
        with TemporaryDirectory() as folder:
            path = Path(folder, "trained.safetensors")
            self.trained_.save(path)
            trained = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        names, classes = (getattr(self, n, None) for n in ("feature_names_in_", "classes_"))
        record = {
            "columns": self.n_features_in_,
            "feature_names": None if names is None else list(map(str, names)),
            "classes": None if classes is None else record_of_labels(classes),
            "one": self._one,
        }
        return record, {"trained": trained}

    @classmethod
    def _of_record(cls, record: dict[str, Any], arrays: dict[str, Any]) -> Any:
        model = untrained(record)
        with TemporaryDirectory() as folder:
            path = Path(folder, "trained.safetensors")
            path.write_bytes(arrays["trained"].astype(np.uint8).tobytes())
            model.trained_ = load(path, device=model.device, backend=model.backend)
        model.n_features_in_, model._one = int(record["columns"]), bool(record["one"])
        if record["feature_names"] is not None:
            model.feature_names_in_ = np.array(record["feature_names"], dtype=object)
        if record["classes"] is not None:
            model.classes_ = labels_of_record(record["classes"])
        return model

    def __getstate__(self) -> dict[str, Any]:
        """Return what there is to keep in a file: all but the library that computes."""
        state: dict[str, Any] = dict(super().__getstate__())
        if "trained_" in state:
            trained: Trained = state["trained_"]
            state["trained_"] = {**vars(trained), "backend": trained.backend.dtype_name}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it back; what computes is chosen anew by `backend` and `device`."""
        if "trained_" in state:
            kept = state["trained_"]
            backend = chosen_backend(state["backend"], state["device"], kept["backend"])
            state = {**state, "trained_": Trained(**{**kept, "backend": backend})}
        super().__setstate__(state)

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "trained_")
        table = _table(X)
        if not is_frame(X) and len(table.names) != self.n_features_in_:
            raise ValueError(
                f"X has {len(table.names)} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return self.trained_.outputs(table)


def _table(X: Any) -> Table:
    """Return features as a table; the columns of an array are called 0, 1, 2, ..."""
    if is_frame(X):
        return table_of(X, "X")
    array = np.asarray(X)
    if array.ndim != 2:
        raise DataError(f"X has the shape {array.shape}: give rows (N, F), or a data frame")
    return table_of({str(k): array[:, k].tolist() for k in range(array.shape[1])}, "X")


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas' NA is not even unlike itself
        return True


def _columns(table: Table) -> dict[str, Any]:
    return {name: table.column(name) for name in table.names}


class TabularClassifier(ClassifierMixin, _TabularBase):  # type: ignore[misc]
    """Predicts classes from the rows of a table: numbers, categories, dates, missing values.

    Several networks of ReLU units on coded columns (see `xpmlp.data.tables`), trained as one stack
    with AdamW; each leaves out another fold of the rows, keeps its best weights by the loss of that
    fold, and their probabilities are averaged. docs/tables.md compares it with others, without any
    setting.

    `hidden_layer_sizes`: units of the hidden layers. `members`: networks. `learning_rate_init`,
    `weight_decay`: of AdamW. `dropout`: share of hidden units left out. `batch_size`: examples per
    step. `max_iter`: epochs at most. `n_iter_no_change`: epochs without a better validation loss
    that end a member. `validation_fraction`: one part that is held out for all members in place of
    folds, of every class the same share. `intervals`: between quantiles that a number is coded by,
    at most. Where neither this nor `weight_decay` is given they are 16 and 0.1; with at most 10,000
    rows 2 and 1.0 are tried beside them, in folds, and the pair with the lower loss is taken.
    `categorical`: columns of numbers that stand for categories. `random_state`: seed of the
    networks, the split and the batches. `device`: "cpu", "gpu" or "gpu:N". `backend`: the library
    that computes.

    After `fit`: `classes_`, and `trained_`, whose `save` writes one file for `xpmlp.load`.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": range(40), "town": ["Bonn", "Ulm"] * 20})
    >>> model = TabularClassifier(max_iter=30, members=2).fit(frame, frame.age > 20)
    >>> model.predict(frame.head(3)).tolist()
    [False, False, False]
    """

    _task = "classification"

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X and classes y (N,); see `TabularClassifier`."""
        labels = column_or_1d(y, warn=True)
        missing = [row for row, label in enumerate(labels.tolist()) if _is_missing(label)]
        if missing:
            raise DataError(f"y: row {missing[0]} has no label: leave such rows out")
        check_classification_targets(labels)
        classes, ids = np.unique(labels, return_inverse=True)
        self.classes_ = classes
        super().fit(X, ids)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class (N, classes), in the order of `classes_`."""
        return self._outputs(X)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row."""
        found: np.ndarray = self.classes_[self._outputs(X).argmax(axis=1)]
        return found


class TabularRegressor(RegressorMixin, _TabularBase):  # type: ignore[misc]
    """Predicts values from the rows of a table; parameters are those of `TabularClassifier`.

    Targets are trained on with mean 0 and deviation 1, and predicted in their own unit.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"area": range(60), "quarter": ["north", "south"] * 30})
    >>> model = TabularRegressor(max_iter=60, members=2).fit(frame, frame.area * 10.0)
    >>> bool(abs(model.predict(frame) - frame.area * 10).mean() < 60)
    True
    """

    _task = "regression"

    def predict(self, X: Any) -> np.ndarray:
        """Return the value of each row (N,), or (N, outputs) where y had several columns."""
        found = self._outputs(X)
        return found[:, 0] if self._one else found

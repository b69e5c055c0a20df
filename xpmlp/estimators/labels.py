"""Class labels of any type to what a network is trained on, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from xpmlp.arrays import Array, Namespace
from xpmlp.backends import Backend
from xpmlp.backends.exchange import Kind, from_any, kind_of, on_host, to_kind
from xpmlp.estimators.inputs import as_matrix
from xpmlp.rows import named
from xpmlp.rules import FROM_0


class Labels(ABC):
    """What y says of a sample, and the network that is trained on it.

    `classes` is what `classes_` shows; `outputs` are as many as the network has, and `loss` is what
    they are trained on. Targets are class ids (N,) or rows (N, outputs).
    """

    classes: Any
    outputs: int
    loss: str

    @abstractmethod
    def targets(self, y: Any, backend: Backend) -> Array:
        """Return the targets of labels; raises `ValueError` for others than these."""

    @abstractmethod
    def weights(self, targets: Array, class_weight: Any, backend: Backend) -> Array:
        """Return how many times an example of each class counts, for `targets` as they are here.

        A dict says it for some classes, the others count once; "balanced" makes all classes
        count as much.
        """

    @abstractmethod
    def right(self, outputs: Array, targets: Array, xp: Namespace) -> Array:
        """Return whether all that outputs say of each example is right (N,)."""

    @abstractmethod
    def chosen(self, found: Array, backend: Backend, kind: Kind) -> Any:
        """Return the labels that probabilities speak for; numbers in a kind of array."""

    def of_classes(self, found: Array, backend: Backend, kind: Kind) -> Any:
        """Return the probability of each class, in a kind of array."""
        return to_kind(found, backend, kind)

    def strata(self, targets: Array, backend: Backend) -> np.ndarray | None:  # noqa: ARG002
        """Return what held-out examples keep the shares of, None for nothing."""
        return None

    def same_as(self, other: Labels) -> bool:
        """Tell whether a training on others of this kind may go on with these."""
        return self.outputs == other.outputs


class Classes(Labels):
    """One of the classes (C,), on the host in rising order.

    Two need one output, whose sigmoid is the probability of the second; more need one each and a
    softmax.
    """

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes
        self.outputs = 1 if len(classes) <= 2 else len(classes)
        self.loss = "cross_entropy" if self.outputs > 1 else "binary_cross_entropy"

    def targets(self, y: Any, backend: Backend) -> Array:
        if y.ndim == 2:
            raise ValueError(f"y has the shape {tuple(y.shape)}, and a sample has one label here")
        ids = self.ids(y, backend)
        return ids if self.outputs > 1 else as_matrix(ids, backend)

    def ids(self, y: Any, backend: Backend) -> Array:
        """Return the places of labels (N,) among the classes."""
        if kind_of(y).on_host:
            host = np.asarray(y)
            unknown = np.setdiff1d(host, self.classes)
            if len(unknown):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`: {unknown[:5]}; they are "
                    f"{self.classes}"
                )
            return from_any(np.searchsorted(self.classes, host).astype(np.int64), backend)
        xp = backend.xp
        ids = xp.searchsorted(from_any(self.classes, backend), from_any(y, backend))
        return xp.astype(ids, xp.int64)

    def weights(self, targets: Array, class_weight: Any, backend: Backend) -> Array:
        xp, count = backend.xp, len(self.classes)
        ids = targets if targets.ndim == 1 else xp.astype(targets[:, 0], xp.int64)
        if class_weight == "balanced":
            found = np.array(
                [int(backend.to_host(xp.count_nonzero(ids == k))) for k in range(count)]
            )
            table = ids.shape[0] / (np.count_nonzero(found) * np.maximum(found, 1))
        else:
            _check(class_weight)
            table = np.array([class_weight.get(label, 1.0) for label in self.classes.tolist()])
        return xp.take(backend.to_device(table.astype(np.float64)), ids, axis=0)

    def right(self, outputs: Array, targets: Array, xp: Namespace) -> Array:
        if targets.ndim == 1:
            return xp.argmax(outputs, axis=-1) == targets
        return xp.all((outputs > 0) == (targets > 0.5), axis=-1)

    def chosen(self, found: Array, backend: Backend, kind: Kind) -> Any:
        xp = backend.xp
        with backend.computing():
            if self.outputs == 1:
                ids = xp.astype(found[:, 0] > 0.5, xp.int64)
                ids *= len(self.classes) - 1
            else:
                ids = xp.argmax(found, axis=-1)
            if kind.namespace is None or self.classes.dtype.kind not in "biuf":
                return self.classes[backend.to_host(ids)]
            return to_kind(xp.take(from_any(self.classes, backend), ids, axis=0), backend, kind)

    def of_classes(self, found: Array, backend: Backend, kind: Kind) -> Any:
        xp = backend.xp
        if len(self.classes) == 1:
            found = xp.ones_like(found)
        elif self.outputs == 1:  # the network has the second's alone
            with backend.computing():
                found = xp.concat([1.0 - found, found], axis=-1)
        return to_kind(found, backend, kind)

    def strata(self, targets: Array, backend: Backend) -> np.ndarray | None:
        # As scikit-learn, which looks at the columns that it trains on: one for two classes. By
        # their labels: an error names them.
        if self.outputs > 1:
            return None
        found: np.ndarray = self.classes[backend.to_host(targets).reshape(-1).astype(np.int64)]
        return found

    def same_as(self, other: Labels) -> bool:
        return set(self.classes) == set(other.classes)


class YesesAndNoes(Labels):
    """Several labels that a sample has or has not: rows (N, columns) of 1 and 0.

    Each has an output, whose sigmoid is its probability.
    """

    loss = "binary_cross_entropy"

    def __init__(self, columns: int) -> None:
        self.classes, self.outputs = np.arange(columns), columns

    def targets(self, y: Any, backend: Backend) -> Array:
        if y.ndim != 2 or y.shape[1] != self.outputs:
            raise ValueError(
                f"y has the shape {tuple(y.shape)}, and a sample has {self.outputs} columns of "
                "labels here"
            )
        return backend.xp.astype(as_matrix(y, backend) != 0, backend.dtype)

    def weights(self, targets: Array, class_weight: Any, backend: Backend) -> Array:
        """A sample counts the product of what each of its labels does."""
        if class_weight != "balanced":
            _check(class_weight)
        host = backend.to_host(targets).astype(np.int64)
        return backend.to_device(compute_sample_weight(class_weight, host))

    def right(self, outputs: Array, targets: Array, xp: Namespace) -> Array:
        return xp.all((outputs > 0) == (targets > 0.5), axis=-1)

    def chosen(self, found: Array, backend: Backend, kind: Kind) -> Any:
        with backend.computing():
            return to_kind(backend.xp.astype(found > 0.5, backend.xp.int64), backend, kind)


class SeveralClasses(Labels):
    """Several questions (N, columns), each of which has one of its own classes for an answer.

    Each has a softmax over as many outputs as it has classes. `classes` is a list, and
    `predict_proba` returns one array per column, as scikit-learn's forests do.
    """

    def __init__(self, classes: Sequence[np.ndarray]) -> None:
        self.classes = list(classes)
        self.ends = np.cumsum([len(some) for some in classes]).tolist()
        self.outputs = int(self.ends[-1])
        self.loss = named("several_classes", *(len(some) for some in classes))

    def targets(self, y: Any, backend: Backend) -> Array:
        columns = y.shape[1] if y.ndim == 2 else 0
        if columns != len(self.classes):
            raise ValueError(
                f"y has the shape {tuple(y.shape)}, and a sample has {len(self.classes)} labels"
            )
        rows = [
            np.eye(len(some))[np.asarray(backend.to_host(Classes(some).ids(column, backend)))]
            for some, column in zip(self.classes, np.asarray(on_host(y)).T, strict=True)
        ]
        return backend.to_device(np.concatenate(rows, axis=1))

    def weights(self, targets: Array, class_weight: Any, backend: Backend) -> Array:
        """A sample counts the product of what each of its labels does."""
        if class_weight != "balanced":
            _check(class_weight)
        host = [part.argmax(axis=1) for part in self._parts(backend.to_host(targets))]
        labels = [some[ids] for some, ids in zip(self.classes, host, strict=True)]
        return backend.to_device(compute_sample_weight(class_weight, np.stack(labels, axis=1)))

    def right(self, outputs: Array, targets: Array, xp: Namespace) -> Array:
        pairs = zip(self._parts(outputs), self._parts(targets), strict=True)
        columns = [xp.argmax(z, axis=-1) == xp.argmax(t, axis=-1) for z, t in pairs]
        return xp.all(xp.stack(columns, axis=-1), axis=-1)

    def chosen(self, found: Array, backend: Backend, kind: Kind) -> Any:
        with backend.computing():
            parts = [backend.xp.argmax(part, axis=-1) for part in self._parts(found)]
        ids = [backend.to_host(part) for part in parts]
        labels = np.stack([c[k] for c, k in zip(self.classes, ids, strict=True)], axis=1)
        if kind.namespace is None or labels.dtype.kind not in "biuf":
            return labels
        return to_kind(from_any(labels, backend), backend, kind)

    def of_classes(self, found: Array, backend: Backend, kind: Kind) -> Any:
        return [to_kind(part, backend, kind) for part in self._parts(found)]

    def same_as(self, other: Labels) -> bool:
        return list(map(set, self.classes)) == list(map(set, other.classes))

    def _parts(self, array: Array) -> list[Array]:
        starts = [0, *self.ends[:-1]]
        return [array[:, start:end] for start, end in zip(starts, self.ends, strict=True)]


def _check(class_weight: Any) -> None:
    """Raise `ValueError` unless these are weights of classes, or of each output's."""
    for weights in class_weight if isinstance(class_weight, list) else [class_weight]:
        if not isinstance(weights, dict) or not all(map(FROM_0.holds, weights.values())):
            raise ValueError(
                f"The parameter class_weight is {class_weight!r}: choose balanced, or a dict "
                "from class to a number from 0 up"
            )


def share_of_right(found: Any, y: Any, sample_weight: Any) -> float:
    """Return the share of rows all of whose labels are right, each as much as it weighs."""
    weight = None if sample_weight is None else on_host(sample_weight)
    found, wanted = np.asarray(on_host(found)), on_host(y)
    if not issparse(wanted) and np.ndim(wanted) == found.ndim == 2:  # also several questions
        right = (found == np.asarray(wanted)).all(axis=1)
        return float(np.average(right, weights=weight))
    return float(accuracy_score(wanted, found, sample_weight=weight))


def labels_of(y: Any, backend: Backend, classes: Any = None) -> Labels:
    """Return the labels that occur in y, or those with `classes` that are known beforehand.

    Several columns of 0 and another number are labels that a sample has or has not; others are
    questions with classes of their own, and `classes` is then a list with an array for each.
    Raises `ValueError` for targets of a regression.
    """
    if kind_of(y).on_host:
        check_classification_targets(y)
        host = np.asarray(y)
        if y.ndim == 2:
            several, values = isinstance(classes, list), np.unique(host)
            of_ones = values.dtype.kind in "biuf" and np.isin(values, (0, 1)).all()
            if not several and (of_ones or (len(values) <= 2 and (values == 0).any())):
                return YesesAndNoes(y.shape[1])
            return SeveralClasses(classes if several else [np.unique(column) for column in host.T])
        return Classes(np.unique(host) if classes is None else classes)
    if y.ndim == 2 and y.shape[1] > 1:
        return YesesAndNoes(int(y.shape[1]))
    if classes is None:
        with backend.computing():
            classes = backend.to_host(backend.xp.unique_values(from_any(y, backend)))
        check_classification_targets(classes)
    return Classes(classes)

"""Class labels of any type to what a network is trained on, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.backends.exchange import from_any, kind_of
from xpmlp.estimators.inputs import as_matrix
from xpmlp.rules import FROM_0


@dataclass(frozen=True)
class Labels:
    """The classes (C,) on the host in rising order; of several yes-or-noes an output each.

    Two classes need one output, whose sigmoid is the probability of the second; more need one
    each and a softmax; `multilabel` rows (N, C) of 0 and 1 one each and its sigmoid.
    """

    classes: np.ndarray
    multilabel: bool

    def weights(self, targets: Array, class_weight: Any, backend: Backend) -> Array:
        """Return how many times an example of each class counts, for `targets` as they are here.

        A dict says it for some classes, the others count once; "balanced" makes all classes
        count as much. Of many labels a sample counts the product of what each of its labels does.
        """
        xp = backend.xp
        if class_weight != "balanced":
            self._check(class_weight)
        if self.multilabel:
            host = backend.to_host(targets).astype(np.int64)
            return backend.to_device(compute_sample_weight(class_weight, host))
        ids = targets if targets.ndim == 1 else xp.astype(targets[:, 0], xp.int64)
        count = len(self.classes)
        if class_weight == "balanced":
            found = np.array(
                [int(backend.to_host(xp.count_nonzero(ids == k))) for k in range(count)]
            )
            table = ids.shape[0] / (np.count_nonzero(found) * np.maximum(found, 1))
        else:
            table = np.array([class_weight.get(label, 1.0) for label in self.classes.tolist()])
        return xp.take(backend.to_device(table.astype(np.float64)), ids, axis=0)

    @staticmethod
    def _check(class_weight: Any) -> None:
        """Raise `ValueError` unless these are weights of classes, or of each output's."""
        for weights in class_weight if isinstance(class_weight, list) else [class_weight]:
            if not isinstance(weights, dict) or not all(map(FROM_0.holds, weights.values())):
                raise ValueError(
                    f"The parameter class_weight is {class_weight!r}: choose balanced, or a dict "
                    "from class to a number from 0 up"
                )

    @property
    def outputs(self) -> int:
        """How many outputs the network needs."""
        return 1 if len(self.classes) <= 2 and not self.multilabel else len(self.classes)

    @property
    def loss(self) -> str:
        """The loss that it is trained on."""
        one_of_many = self.outputs > 1 and not self.multilabel
        return "cross_entropy" if one_of_many else "binary_cross_entropy"

    def targets(self, y: Any, backend: Backend) -> Array:
        """Return the targets of labels: class ids (N,) of a softmax, else rows (N, outputs)."""
        columns = y.shape[1] if y.ndim == 2 else 0
        if columns != (len(self.classes) if self.multilabel else 0):
            wanted = f"{len(self.classes)} columns of labels" if self.multilabel else "one label"
            raise ValueError(f"y has the shape {tuple(y.shape)}, and a sample has {wanted} here")
        if self.multilabel:
            xp = backend.xp
            return xp.astype(as_matrix(y, backend) != 0, backend.dtype)
        ids = self._ids(y, backend)
        return ids if self.loss == "cross_entropy" else as_matrix(ids, backend)

    def _ids(self, y: Any, backend: Backend) -> Array:
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


def labels_of(y: Any, backend: Backend) -> Labels:
    """Return the classes that occur in y; raises `ValueError` for targets of a regression."""
    if kind_of(y).on_host:
        check_classification_targets(y)
        if y.ndim == 2:
            kind = type_of_target(y, raise_unknown=True)
            if kind != "multilabel-indicator" and len(np.unique(y)) > 2:
                raise ValueError(
                    f"y is {kind}: several columns are labels that a sample has or has not, 1 or 0"
                )
            return Labels(np.arange(y.shape[1]), multilabel=True)
        return Labels(np.unique(y), multilabel=False)
    if y.ndim == 2 and y.shape[1] > 1:
        return Labels(np.arange(y.shape[1]), multilabel=True)
    with backend.computing():
        found = backend.to_host(backend.xp.unique_values(from_any(y, backend)))
    check_classification_targets(found)
    return Labels(found, multilabel=False)

"""Class labels of any type to what a network is trained on, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.backends.exchange import kind_of, received
from xpmlp.estimators.inputs import as_matrix


@dataclass(frozen=True)
class Labels:
    """The classes (C,) on the host in rising order; of several yes-or-noes an output each.

    Two classes need one output, whose sigmoid is the probability of the second; more need one
    each and a softmax; `multilabel` rows (N, C) of 0 and 1 one each and its sigmoid.
    """

    classes: np.ndarray
    multilabel: bool

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
        if self.multilabel:
            return as_matrix(y, backend)
        ids = self._ids(y, backend)
        return ids if self.loss == "cross_entropy" else as_matrix(ids, backend)

    def _ids(self, y: Any, backend: Backend) -> Array:
        if kind_of(y).gpu is None:
            host = np.asarray(y)
            unknown = np.setdiff1d(host, self.classes)
            if len(unknown):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`: {unknown[:5]}; they are "
                    f"{self.classes}"
                )
            return received(np.searchsorted(self.classes, host).astype(np.int64), backend)
        xp = backend.xp
        ids = xp.searchsorted(received(self.classes, backend), received(y, backend))
        return xp.astype(ids, xp.int64)


def labels_of(y: Any, backend: Backend) -> Labels:
    """Return the classes that occur in y; raises `ValueError` for targets of a regression."""
    if kind_of(y).gpu is None:
        check_classification_targets(y)
        if type_of_target(y, raise_unknown=True).startswith("multilabel"):
            return Labels(np.arange(y.shape[1]), multilabel=True)
        return Labels(np.unique(y), multilabel=False)
    if y.ndim == 2 and y.shape[1] > 1:
        return Labels(np.arange(y.shape[1]), multilabel=True)
    with backend.computing():
        found = backend.to_host(backend.xp.unique_values(received(y, backend)))
    check_classification_targets(found)
    return Labels(found, multilabel=False)

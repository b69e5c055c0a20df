"""MLPClassifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from xpmlp.arrays import Array
from xpmlp.backends import Backend
from xpmlp.backends.exchange import from_any, on_host, to_kind
from xpmlp.data.examples import Examples
from xpmlp.estimators.base import BaseMLP
from xpmlp.estimators.inputs import validation_of
from xpmlp.estimators.labels import Labels, labels_of, share_of_right
from xpmlp.estimators.parameters import hidden_units, is_stochastic


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A multi-layer perceptron that tells classes, with scikit-learn's interface.

    Parameters have the names, defaults and meaning of scikit-learn's MLPClassifier, and so do
    the fitted attributes; the same `random_state` gives the same initial weights, held-out
    samples and batches. Beside them:
    `class_weight`: "balanced", or a dict from classes to how many times their samples count.
    `dropout`: the share of hidden units left out of each training step.
    `init`: the name of an initialiser ("he", ...); None draws as scikit-learn does.
    `monitor`: the validation figure that early stopping watches, "score" or "loss".
    `device`: "cpu", "gpu" or "gpu:N"; None is where X lies. `backend`: the library that computes,
    as for `select_backend`. `threads`: of a CPU, None for all.
    `solver` may be "rmsprop", with the decay `beta_2`; `activation` a sequence with one for each
    hidden layer; `batch_size` "full".
    With `early_stopping` the best weights are put back, whatever ended the training.
    """

    _labels: Labels

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        init: str | None = None,
        monitor: str = "score",
        device: str | None = None,
        backend: str = "auto",
        threads: int | None = None,
        class_weight: Any = None,
    ) -> None:
        for name, value in locals().items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on X (N, F) with labels y (N,), or rows of 0 and 1 (N, classes) for many labels.

        X_val and y_val are watched instead of a held-out part of X. Raises `ValueError` for
        input that cannot be trained on, `DivergedError` when the loss is no longer finite.
        """
        return self._fit(X, y, sample_weight, validation_of(X_val, y_val, sample_weight_val))

    @available_if(is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on X and y for one epoch; the first call needs all `classes`.

        Of several questions they are a list with an array for each; of labels that a sample has or
        has not [0, 1]. X_val and y_val are watched: `validation_scores_` gets one more.
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None and not len(classes):
            raise ValueError("classes is empty: give all labels that there will be")
        if isinstance(self.class_weight, str):
            raise ValueError("class_weight 'balanced' is not known in partial_fit: give a dict")
        if isinstance(classes, list) and np.ndim(classes[0]) == 1:
            classes = [np.unique(np.asarray(on_host(some))) for some in classes]
        elif classes is not None:
            classes = np.unique(np.asarray(on_host(classes)))
        validation = validation_of(X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, validation, classes=classes, incremental=True)

    def predict(self, X: Any) -> Any:
        """Return the class of each row of X, in the kind of X where labels are numbers."""
        found = self._outputs(X, "predict")
        return self._labels.chosen(*found)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class (N, classes), in the kind of X.

        Of several questions with classes of their own it is a list with an array for each.
        """
        found = self._outputs(X, "predict_proba")
        return self._labels.of_classes(*found)

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of `predict_proba`."""
        found, backend, kind = self._outputs(X, "predict_log_proba")
        of_classes = self._labels.of_classes(found, backend, kind)

        def logarithm(array: Any) -> Any:
            with backend.computing():
                return to_kind(backend.xp.log(from_any(array, backend)), backend, kind)

        several = isinstance(of_classes, list)
        return list(map(logarithm, of_classes)) if several else logarithm(of_classes)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of rows whose class (all of whose labels) is right."""
        return share_of_right(self.predict(X), y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        """Add that rows may have several labels, or answer several questions."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags

    def _prepare(self, y: Any, backend: Backend, reset: bool, classes: Any) -> None:
        if not reset and not self.warm_start:  # `partial_fit`
            found = None if classes is None else labels_of(y, backend, classes)
            if found and (type(found) is not type(self._labels) or not found.same_as(self._labels)):
                raise ValueError(
                    f"`classes={found.classes}` is not the same as on last call to partial_fit, "
                    f"was: {self._labels.classes}"
                )
            return  # what else does not fit is found when y is translated
        found = labels_of(y, backend, classes)
        if reset:
            self._labels, self.classes_ = found, found.classes
        elif type(found) is type(self._labels) and not found.same_as(self._labels):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {found.classes}"
            )

    def _targets(self, y: Any, backend: Backend) -> Array:
        return self._labels.targets(y, backend)

    def _weighted(self, train: Examples, backend: Backend) -> Examples:
        if self.class_weight is None:
            return train
        with backend.computing():
            weight = self._labels.weights(train.y, self.class_weight, backend)
            if train.sample_weight is not None:
                weight = weight * train.sample_weight
        return replace(train, sample_weight=weight)

    def _stratify(self, y: Array, backend: Backend) -> np.ndarray | None:
        return self._labels.strata(y, backend)

    def _network(self, features: int) -> tuple[tuple[int, ...], str]:
        return (features, *hidden_units(self), self._labels.outputs), self._labels.loss

    def _score_outputs(self, outputs: Array, examples: Examples, backend: Backend) -> float:
        xp = backend.xp
        right = self._labels.right(outputs, examples.y, xp)
        if examples.sample_weight is None:
            return int(backend.to_host(xp.count_nonzero(right))) / len(examples)
        weighted = xp.astype(right, outputs.dtype) * examples.sample_weight
        return float(backend.to_host(xp.sum(weighted) / xp.sum(examples.sample_weight)))

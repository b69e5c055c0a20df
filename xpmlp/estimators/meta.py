"""What estimators that are made of others have in common."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, MetaEstimatorMixin

from xpmlp.estimators.stored import Stored


class MetaMLP(Stored, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Trains copies of its `estimator`, by default one of a kind of its own."""

    _default: type[Any]
    estimator: Any

    def _prototype(self) -> Any:
        """Return what is copied."""
        return self._default() if self.estimator is None else self.estimator

    def _adopt(self, fitted: Any) -> None:
        """Take over what a fitted copy says of its features and classes."""
        for name in ("n_features_in_", "feature_names_in_", "classes_"):
            self.__dict__.pop(name, None)  # of a fit before
            if hasattr(fitted, name):
                setattr(self, name, getattr(fitted, name))

    def __sklearn_tags__(self) -> Any:
        """Say what the copies take."""
        tags, own = super().__sklearn_tags__(), self._prototype().__sklearn_tags__()
        tags.input_tags, tags.target_tags = own.input_tags, own.target_tags
        tags.classifier_tags, tags.regressor_tags = own.classifier_tags, own.regressor_tags
        tags.array_api_support = False
        return tags

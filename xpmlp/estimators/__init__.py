"""MLPClassifier and MLPRegressor: the interface of scikit-learn's own, and what it lacks."""

from xpmlp.estimators.classifier import MLPClassifier as MLPClassifier
from xpmlp.estimators.regressor import MLPRegressor as MLPRegressor

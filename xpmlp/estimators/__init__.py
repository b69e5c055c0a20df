"""scikit-learn's interface: its own two networks and what they lack, a search, two for tables."""

from xpmlp.estimators.classifier import MLPClassifier as MLPClassifier
from xpmlp.estimators.regressor import MLPRegressor as MLPRegressor
from xpmlp.estimators.search import StackedSearchCV as StackedSearchCV
from xpmlp.estimators.tabular import (
    TabularClassifier as TabularClassifier,
    TabularRegressor as TabularRegressor,
)

"""scikit-learn's interface: its two networks, ensembles, intervals, a search, and tables."""

from xpmlp.estimators.classifier import MLPClassifier as MLPClassifier
from xpmlp.estimators.conformal import (
    ConformalClassifier as ConformalClassifier,
    ConformalRegressor as ConformalRegressor,
)
from xpmlp.estimators.ensemble import (
    EnsembleClassifier as EnsembleClassifier,
    EnsembleRegressor as EnsembleRegressor,
)
from xpmlp.estimators.regressor import MLPRegressor as MLPRegressor
from xpmlp.estimators.search import StackedSearchCV as StackedSearchCV
from xpmlp.estimators.tabular import (
    TabularClassifier as TabularClassifier,
    TabularRegressor as TabularRegressor,
)

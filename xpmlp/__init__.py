"""Multi-layer perceptrons with hand-written backpropagation, on numpy and CuPy arrays.

>>> import xpmlp
>>> data = xpmlp.load_data("digits")  # split, and scaled by the training part
>>> model = xpmlp.Model(xpmlp.MLP((64, 100, 10)), xpmlp.SGD(), learning_rate=0.5)
>>> trained = xpmlp.fit(model, data, xpmlp.Plan(epochs=20, batch_size=64))
>>> loss, accuracy = trained.evaluate(data.test)
>>> accuracy > 0.95
True
>>> labels = trained.predict(xpmlp.read_data("digits").test.x)

- Data: `load_data` of a name, a file, a folder or a data frame; `dataset_of_arrays`; `read_data`
  and `prepare` are its two halves.
- What is trained: `MLP`, `Model` with an optimiser (`SGD`, `Momentum`, `Nesterov`, `RMSprop`,
  `Adam`, `AdamW`), a `Penalty`, a `Regularization` with a `Deformation`; how: `Plan`, with a
  schedule (`Constant`, `StepDecay`, `Exponential`, `Cosine`, `Warmup`).
- Training: `fit`; `fit_ensemble` and `fit_stack` of several models at once; `Training` and
  `StackTraining`, to look at in between.
- What comes out: `Trained`, which predicts, is evaluated, saved, and brought back by `load`.
- For tables, without any setting: `TabularClassifier`, `TabularRegressor`; in scikit-learn's place:
  `MLPClassifier`, `MLPRegressor`; several of one as `EnsembleClassifier`, `EnsembleRegressor`;
  `ConformalClassifier`, `ConformalRegressor` for sets and intervals that hold what they say;
  `StackedSearchCV` for a search over their settings.
- Trust: `check_gradients`, `diagnose`, `summarize`.
- Extensions are rows of `ACTIVATIONS`, `LOSSES`, `OPTIMIZERS`, `SCHEDULES`, `FORMATS`, `BACKENDS`.

`xpmlp --help` is the program; the documents lie in docs/ of the repository.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from xpmlp.backends import (
    BACKENDS as BACKENDS,
    Backend as Backend,
    DeviceRequest as DeviceRequest,
    StandardBackend as StandardBackend,
    select_backend as select_backend,
)
from xpmlp.data import (
    FORMATS as FORMATS,
    Dataset as Dataset,
    Examples as Examples,
    Format as Format,
    Keys as Keys,
    Normalization as Normalization,
    Part as Part,
    Preparation as Preparation,
    StreamedExamples as StreamedExamples,
    Targets as Targets,
    dataset_of_arrays as dataset_of_arrays,
    fit_normalization as fit_normalization,
    load_data as load_data,
    prepare as prepare,
    read_data as read_data,
    split as split,
)
from xpmlp.errors import (
    CheckFailedError as CheckFailedError,
    CheckpointError as CheckpointError,
    DataError as DataError,
    DeviceError as DeviceError,
    DivergedError as DivergedError,
    UsageError as UsageError,
    XpmlpError as XpmlpError,
)
from xpmlp.inspection.diagnostics import LayerDiagnostics as LayerDiagnostics, diagnose as diagnose
from xpmlp.inspection.ensemble import (
    EnsembleScore as EnsembleScore,
    ensemble_probabilities as ensemble_probabilities,
    evaluate_ensemble as evaluate_ensemble,
)
from xpmlp.inspection.gradcheck import (
    GradientRow as GradientRow,
    check_gradients as check_gradients,
)
from xpmlp.inspection.learning_rates import (
    LearningRates as LearningRates,
    find_learning_rate as find_learning_rate,
)
from xpmlp.inspection.predictions import Predictions as Predictions, predict as predict
from xpmlp.inspection.summary import summarize as summarize
from xpmlp.mathematics.activations import ACTIVATIONS as ACTIVATIONS, Activation as Activation
from xpmlp.mathematics.losses import (
    LOSSES as LOSSES,
    Link as Link,
    Loss as Loss,
    softmax as softmax,
    softmax_cross_entropy as softmax_cross_entropy,
)
from xpmlp.mathematics.mlp import MLP as MLP
from xpmlp.mathematics.optimizers import (
    OPTIMIZERS as OPTIMIZERS,
    SGD as SGD,
    Adam as Adam,
    AdamW as AdamW,
    Momentum as Momentum,
    Nesterov as Nesterov,
    Optimizer as Optimizer,
    RMSprop as RMSprop,
    StepContext as StepContext,
)
from xpmlp.mathematics.penalties import Penalty as Penalty
from xpmlp.mathematics.schedules import (
    SCHEDULES as SCHEDULES,
    Constant as Constant,
    Cosine as Cosine,
    Exponential as Exponential,
    Schedule as Schedule,
    StepDecay as StepDecay,
    Warmup as Warmup,
)
from xpmlp.mathematics.step import (
    Inputs as Inputs,
    Outputs as Outputs,
    Piece as Piece,
    Step as Step,
    Variables as Variables,
    gradient as gradient,
)
from xpmlp.regularization import (
    Deformation as Deformation,
    Regularization as Regularization,
)
from xpmlp.robust_losses import absolute_error as absolute_error  # its rows are in LOSSES then
from xpmlp.trained import (
    Trained as Trained,
    fit as fit,
    fit_ensemble as fit_ensemble,
    fit_stack as fit_stack,
    load as load,
)
from xpmlp.training.evaluation import evaluate as evaluate
from xpmlp.training.history import LogRow as LogRow, history_arrays as history_arrays
from xpmlp.training.loop import StackTraining as StackTraining, Training as Training
from xpmlp.training.plan import Model as Model, Plan as Plan
from xpmlp.training.stacking import (
    model_of as model_of,
    stacked as stacked,
    stacked_mlp as stacked_mlp,
)
from xpmlp.training.state import (
    ModelState as ModelState,
    TrainingState as TrainingState,
    initial_state as initial_state,
)

if TYPE_CHECKING:
    from xpmlp.estimators import (
        ConformalClassifier as ConformalClassifier,
        ConformalRegressor as ConformalRegressor,
        EnsembleClassifier as EnsembleClassifier,
        EnsembleRegressor as EnsembleRegressor,
        MLPClassifier as MLPClassifier,
        MLPRegressor as MLPRegressor,
        StackedSearchCV as StackedSearchCV,
        TabularClassifier as TabularClassifier,
        TabularRegressor as TabularRegressor,
    )

__version__ = "0.1.0"

# What is imported when it is asked for: scikit-learn is an extra, and slow to load.
_ESTIMATORS = (
    *("ConformalClassifier", "ConformalRegressor", "EnsembleClassifier", "EnsembleRegressor"),
    *("MLPClassifier", "MLPRegressor", "StackedSearchCV"),
    *("TabularClassifier", "TabularRegressor"),
)


def __getattr__(name: str) -> Any:
    """Import the estimators when they are asked for."""
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'xpmlp' has no attribute {name!r}")
    try:
        from xpmlp import estimators
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "sklearn":
            raise
        raise ModuleNotFoundError(
            f'{name} needs scikit-learn: pip install "xpmlp[sklearn]"', name="sklearn"
        ) from error
    return getattr(estimators, name)


def __dir__() -> list[str]:
    """Return the names that are for users: what is imported above, and the estimators."""
    innards = {"Any", "ModuleType", "TYPE_CHECKING"}
    innards |= {name for name, value in globals().items() if isinstance(value, ModuleType)}
    own = {name for name in globals() if not name.startswith("_")} - innards
    return sorted({*own, *_ESTIMATORS, "__version__"})

"""Multi-layer perceptrons with hand-written backpropagation, on numpy and CuPy arrays."""

from typing import TYPE_CHECKING, Any

from xpmlp.backends import (
    BACKENDS as BACKENDS,
    Backend as Backend,
    DeviceRequest as DeviceRequest,
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
    StreamedExamples as StreamedExamples,
    dataset_of_arrays as dataset_of_arrays,
    fit_normalization as fit_normalization,
    load_data as load_data,
    prepare as prepare,
    read_data as read_data,
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
from xpmlp.trained import Trained as Trained, fit as fit, fit_stack as fit_stack, load as load
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
    from xpmlp.estimators import MLPClassifier as MLPClassifier, MLPRegressor as MLPRegressor

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the estimators when they are asked for: scikit-learn is an extra, and slow to load."""
    if name not in ("MLPClassifier", "MLPRegressor"):
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

"""Multi-layer perceptrons with hand-written backpropagation, on numpy and CuPy arrays."""

from typing import TYPE_CHECKING, Any

from xpmlp.backends import BACKENDS, Backend, DeviceRequest, select_backend
from xpmlp.data import (
    FORMATS,
    Dataset,
    Examples,
    Format,
    Keys,
    Normalization,
    Part,
    StreamedExamples,
    dataset_of_arrays,
    fit_normalization,
    load_data,
    prepare,
    read_data,
)
from xpmlp.errors import (
    CheckFailedError,
    CheckpointError,
    DataError,
    DeviceError,
    DivergedError,
    UsageError,
    XpmlpError,
)
from xpmlp.inspection.diagnostics import LayerDiagnostics, diagnose
from xpmlp.inspection.ensemble import EnsembleScore, ensemble_probabilities, evaluate_ensemble
from xpmlp.inspection.gradcheck import GradientRow, check_gradients
from xpmlp.inspection.predictions import Predictions, predict
from xpmlp.inspection.summary import summarize
from xpmlp.mathematics.activations import ACTIVATIONS, Activation
from xpmlp.mathematics.losses import LOSSES, Link, Loss, softmax, softmax_cross_entropy
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
    StepContext,
)
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Schedule,
    StepDecay,
    Warmup,
)
from xpmlp.mathematics.step import Inputs, Outputs, Piece, Step, Variables, gradient
from xpmlp.trained import Trained, fit, fit_stack, load
from xpmlp.training.evaluation import evaluate
from xpmlp.training.history import LogRow, history_arrays
from xpmlp.training.loop import StackTraining, Training
from xpmlp.training.plan import Model, Plan
from xpmlp.training.stacking import model_of, stacked, stacked_mlp
from xpmlp.training.state import ModelState, TrainingState, initial_state

if TYPE_CHECKING:
    from xpmlp.estimators import MLPClassifier, MLPRegressor

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "BACKENDS",
    "FORMATS",
    "LOSSES",
    "MLP",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Backend",
    "CheckFailedError",
    "CheckpointError",
    "Constant",
    "Cosine",
    "DataError",
    "Dataset",
    "DeviceError",
    "DeviceRequest",
    "DivergedError",
    "EnsembleScore",
    "Examples",
    "Exponential",
    "Format",
    "GradientRow",
    "Inputs",
    "Keys",
    "LayerDiagnostics",
    "Link",
    "LogRow",
    "Loss",
    "MLPClassifier",
    "MLPRegressor",
    "Model",
    "ModelState",
    "Momentum",
    "Nesterov",
    "Normalization",
    "Optimizer",
    "Outputs",
    "Part",
    "Penalty",
    "Piece",
    "Plan",
    "Predictions",
    "RMSprop",
    "Schedule",
    "StackTraining",
    "Step",
    "StepContext",
    "StepDecay",
    "StreamedExamples",
    "Trained",
    "Training",
    "TrainingState",
    "UsageError",
    "Variables",
    "Warmup",
    "XpmlpError",
    "__version__",
    "check_gradients",
    "dataset_of_arrays",
    "diagnose",
    "ensemble_probabilities",
    "evaluate",
    "evaluate_ensemble",
    "fit",
    "fit_normalization",
    "fit_stack",
    "gradient",
    "history_arrays",
    "initial_state",
    "load",
    "load_data",
    "model_of",
    "predict",
    "prepare",
    "read_data",
    "select_backend",
    "softmax",
    "softmax_cross_entropy",
    "stacked",
    "stacked_mlp",
    "summarize",
]


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

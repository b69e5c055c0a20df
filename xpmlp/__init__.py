"""Multi-layer perceptrons with hand-written backpropagation, on numpy and CuPy arrays."""

from typing import TYPE_CHECKING, Any

from xpmlp.backends import Backend, select_backend
from xpmlp.data import (
    Dataset,
    Examples,
    Normalization,
    StreamedExamples,
    dataset_of_arrays,
    fit_normalization,
    load_data,
)
from xpmlp.diagnostics import LayerDiagnostics, diagnose
from xpmlp.ensemble import EnsembleScore, ensemble_probabilities, evaluate_ensemble
from xpmlp.gradcheck import GradientRow, check_gradients
from xpmlp.history import LogRow, history_arrays
from xpmlp.loop import fit
from xpmlp.mlp import MLP
from xpmlp.optimizers import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop
from xpmlp.penalties import Penalty
from xpmlp.schedules import Constant, Cosine, Exponential, StepDecay, Warmup
from xpmlp.stack_loop import ModelSetting, StackModel, fit_stack
from xpmlp.stacking import mlp_of, model_of, stacked
from xpmlp.summary import summarize
from xpmlp.training import TrainingState, evaluate, initial_state

if TYPE_CHECKING:
    from xpmlp.estimators import MLPClassifier, MLPRegressor

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "Backend",
    "Constant",
    "Cosine",
    "Dataset",
    "EnsembleScore",
    "Examples",
    "Exponential",
    "GradientRow",
    "LayerDiagnostics",
    "LogRow",
    "MLPClassifier",
    "MLPRegressor",
    "ModelSetting",
    "Momentum",
    "Nesterov",
    "Normalization",
    "Penalty",
    "RMSprop",
    "StackModel",
    "StepDecay",
    "StreamedExamples",
    "TrainingState",
    "Warmup",
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
    "history_arrays",
    "initial_state",
    "load_data",
    "mlp_of",
    "model_of",
    "select_backend",
    "stacked",
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

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
from xpmlp.inspection.diagnostics import LayerDiagnostics, diagnose
from xpmlp.inspection.ensemble import EnsembleScore, ensemble_probabilities, evaluate_ensemble
from xpmlp.inspection.gradcheck import GradientRow, check_gradients
from xpmlp.inspection.summary import summarize
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.schedules import Constant, Cosine, Exponential, StepDecay, Warmup
from xpmlp.training.history import LogRow, history_arrays
from xpmlp.training.loop import fit
from xpmlp.training.stack_loop import ModelSetting, StackModel, fit_stack
from xpmlp.training.stacking import mlp_of, model_of, stacked
from xpmlp.training.steps import TrainingState, evaluate, initial_state

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

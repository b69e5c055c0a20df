"""Multi-layer perceptrons with hand-written backpropagation, on numpy and CuPy arrays."""

from xpmlp.backends import Backend, select_backend
from xpmlp.data import Batches, Dataset, Examples, fit_normalization, hold_out, load_data
from xpmlp.mlp import MLP
from xpmlp.optimizers import SGD
from xpmlp.training import LogRow, TrainingState, evaluate, fit, initial_state

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "Backend",
    "Batches",
    "Dataset",
    "Examples",
    "LogRow",
    "TrainingState",
    "__version__",
    "evaluate",
    "fit",
    "fit_normalization",
    "hold_out",
    "initial_state",
    "load_data",
    "select_backend",
]

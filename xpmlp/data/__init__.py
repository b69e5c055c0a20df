"""From formats to validated host arrays, to the device once, to batches."""

from xpmlp.data.batches import Batches
from xpmlp.data.dataset import Dataset, Examples, hold_out
from xpmlp.data.load import load_data
from xpmlp.data.normalization import Normalization, fit_normalization

__all__ = [
    "Batches",
    "Dataset",
    "Examples",
    "Normalization",
    "fit_normalization",
    "hold_out",
    "load_data",
]

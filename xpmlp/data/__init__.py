"""From formats to validated examples, in memory or in a file, to batches on the device."""

from xpmlp.data.batches import Batches
from xpmlp.data.dataset import Dataset, dataset_of_arrays
from xpmlp.data.examples import Batch, Examples
from xpmlp.data.load import load_data
from xpmlp.data.normalization import Normalization, fit_normalization
from xpmlp.data.source import Source, Unshared, batches_of, shared_out
from xpmlp.data.streaming import StreamedExamples

__all__ = [
    "Batch",
    "Batches",
    "Dataset",
    "Examples",
    "Normalization",
    "Source",
    "StreamedExamples",
    "Unshared",
    "batches_of",
    "dataset_of_arrays",
    "fit_normalization",
    "load_data",
    "shared_out",
]

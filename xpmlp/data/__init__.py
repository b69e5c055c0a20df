"""From formats to validated examples, in memory or in a file, to batches on the device."""

from xpmlp.data.batches import Batches
from xpmlp.data.dataset import Dataset, dataset_of_arrays
from xpmlp.data.examples import Batch, Examples
from xpmlp.data.formats.table import FORMATS, Format
from xpmlp.data.load import load_data, read_data
from xpmlp.data.normalization import Normalization, fit_normalization
from xpmlp.data.part import Keys, Part
from xpmlp.data.prepare import prepare, shared_out
from xpmlp.data.streaming import StreamedExamples

__all__ = [
    "FORMATS",
    "Batch",
    "Batches",
    "Dataset",
    "Examples",
    "Format",
    "Keys",
    "Normalization",
    "Part",
    "StreamedExamples",
    "dataset_of_arrays",
    "fit_normalization",
    "load_data",
    "prepare",
    "read_data",
    "shared_out",
]

"""From formats to validated examples, in memory or in a file, to batches on the device."""

from xpmlp.data.batches import Batches as Batches
from xpmlp.data.dataset import Dataset as Dataset, dataset_of_arrays as dataset_of_arrays
from xpmlp.data.examples import Batch as Batch, Examples as Examples
from xpmlp.data.formats.registry import FORMATS as FORMATS, Format as Format
from xpmlp.data.load import load_data as load_data, read_data as read_data
from xpmlp.data.normalization import (
    Normalization as Normalization,
    fit_normalization as fit_normalization,
)
from xpmlp.data.part import Keys as Keys, Part as Part
from xpmlp.data.preparation import Preparation as Preparation
from xpmlp.data.prepare import prepare as prepare, shared_out as shared_out, split as split
from xpmlp.data.streaming import StreamedExamples as StreamedExamples
from xpmlp.data.targets import Targets as Targets

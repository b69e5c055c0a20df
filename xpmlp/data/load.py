"""One function for every source of data."""

from __future__ import annotations

from pathlib import Path

from xpmlp.data.dataset import Dataset
from xpmlp.data.digits import load_digits
from xpmlp.data.idx_folder import load_idx_folder
from xpmlp.data.mnist import load_mnist
from xpmlp.errors import DataError

NAMED = {"digits": load_digits, "mnist": load_mnist}


def load_data(source: str) -> Dataset:
    """Return the data set of a name ("digits", "mnist") or of a folder of IDX files.

    Raises `DataError` for a source that is missing, damaged, or of no known format.
    """
    if source in NAMED:
        return NAMED[source]()
    path = Path(source)
    if path.is_dir():
        return load_idx_folder(path)
    names = ", ".join(NAMED)
    if path.exists():
        raise DataError(f"{path}: not a folder of IDX files, nor a name of these: {names}")
    raise DataError(f"{source}: neither a file or folder here, nor a name of these: {names}")

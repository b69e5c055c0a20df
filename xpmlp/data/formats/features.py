"""Features alone, to predict from: the arrays of the formats that examples come in, and tables."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.checks import check_feature_kind
from xpmlp.errors import DataError


def read_features(path: Path, key: str) -> Any:
    """Return rows of features, of an .h5 left in the file and read when they are sliced.

    `key` names them in HDF5 and npz. Raises `DataError` for what is missing, damaged, or no rows
    of numbers.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    ending = path.suffix.lower()
    if ending in (".h5", ".hdf5", ".hdf", ".he5"):
        from xpmlp.data.formats.hdf5 import open_rows

        x: Any = open_rows(path, key)
    elif ending == ".npz":
        from xpmlp.data.formats.npz import read_arrays

        (x,) = read_arrays(path, [key])
    elif ending == ".npy":
        from xpmlp.data.formats.npy import read_npy

        x = read_npy(path)
    elif ending == ".csv":
        x = _read_csv(path)
    else:
        raise DataError(f"{path}: its ending names no format: .npz, .npy, .h5, .hdf5 or .csv")
    check_feature_kind(x.dtype, x.shape, str(path))
    return x


def _read_csv(path: Path) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of no rows, which is said in a sentence
            return np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: no rows of numbers ({str(error).splitlines()[0]})") from error

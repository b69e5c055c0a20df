"""Small data files of every format, for tests to write and to damage."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import h5py
import numpy as np

from xpmlp.data import Dataset, Examples
from xpmlp.data.formats.idx_folder import FILES

_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D}
_CODES["float64"] = 0x0E


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, _CODES[array.dtype.name], array.ndim])
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return header + shape + array.astype(array.dtype.newbyteorder(">")).tobytes()


def small_set(rows: int = 60, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of 3 × 4 bytes and their class ids, all of which occur."""
    rng = np.random.default_rng(seed)
    ids = np.arange(rows) % classes
    images = rng.integers(0, 256, size=(rows, 3, 4)) // 4 + 48 * ids[:, None, None]
    return images.astype(np.uint8), rng.permutation(ids).astype(np.uint8)


def write_idx_folder(folder: Path, *, gzipped: bool = True) -> dict[str, np.ndarray]:
    """Write the four files of MNIST with a small set; return what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = dict(zip(FILES, (*small_set(), *small_set(24, seed=1)), strict=True))
    for name, array in arrays.items():
        content = idx_bytes(array)
        if gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


def write_h5(path: Path, x: object, y: object, **settings: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("xdata", data=x, **settings)
        file.create_dataset("ydata", data=y)
    return path


def in_memory(dataset: Dataset) -> tuple[Examples, Examples]:
    """Return training and test examples, which are there and in memory."""
    assert isinstance(dataset.train, Examples)
    assert isinstance(dataset.test, Examples)
    return dataset.train, dataset.test

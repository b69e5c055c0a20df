"""HDF5 files with features and labels under two keys, read into memory or left in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xpmlp.data.checks import check_counts, check_feature_kind, check_label_kind
from xpmlp.data.formats.idx import MAX_DEFLATE_RATIO
from xpmlp.data.part import Keys, Part
from xpmlp.errors import DataError
from xpmlp.files import replacing

_MAX_CHUNK_BYTES = 256 * 2**20
_MAX_LINKS = 16


def read_hdf5(path: Path, keys: Keys) -> list[Part]:
    """Open a file and return its examples, whose rows are read when they are sliced.

    Raises `DataError` for damaged files, missing keys, links that lead out of the file, and arrays
    that cannot be examples.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    with _errors_of(path):
        file = h5py.File(path, "r")
        names = (keys.x_key, keys.y_key)
        x, y = (_find(file, key, path) for key in names)
        x_place, y_place = (f"{path}, {key}" for key in names)
        check_feature_kind(x.dtype, x.shape or (), x_place)
        check_label_kind(y.dtype, y.shape or (), y_place, text=True)
        check_counts(len(x), len(y), x_place, y_place)
        for data, place in ((x, x_place), (y, y_place)):
            _check_storage(data, place)
        return [Part(Hdf5Rows(x, path), Hdf5Rows(y, path), x_place, y_place, in_file=True)]


def open_rows(path: Path, key: str) -> Hdf5Rows:
    """Open a file and return one array of it, as `read_hdf5` does two."""
    with _errors_of(path):
        data = _find(h5py.File(path, "r"), key, path)
        _check_storage(data, f"{path}, {key}")
        return Hdf5Rows(data, path)


class Hdf5Rows:
    """An array of an open file, read a slice of rows at a time; damage is a `DataError`."""

    def __init__(self, data: Any, path: Path) -> None:
        self._data, self._path = data, path
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype = data.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        with _errors_of(self._path):
            return np.asarray(self._data[rows])


def _find(file: h5py.File, key: str, path: Path) -> Any:
    """Return the data set of a key, following links inside the file and no others."""
    group, parts, links = file, [part for part in key.split("/") if part], 0
    while parts:
        name = parts.pop(0)
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            raise DataError(
                f"{path}: no {key!r} in it, only {', '.join(_names(file)) or 'nothing'}: name the "
                "keys (x_key=, y_key=)"
            )
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{path}, {key}: a link to another file ({link.filename}), which is not followed: "
                "copy the data into one file"
            )
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MAX_LINKS:
                raise DataError(f"{path}, {key}: links that lead in a circle")
            target = [part for part in link.path.split("/") if part and part != "."]
            group, parts = (file if link.path.startswith("/") else group), target + parts
        else:
            group = group[name]
    if not isinstance(group, h5py.Dataset):
        raise DataError(f"{path}, {key}: a group and not an array of values")
    if lies_elsewhere(group):
        raise DataError(
            f"{path}, {key}: its values lie in other files, which are not read: copy them into one"
        )
    return group


def _names(file: h5py.File) -> list[str]:
    """Return the paths of the arrays in a file, the first twenty of them."""
    names: list[str] = []

    def visit(name: str, item: object) -> bool | None:
        if isinstance(item, h5py.Dataset):
            names.append(name)
        return True if len(names) == 20 else None

    file.visititems(visit)
    return names


def _check_storage(data: Any, place: str) -> None:
    """Raise `DataError` where the shape promises more than the file stores.

    Otherwise a few damaged bytes of a header could ask for any amount of memory.
    """
    promised, stored = bytes_of(data)
    filtered = data.id.get_create_plist().get_nfilters() > 0
    if promised > stored * (MAX_DEFLATE_RATIO if filtered else 1):
        raise DataError(
            f"{place}: its shape {data.shape} needs {promised} bytes and the file stores {stored}: "
            "it is damaged or was not written to the end"
        )
    if stored > Path(data.file.filename).stat().st_size:
        raise DataError(f"{place}: says it stores {stored} bytes, more than the file has")
    if data.chunks and prod(data.chunks) * data.dtype.itemsize > _MAX_CHUNK_BYTES:
        raise DataError(
            f"{place}: chunks of shape {data.chunks} are too large to be read piece by piece: "
            "write it again with smaller ones"
        )


def lies_elsewhere(data: Any) -> bool:
    """Tell whether the values of an array lie in other files: nothing foreign is followed."""
    return bool(data.is_virtual or data.external)


def bytes_of(data: Any) -> tuple[int, int]:
    """Return how many bytes an array's shape promises, and how many are stored of it."""
    return prod(data.shape) * data.dtype.itemsize, data.id.get_storage_size()


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 raises for a damaged file into a `DataError` that names it."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # h5py raises OSError, KeyError, TypeError, RuntimeError, ...
        cause = (str(error).strip("'\"") or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: not an intact HDF5 file ({cause}): make it again") from error


def write_hdf5(path: Path, x: np.ndarray, y: np.ndarray, x_key: str, y_key: str) -> None:
    """Write features and labels, chunked by rows and compressed, to a new file.

    It gets its name when it is complete: a file of that name is whole.
    """
    row_bytes = max(1, x.dtype.itemsize * prod(x.shape[1:]))
    rows = max(1, min(len(x), 2**18 // row_bytes))  # chunks of a quarter of a megabyte
    with replacing(path) as part:
        try:
            with h5py.File(part, "w") as file:
                file.create_dataset(
                    x_key, data=x, chunks=(rows, *x.shape[1:]), compression="gzip", shuffle=True
                )
                file.create_dataset(y_key, data=y, chunks=True, compression="gzip")
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}: cannot be written with the keys {x_key!r} and {y_key!r} ({error})"
            ) from error

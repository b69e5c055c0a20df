"""HDF5 files with features and labels under two keys, read into memory or left in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xpmlp.data.checks import (
    check_counts,
    check_feature_kind,
    check_label_kind,
    check_test_ids,
    checked_features,
    checked_ids,
    count_classes,
)
from xpmlp.data.dataset import (
    Dataset,
    Part,
    check_same_features,
    image_shape,
    make_dataset,
    type_maximum,
)
from xpmlp.data.formats.idx import MAX_DEFLATE_RATIO
from xpmlp.data.streaming import StreamedExamples
from xpmlp.errors import DataError

_MAX_CHUNK_BYTES = 256 * 2**20
_MAX_LINKS = 16
_SCANNED_ROWS = 4096


def load_hdf5(
    path: Path,
    test_path: Path | None = None,
    *,
    x_key: str = "xdata",
    y_key: str = "ydata",
    classes: int | None = None,
    stream: bool | None = None,
    deferred: bool = False,
) -> Dataset:
    """Read training examples, and those of a separate test file if there is one.

    With `stream` the rows stay in the files and are read as they are needed; None does so where
    they would fill more than half of the memory that is free. `deferred` leaves them there until
    it is known which of them are wanted; labels are read. Raises `DataError` for damaged
    files, missing keys, links that lead out of the file, and rows that are not examples.
    """
    paths = [path] if test_path is None else [path, test_path]
    parts = [_open_part(each, x_key, y_key) for each in paths]
    if deferred and not stream:
        return _left_in_place(path.stem, parts, classes, _classes_in)
    if stream is None:
        stream = sum(_bytes_in_memory(part) for part in parts) > _free_memory() / 2
    if stream:
        return _left_in_place(path.stem, parts, classes, _scan)
    read = [Part(part.x[:], part.y[:], part.x_place, part.y_place) for part in parts]
    return make_dataset(path.stem, *read, classes=classes)


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


def _left_in_place(
    name: str, parts: list[Part], classes: int | None, look: Callable[[Part], np.ndarray]
) -> Dataset:
    """Look once at what can be looked at, a piece at a time, and leave the rows where they are."""
    train = parts[0]
    found = count_classes(look(train), train.y_place, classes)
    for test in parts[1:]:
        check_same_features(train.x.shape, test.x.shape, train.x_place, test.x_place)
        check_test_ids(look(test), found, test.y_place)
    sources = [
        StreamedExamples(part.x, part.y, part.x_place, part.y_place, ((0, len(part.x)),), found)
        for part in parts
    ]
    return Dataset(
        name=name,
        train=sources[0],
        test=sources[1] if len(sources) > 1 else None,
        classes=found,
        image_shape=image_shape(train.x.shape),
        maximum=type_maximum(train.x.dtype),
    )


def _scan(part: Part) -> np.ndarray:
    """Check all rows; return the class ids that occur, sorted."""
    for start in range(0, len(part.x), _SCANNED_ROWS):
        checked_features(part.x[start : start + _SCANNED_ROWS], part.x_place, start)
    return _classes_in(part)


def _classes_in(part: Part) -> np.ndarray:
    """Check all labels; return the class ids that occur, sorted."""
    present: set[int] = set()
    for start in range(0, len(part.y), _SCANNED_ROWS):
        labels = part.y[start : start + _SCANNED_ROWS]
        present.update(np.unique(checked_ids(labels, part.y_place, start)).tolist())
    return np.array(sorted(present))


def _open_part(path: Path, x_key: str, y_key: str) -> Part:
    """Open a file and return its two data sets, of kinds and counts that can be examples."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    with _errors_of(path):
        file = h5py.File(path, "r")
        x, y = (_find(file, key, path) for key in (x_key, y_key))
        x_place, y_place = f"{path}, {x_key}", f"{path}, {y_key}"
        check_feature_kind(x.dtype, x.shape or (), x_place)
        check_label_kind(y.dtype, y.shape or (), y_place)
        check_counts(len(x), len(y), x_place, y_place)
        for data, place in ((x, x_place), (y, y_place)):
            _check_storage(data, place)
        return Part(Hdf5Rows(x, path), Hdf5Rows(y, path), x_place, y_place)


def _find(file: h5py.File, key: str, path: Path) -> Any:
    """Return the data set of a key, following links inside the file and no others."""
    group, parts, links = file, [part for part in key.split("/") if part], 0
    while parts:
        name = parts.pop(0)
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            raise DataError(
                f"{path}: no {key!r} in it, only {', '.join(_names(file)) or 'nothing'}: name the "
                "keys with --x-key and --y-key"
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
    if group.is_virtual or group.external:
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
    promised, stored = prod(data.shape) * data.dtype.itemsize, data.id.get_storage_size()
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


def _bytes_in_memory(part: Part) -> int:
    """Return what the examples take in memory: bytes as they are, wider types as float64."""
    rows, *row = part.x.shape
    return int(rows * (prod(row) * (1 if part.x.dtype.itemsize == 1 else 8) + 8))


def _free_memory() -> int:
    """Return the bytes that can be had without swapping, caches given back."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, ValueError, StopIteration):  # not Linux
        return 4 * 2**30


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
    temporary = path.with_name(path.name + ".part")
    try:
        with h5py.File(temporary, "w") as file:
            file.create_dataset(
                x_key, data=x, chunks=(rows, *x.shape[1:]), compression="gzip", shuffle=True
            )
            file.create_dataset(y_key, data=y, chunks=True, compression="gzip")
        temporary.replace(path)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be written with the keys {x_key!r} and {y_key!r} ({error})"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)

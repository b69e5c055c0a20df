"""One function for every source of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpmlp.data.dataset import Dataset, make_dataset
from xpmlp.data.formats.table import NAMED, format_of
from xpmlp.data.part import Keys, Part, Reader
from xpmlp.data.prepare import prepare
from xpmlp.errors import DataError, UsageError


def load_data(
    source: str | Path,
    *,
    normalize: str = "standard",
    val_size: int | None = None,
    seed: int = 0,
    **reading: Any,
) -> Dataset:
    """Return a data set that can be trained on: read, split, and scaled by its training part.

    `source` and `reading`, any of its keywords, are those of `read_data`; `normalize`, `val_size`
    and `seed` are those of `prepare`. Raises what these two raise.

    >>> data = load_data("digits")
    >>> len(data.train), len(data.validation), len(data.test)
    (1294, 143, 360)
    """
    dataset = read_data(source, **reading)
    return prepare(dataset, normalize=normalize, val_size=val_size, seed=seed)


def read_data(
    source: str | Path,
    *,
    test_source: str | Path | None = None,
    x_key: str = "xdata",
    y_key: str = "ydata",
    classes: int | None = None,
    stream: bool | None = None,
    deferred: bool = False,
) -> Dataset:
    """Return the data set of a name, a folder of IDX files, or a file: IDX, HDF5 or npz.

    `source` is "digits", "mnist", "fashion-mnist" or a path; `test_source` is a separate file of
    test examples, in the format of `source`; `x_key` and `y_key` name the arrays in HDF5 and npz.
    `classes` says how many there are where not all occur. `stream` leaves the rows of an HDF5 file
    where they are; None decides by size; `deferred` leaves them until it is known who needs which.
    Raises `DataError` for a source that is missing, damaged, of no known format, or holds
    anything but examples.

    >>> digits = read_data("digits")
    >>> digits.train.x.shape, digits.train.x.dtype, digits.classes
    ((1437, 64), dtype('uint8'), 10)
    """
    path, name = Path(source), str(source)
    test_path = None if test_source is None else Path(test_source)
    whole_set = name in NAMED or path.is_dir()
    if stream and (whole_set or not format_of(path).streams):
        raise UsageError(f"{source}: only an HDF5 file can be streamed: convert it to one first")
    if test_path is not None and whole_set:
        raise UsageError(f"{source} has a test set of its own: leave out the other, {test_path}")
    if name in NAMED and classes is not None:
        raise UsageError(f"{name} has classes of its own: leave out their number")
    if name in NAMED:
        return make_dataset(name, NAMED[name]())
    parts = _read(path, test_path, Keys(x_key, y_key))
    stem = path.name if path.is_dir() else path.stem
    return make_dataset(stem, parts, classes=classes, stream=stream, deferred=deferred)


def _read(path: Path, test_path: Path | None, keys: Keys) -> list[Part]:
    if test_path is not None and test_path.suffix.lower() != path.suffix.lower():
        raise UsageError(f"{test_path} is not of the format of {path}: convert one of them")
    for each in (path, test_path):
        if each is not None and not each.is_file() and not path.is_dir():
            known = ", ".join(NAMED)
            raise DataError(f"{each}: neither a file or folder here, nor a name of these: {known}")
    read: Reader = format_of(path).read
    parts = read(path, keys)
    if test_path is not None:
        parts[1:] = read(test_path, keys)[:1]
    return parts

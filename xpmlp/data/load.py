"""One function for every source of data."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from xpmlp.data.dataset import Dataset, make_dataset
from xpmlp.data.formats.registry import NAMED, format_of
from xpmlp.data.formats.table_parts import part_of_table, texts_of
from xpmlp.data.formats.tables import TABLES
from xpmlp.data.part import COLUMNS, Keys, Part, Reader, keys_of
from xpmlp.data.prepare import prepare
from xpmlp.data.targets import Targets
from xpmlp.errors import DataError, UsageError


def load_data(
    source: Any,
    *,
    normalize: str = "standard",
    val_size: int | None = None,
    test_size: int | None = None,
    class_weight: str | None = None,
    seed: int = 0,
    **reading: Any,
) -> Dataset:
    """Return a data set that can be trained on: read, split, and scaled by its training part.

    `source` and `reading`, any of its keywords, are those of `read_data`; `normalize`, `val_size`,
    `test_size`, `class_weight` and `seed` are those of `prepare`. Raises what these two raise.

    >>> data = load_data("digits")
    >>> len(data.train), len(data.validation), len(data.test)
    (1294, 143, 360)
    """
    dataset = read_data(source, **reading)
    return prepare(
        dataset,
        normalize=normalize,
        class_weight=class_weight,
        seed=seed,
        val_size=val_size,
        test_size=test_size,
    )


def read_data(
    source: Any,
    *,
    test_source: Any = None,
    classes: int | None = None,
    task: str | Targets | None = None,
    deferred: bool = False,
    **keys: Any,
) -> Dataset:
    """Return the data set of a name, a folder, a file, or a data frame.

    `source` is "digits", "mnist", "fashion-mnist"; a folder of IDX files, or of one folder of image
    files for each class; a file: IDX, HDF5, npz, or a table (.csv, .tsv, .parquet, .arrow); or
    a data frame of pandas, polars or pyarrow. `test_source` is a separate set of test examples, of
    the format of `source`. `classes` says how many there are where not all occur; `task` is
    "classification", "multilabel" or "regression", by default what the targets tell, or the
    targets of another data set, whose classes these must be. `deferred` leaves the rows of an HDF5
    file there until it is known who needs which. `keys`: `x_key` and `y_key` name the arrays in
    HDF5 and npz; `target` is the column of a table that is to be predicted, or several; `drop` are
    columns to leave out, `categorical` numbers that stand for categories; `group` or `time` is the
    column that keeps the parts of a split apart; `image_size` is what image files are brought to;
    `stream` leaves the rows of an HDF5 file or a table on disk, None decides by their size.
    Raises `DataError` for a source that is missing, damaged, of no known format, or holds
    anything but examples, `UsageError` for keywords that do not belong to it.

    >>> digits = read_data("digits")
    >>> digits.train.x.shape, digits.train.x.dtype, digits.classes
    ((1437, 64), dtype('uint8'), 10)
    """
    found = keys_of(keys)
    if deferred and found.stream is None:
        found = found._replace(stream=False)
    if not isinstance(source, str | PathLike):
        frames = [source] if test_source is None else [source, test_source]
        parts = [part_of_table(frame, found) for frame in frames]
        return make_dataset("the data frame", parts, task=task)
    path, name = Path(source), str(source)
    test_path = None if test_source is None else Path(test_source)
    whole_set = name in NAMED or path.is_dir()
    if found.stream and (whole_set or not format_of(path).streams):
        raise UsageError(f"{source}: only HDF5 files and tables can be streamed: convert it to one")
    if test_path is not None and whole_set:
        raise UsageError(f"{source} has a test set of its own: leave out the other, {test_path}")
    if name in NAMED and (classes is not None or task in ("multilabel", "regression")):
        raise UsageError(f"{name} has classes of its own: leave out their number, and the task")
    columns = [key for key in COLUMNS if getattr(found, key)]
    if columns and (whole_set or (path.is_file() and path.suffix.lower() not in TABLES)):
        raise UsageError(f"{source} is no table, which {columns[0]} is for: leave it out")
    if name in NAMED:
        return make_dataset(name, NAMED[name]())
    parts = _read(path, test_path, found)
    stem = path.name if path.is_dir() else path.stem
    stream = found.stream
    return make_dataset(stem, parts, classes=classes, task=task, stream=stream, deferred=deferred)


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
        # A column is of one kind in both.
        parts[1:] = read(test_path, keys._replace(texts=texts_of(parts[0])))[:1]
    return parts

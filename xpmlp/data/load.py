"""One function for every source of data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xpmlp.data.dataset import Dataset, make_dataset
from xpmlp.data.formats.digits import load_digits
from xpmlp.data.formats.idx_folder import load_idx_folder, read_idx_pair
from xpmlp.data.formats.published import FASHION_MNIST, MNIST
from xpmlp.errors import DataError, UsageError

NAMED: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    MNIST.name: MNIST.load,
    FASHION_MNIST.name: FASHION_MNIST.load,
}
HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")


def load_data(
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

    `test_source` is a separate file of test examples, in the format of `source`. `classes` says
    how many there are where not all occur. `stream` leaves the rows of an HDF5 file where they
    are; None decides by size; `deferred` leaves them until it is known who needs which.
    Raises `DataError` for a source that is missing, damaged, of no known format, or holds
    anything but examples.
    """
    path = Path(source)
    test_path = None if test_source is None else Path(test_source)
    hdf5 = path.suffix.lower() in HDF5_SUFFIXES
    if stream and not hdf5:
        raise UsageError(f"{source}: only an HDF5 file can be streamed: convert it to one first")
    if str(source) in NAMED or path.is_dir():
        if test_path is not None:
            raise UsageError(
                f"{source} has a test set of its own: leave out the other, {test_path}"
            )
        name = str(source)
        if name in NAMED and classes is not None:
            raise UsageError(f"{name} has classes of its own: leave out their number")
        return NAMED[name]() if name in NAMED else load_idx_folder(path, classes=classes)
    if test_path is not None and test_path.suffix.lower() != path.suffix.lower():
        raise UsageError(f"{test_path} is not of the format of {path}: convert one of them")
    for each in (path, test_path):
        if each is not None and not each.is_file():
            known = ", ".join(NAMED)
            raise DataError(f"{each}: neither a file or folder here, nor a name of these: {known}")
    if hdf5:
        from xpmlp.data.formats.hdf5 import load_hdf5

        return load_hdf5(
            path,
            test_path,
            x_key=x_key,
            y_key=y_key,
            classes=classes,
            stream=stream,
            deferred=deferred,
        )
    if path.suffix.lower() == ".npz":
        from xpmlp.data.formats.npz import read_npz

        parts = read_npz(path, x_key, y_key)
        if test_path is not None:
            parts[1:] = read_npz(test_path, x_key, y_key)[:1]
    else:
        parts = [read_idx_pair(each) for each in (path, test_path) if each is not None]
    return make_dataset(path.stem, *parts, classes=classes)

"""npz archives of arrays. Pickled objects are refused: reading one would run its code."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xpmlp.data.formats.idx import MAX_DEFLATE_RATIO
from xpmlp.data.formats.npy import read_array
from xpmlp.data.part import Keys, Part
from xpmlp.errors import DataError

# The keys of the archives that hold both sets in one file, as Keras writes MNIST.
_BOTH_SETS = (("x_train", "y_train"), ("x_test", "y_test"))


def read_npz(path: Path, keys: Keys) -> list[Part]:
    """Read the training part, and the test part if the archive has one.

    Looks for the names given, then for x_train, y_train, x_test and y_test. Raises
    `DataError` for a damaged archive, missing keys, or anything but plain numbers.
    """
    with _opened(path) as archive:
        there = {name.removesuffix(".npy") for name in archive.namelist()}
    pairs: list[tuple[str, str]] = [(keys.x_key, keys.y_key)]
    if not set(pairs[0]) <= there and set(_BOTH_SETS[0]) <= there:
        pairs = [pair for pair in _BOTH_SETS if set(pair) <= there]
    parts = []
    for pair in pairs:
        x, y = read_arrays(path, pair)
        parts.append(Part(x, y, f"{path}, {pair[0]}", f"{path}, {pair[1]}"))
    return parts


def read_arrays(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Read arrays by name; raises `DataError` as `read_npz` does."""
    with _opened(path) as archive:
        keys = {name.removesuffix(".npy") for name in archive.namelist()}
        missing = [name for name in names if name not in keys]
        if missing:
            raise DataError(
                f"{path}: no {' and no '.join(missing)} in it, only {', '.join(sorted(keys))}: "
                "name the keys (x_key=, y_key=)"
            )
        return [_read_array(archive, name, path, path.stat().st_size) for name in names]


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; whatever a damaged one makes of the reader is a `DataError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # zipfile and zlib raise a dozen kinds for a damaged archive
        raise DataError(f"{path}: not an intact npz archive ({error}): make it again") from error


def _read_array(archive: zipfile.ZipFile, key: str, path: Path, file_size: int) -> np.ndarray:
    """Read one array, whose entry is judged before it is opened."""
    info, place = archive.getinfo(f"{key}.npy"), f"{path}, {key}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{place}: compressed in another way than numpy's: make it again")
    ratio = 1 if info.compress_type == zipfile.ZIP_STORED else MAX_DEFLATE_RATIO
    if info.file_size > ratio * file_size:
        raise DataError(
            f"{place}: the archive says {info.file_size} bytes, which this file cannot hold: make "
            "it again"
        )
    with archive.open(info) as stream:
        return read_array(stream, info.file_size, place)

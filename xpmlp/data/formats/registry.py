"""Which format a path is of, and which data sets have names; a new format is a row here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xpmlp.data.formats.digits import read_digits
from xpmlp.data.formats.idx_folder import read_idx_folder, read_idx_pair
from xpmlp.data.formats.published import FASHION_MNIST, MNIST
from xpmlp.data.formats.tables import TABLES
from xpmlp.data.part import Keys, Part, Reader


class Format(NamedTuple):
    """`read(path, keys)` → parts; `streams` where rows can be left in the file."""

    read: Reader
    streams: bool = False


def _read_hdf5(path: Path, keys: Keys) -> list[Part]:
    from xpmlp.data.formats.hdf5 import read_hdf5

    return read_hdf5(path, keys)


def _read_npz(path: Path, keys: Keys) -> list[Part]:
    from xpmlp.data.formats.npz import read_npz

    return read_npz(path, keys)


def _read_table(path: Path, keys: Keys) -> list[Part]:
    from xpmlp.data.formats.table_parts import read_table_parts

    return read_table_parts(path, keys)


NAMED: dict[str, Callable[[], list[Part]]] = {
    "digits": read_digits,
    MNIST.name: MNIST.read,
    FASHION_MNIST.name: FASHION_MNIST.read,
}

# By the ending of a file's name.
FORMATS: dict[str, Format] = {
    **dict.fromkeys((".h5", ".hdf5", ".hdf", ".he5"), Format(_read_hdf5, streams=True)),
    ".npz": Format(_read_npz),
    **dict.fromkeys(TABLES, Format(_read_table, streams=True)),
}


def format_of(path: Path) -> Format:
    """Return the format of a path: a folder's, that of its ending, or IDX."""
    if path.is_dir():
        from xpmlp.data.formats.image_folder import is_image_folder, read_image_folder

        return Format(read_image_folder if is_image_folder(path) else read_idx_folder)
    return FORMATS.get(path.suffix.lower(), Format(read_idx_pair))

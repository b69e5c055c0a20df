"""npy: one array. Pickled objects are refused: reading one would run its code."""

from __future__ import annotations

import io
import os
import warnings
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from xpmlp.errors import DataError
from xpmlp.files import open_regular

# Bytes that a header may take; those of numbers take 128.
_HEADER = 2**14


def read_npy(path: Path) -> np.ndarray:
    """Read a file; raises `DataError` for what is damaged, or holds anything but numbers."""
    try:
        with open_regular(path) as file:
            return read_array(file, os.fstat(file.fileno()).st_size, str(path))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path}: not an intact npy file ({error}): make it again") from error


def read_array(stream: IO[bytes], size: int, place: str) -> np.ndarray:
    """Read one array of a stream that holds `size` bytes, its header with them.

    What the header says is compared with the size before anything of that size is read. Raises
    `DataError` where they disagree, or for objects; `ValueError` where there is no header.
    """
    beginning = stream.read(_HEADER)
    header = io.BytesIO(beginning)
    shape, fortran, dtype = _read_header(header)
    if dtype.hasobject:
        raise DataError(f"{place}: holds pickled objects, which are not read: save numbers")
    start, expected = header.tell(), prod(shape) * dtype.itemsize
    if not 0 <= expected <= size - start:
        raise DataError(
            f"{place}: the header says {expected} bytes, which this file cannot hold: make it again"
        )
    content = beginning[start:] + stream.read(max(0, start + expected + 1 - len(beginning)))
    if len(content) != expected:
        raise DataError(
            f"{place}: the header says {expected} bytes and there are "
            f"{'more' if len(content) > expected else len(content)}: make it again"
        )
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version[0]}.{version[1]} of npy holds no plain numbers")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that Python 2 has written
            return read(stream)
    except Exception as error:  # numpy reads it as a literal of Python, which fails in many ways
        raise ValueError(f"its header is damaged: {str(error).splitlines()[0][:100]}") from error

"""IDX files, the format of MNIST: a magic word, big-endian dimensions, then the values."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.errors import DataError

# The third byte of the magic word names the type.
_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """Return a file's content, decompressed where it is gzipped, whatever its name says."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}): download it again") from error


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Return the array that an IDX file's content describes; `path` is for the errors.

    Raises `DataError` for another format, an unknown type, or a size that disagrees with
    the header. Nothing is allocated by a header's word: the array is a view of the content.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise DataError(
            f"{path}: not an IDX file (starts with {content[:4].hex(' ') or 'nothing'}): "
            "expected 00 00, a type and a number of dimensions"
        )
    dtype, dimensions = _DTYPES[content[2]], content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: truncated inside its header, at byte {len(content)} of {start}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, offset=4))
    expected = start + prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{path}: the header says {' x '.join(map(str, shape))} values, {expected} bytes in "
            f"all, and the file holds {len(content)}: download it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped or not."""
    return parse_idx(read_bytes(path), path)

"""IDX files, the format of MNIST: a magic word, big-endian dimensions, then the values."""

from __future__ import annotations

import gzip
import os
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from xpmlp.errors import DataError
from xpmlp.files import open_regular

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
# Deflate cannot make more than this of a byte, and never makes more than this of what it is given.
MAX_DEFLATE_RATIO = 1032
_MOST_GROWTH, _MOST_OVERHEAD = 2, 2**16
# Images have three dimensions, in colour four.
_MOST_DIMENSIONS = 4
_LONGEST_HEADER = 4 + 4 * _MOST_DIMENSIONS


class _Header(NamedTuple):
    """What is said of the values, and where they start."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int

    @property
    def size(self) -> int:
        """Bytes of the whole content."""
        return self.start + prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return " x ".join(map(str, self.shape))


def read_idx_bytes(path: Path) -> bytes:
    """Return the content of an IDX file, decompressed where it is gzipped, whatever its name.

    The size that the header says is compared with that of the file before anything of that
    size is read. Raises `DataError` for another format, a damaged gzip, another size.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if zipped:
                return _unzipped(file, size, path)
            _check_size(size, _header(file.read(_LONGEST_HEADER), path), path)
            file.seek(0)
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}): download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _unzipped(file: BinaryIO, size: int, path: Path) -> bytes:
    with gzip.GzipFile(fileobj=file) as content:
        begun = content.read(_LONGEST_HEADER)
        header = _header(begun, path)
        most = _MOST_GROWTH * header.size + _MOST_OVERHEAD
        if header.size > MAX_DEFLATE_RATIO * size or size > most:
            raise DataError(
                f"{path}: the header says {header.size} bytes, and {size} compressed bytes cannot "
                "hold that: download it again"
            )
        # Its checksum counts where it ends.
        found = begun + content.read(max(header.size - len(begun), 0)) + content.read(1)
    _check_size(len(found), header, path)
    return found


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Return the array that the content of an IDX file describes, a view of it."""
    header = _header(content, path)
    _check_size(len(content), header, path)
    return np.frombuffer(content, header.dtype, offset=header.start).reshape(header.shape)


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped or not."""
    return parse_idx(read_idx_bytes(path), path)


def _header(content: bytes, path: Path) -> _Header:
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise DataError(
            f"{path}: not an IDX file (starts with {content[:4].hex(' ') or 'nothing'}): "
            "expected 00 00, a type and a number of dimensions"
        )
    if content[3] > _MOST_DIMENSIONS:
        raise DataError(f"{path}: values in {content[3]} dimensions: images have 2 to 4, labels 1")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path}: truncated inside its header, at byte {len(content)} of {start}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", content[3], offset=4))
    header = _Header(shape, _DTYPES[content[2]], start)
    if header.size == start:
        raise DataError(f"{path}: the header says {header} values: there are none in it")
    return header


def _check_size(size: int, header: _Header, path: Path) -> None:
    if size != header.size:
        raise DataError(
            f"{path}: the header says {header} values, {header.size} bytes in all, and the file "
            f"holds {'more' if size > header.size else size}: download it again"
        )

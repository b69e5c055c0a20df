"""IDX files, the format of MNIST: a magic word, big-endian dimensions, then the values."""

from __future__ import annotations

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
_GZIP_FORMAT = 31  # what zlib calls a gzip header and trailer, with its checksum verified
# Deflate cannot make more than this of a byte.
MAX_DEFLATE_RATIO = 1032


def read_idx_bytes(path: Path) -> bytes:
    """Return the content of an IDX file, decompressed where it is gzipped, whatever its name.

    The size that the header says is compared with that of the file before anything of that
    size is allocated. Raises `DataError` for another format, a damaged gzip, another size.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not raw.startswith(_GZIP_MAGIC):
        expected = _expected_size(raw, path)
        _check_size(len(raw), expected, raw, path)
        return raw
    # The longest header has 255 dimensions.
    expected = _expected_size(_decompress(raw, 4 + 4 * 255, path), path)
    if expected > MAX_DEFLATE_RATIO * len(raw):
        raise DataError(
            f"{path}: the header says {expected} bytes, more than {len(raw)} compressed bytes can "
            "hold: download it again"
        )
    content = _decompress(raw, expected + 1, path)
    _check_size(len(content), expected, content, path)
    return content


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Return the array that the content of an IDX file describes, a view of it."""
    shape, dtype, start = _header(content, path)
    _check_size(len(content), start + prod(shape) * dtype.itemsize, content, path)
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped or not."""
    return parse_idx(read_idx_bytes(path), path)


def _header(content: bytes, path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return the shape, the type and where the values start."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise DataError(
            f"{path}: not an IDX file (starts with {content[:4].hex(' ') or 'nothing'}): "
            "expected 00 00, a type and a number of dimensions"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path}: truncated inside its header, at byte {len(content)} of {start}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", content[3], offset=4))
    return shape, _DTYPES[content[2]], start


def _expected_size(content: bytes, path: Path) -> int:
    shape, dtype, start = _header(content, path)
    return start + prod(shape) * dtype.itemsize


def _check_size(size: int, expected: int, content: bytes, path: Path) -> None:
    if size != expected:
        shape = _header(content, path)[0]
        more = "more" if size > expected else str(size)
        raise DataError(
            f"{path}: the header says {' x '.join(map(str, shape))} values, {expected} bytes in "
            f"all, and the file holds {more}: download it again"
        )


def _decompress(raw: bytes, limit: int, path: Path) -> bytes:
    """Return at most `limit` bytes of a gzip file; its checksum counts where it ends."""
    content = b""
    try:
        while raw and len(content) < limit:
            member = zlib.decompressobj(_GZIP_FORMAT)
            piece = member.decompress(raw, limit - len(content))
            content += piece
            if member.eof and not piece:
                raise DataError(f"{path}: damaged gzip file (an empty part): download it again")
            if not member.eof and len(content) < limit:
                raise DataError(f"{path}: damaged gzip file (truncated): download it again")
            raw = member.unused_data
    except zlib.error as error:
        raise DataError(f"{path}: damaged gzip file ({error}): download it again") from error
    return content

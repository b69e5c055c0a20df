"""Writing a file whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# A file is written in pieces of this size.
_PIECE = 2**20


def write_whole(path: Path, content: bytes) -> None:
    """Write to a file beside it, sync, and rename; a failure at any point leaves the old one.

    A link is followed. Raises `OSError`, also for what is there and no file.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb", buffering=0) as file:
            for start in range(0, len(content), _PIECE):
                piece = content[start : start + _PIECE]
                if file.write(piece) != len(piece):
                    raise OSError(f"only a part of {len(piece)} bytes was written")
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can be told to."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

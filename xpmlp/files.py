"""Files, read and written whole: those of strangers with care, our own so that none is torn."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from xpmlp.errors import OutputError, UsageError

# A file is written in pieces of this size.
_PIECE = 2**20


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read; raises `OSError`, also for what is no such file.

    A pipe would be waited for, and a device may have no end.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def read_whole(path: Path) -> bytes:
    """Return the content of a regular file; raises `OSError` as `open_regular` does."""
    with open_regular(path) as file:
        return file.read()


def parse_json(content: bytes | str) -> Any:
    """Return what JSON says; raises `ValueError` for whatever is none, NaN and infinity too."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        text = content if isinstance(content, str) else content.decode()
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("lists in lists without end") from error


def as_json(value: Any) -> bytes:
    """Return a value as the lines of a JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode()


def make_folder(path: Path) -> None:
    """Make a folder, and those above it; raises `UsageError` where something else is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = error.strerror or str(error)
        raise UsageError(
            f"{path} is no folder to write to ({said}): choose another (out=)"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file: all of it, or the one that was there stays; raises `OutputError`."""
    with replacing(path) as part, part.open("r+b", buffering=0) as file:
        for start in range(0, len(content), _PIECE):
            piece = content[start : start + _PIECE]
            if file.write(piece) != len(piece):
                raise OSError(f"only a part of {len(piece)} bytes was written")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty file beside a path; when it was written it is synced and takes the place.

    A failure at any point leaves what was there. A link at the path is followed, one at the file
    beside it is not. Raises `OutputError`, also for what is there and no file.
    """
    with writing(path):
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        part.open("xb").close()
        try:
            yield part
            _sync(part, os.O_RDWR)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        # The rename lasts through a power cut, where the system can be told so.
        if hasattr(os, "O_DIRECTORY"):
            _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of a file that cannot be written why, as an `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}): make room, or choose another "
            "place; what was there before is untouched"
        ) from error


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

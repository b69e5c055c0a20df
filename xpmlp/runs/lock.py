"""One process at a time writes into a folder; a second one is refused by the first one's name."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from xpmlp.errors import UsageError

try:
    import fcntl
except ModuleNotFoundError:  # not POSIX: nobody is refused
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"


class FolderLock:
    """Holds a folder while it is entered; the system lets go of it when the process ends.

    Raises `UsageError` where another process holds it. Systems of files without locks refuse
    nobody.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor = -1

    def __enter__(self) -> Self:
        while fcntl is not None:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            try:
                descriptor = os.open(self._path, flags, 0o666)
            except OSError:
                break  # what cannot be written at all says so elsewhere
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 200).decode(errors="replace").strip()
                os.close(descriptor)
                raise UsageError(
                    f"{self._path.parent}: {holder or 'another process'} is at work in it: wait "
                    "for it to end, or choose another folder (out=)"
                ) from error
            except OSError:
                os.close(descriptor)
                break
            if self._is_still(descriptor):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                self._descriptor = descriptor
                break
            os.close(descriptor)  # it was removed as its holder ended: there may be another
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):  # it holds nobody when it is closed, there or not
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_still(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except OSError:
            return False

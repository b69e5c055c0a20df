"""Standard output and error that end no program: what nobody reads any more is dropped."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOBase
from typing import Any, TextIO


class Tolerant:
    """A text stream whose `failure` is remembered and not raised."""

    def __init__(self, stream: TextIO | TextIOBase) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a name that the terminal cannot show is shown in escapes
            reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        except (ValueError, RuntimeError):
            pass  # closed; or a signal came while the same text was being written
        return len(text)

    def flush(self) -> None:
        """Hand over what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)
        except (ValueError, RuntimeError):
            pass

    def _give_up(self, error: OSError) -> None:
        """Send what is still to come nowhere: Python would raise again when it ends."""
        if self.failure is None:
            self.failure = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)


class _Nowhere(TextIOBase):
    """What stands for a stream that is closed: it takes every text, and keeps none."""

    def write(self, text: str) -> int:
        return len(text)


def tolerate() -> None:
    """Make standard output and error tolerant, those that are closed too."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Or the next file that is opened would get what is printed.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        setattr(sys, name, Tolerant(getattr(sys, name) or _Nowhere()))


def lost_result() -> str | None:
    """Return why the result could not be written, None where it was or its reader went away."""
    sys.stderr.flush()
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is None or failure.errno == errno.EPIPE:
        return None
    return f"the result cannot be written to standard output ({failure.strerror})"

"""Ctrl-C and SIGTERM end a run after its step; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered, the first signal is only remembered, in `received`, and `tell` says so.

    Only a main thread gets signals; in another one it does nothing.
    """

    received: int | None = None

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._tell is not None:
            self._tell("stopping after this step and saving; Ctrl-C again stops at once")

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count; Ctrl-C where another rank had it."""
        return 128 + (self.received or signal.SIGINT)

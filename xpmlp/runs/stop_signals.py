"""Ctrl-C, SIGTERM and a closed terminal end a run after its step; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

# By default what they do when they come again. A closed terminal sends SIGHUP.
_SIGNALS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
_ASKED = set(_SIGNALS)
if hasattr(signal, "SIGHUP"):
    _SIGNALS[signal.SIGHUP] = signal.SIG_DFL


class StopSignals:
    """While entered, the first signal is only remembered, in `received`, and `tell` says so.

    A closed terminal that is ignored, as nohup has it, stays so. Only a main thread gets signals;
    in another one it does nothing.
    """

    received: int | None = None

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        found = {number: signal.getsignal(number) for number in _SIGNALS}
        # nohup has SIGHUP ignored; a shell's background SIGINT, which kill may still send.
        heard = {n for n, handler in found.items() if n in _ASKED or handler != signal.SIG_IGN}
        self._before = {number: found[number] for number in heard}
        for number in self._before:
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for each in self._before:
            signal.signal(each, _SIGNALS[each])
        if self._tell is not None:
            self._tell("stopping after this step and saving; Ctrl-C again stops at once")

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count; Ctrl-C where another rank had it."""
        return 128 + (self.received or signal.SIGINT)

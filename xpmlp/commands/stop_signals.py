"""Ctrl-C and SIGTERM end a run after its step; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self

from xpmlp.commands.command_line import message

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered, the first signal is only remembered, in `received`."""

    received: int | None = None

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def __enter__(self) -> Self:
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
        if not self._quiet:
            message("stopping after this step and saving; Ctrl-C again stops at once")

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count; Ctrl-C where another rank had it."""
        return 128 + (self.received or signal.SIGINT)

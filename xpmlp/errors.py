"""The exceptions of xpmlp: the message of each is one sentence for whoever can mend it."""

from __future__ import annotations

from collections.abc import Iterable


class XpmlpError(Exception):
    """Something a user can mend; the message is one sentence: what, where, what to do.

    What a caller has given wrong is a `ValueError` too, as Python's own functions raise.
    """


class CheckFailedError(XpmlpError):
    """A result was computed and did not meet what was asked of it."""


class UsageError(XpmlpError, ValueError):
    """An argument or a combination of arguments that cannot mean anything."""


class DataError(XpmlpError, ValueError):
    """Data that is missing, damaged, or does not fit the network."""


class DeviceError(XpmlpError):
    """A device that was asked for and cannot be used."""


class DivergedError(XpmlpError, ValueError):
    """The loss became NaN or infinite: of these data with these settings nothing comes."""


class OutputError(XpmlpError):
    """A file that cannot be written."""


class CheckpointError(XpmlpError):
    """A checkpoint that is missing, corrupt, or of another network."""


class InterruptedSweepError(XpmlpError):
    """A sweep was told to stop; what was at work is saved."""


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise `UsageError` for a name that is not known."""
    if name not in known:
        raise UsageError(f"{kind} {name!r} is not known: choose from {', '.join(known)}")

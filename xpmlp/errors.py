"""The exceptions of xpmlp; each carries the exit code that a script ends with."""

from __future__ import annotations


class XpmlpError(Exception):
    """Something a user can mend; the message is one sentence: what, where, what to do."""

    exit_code = 1


class CheckFailedError(XpmlpError):
    """A result was computed and did not meet what was asked of it."""

    exit_code = 1


class UsageError(XpmlpError):
    """An argument or a combination of arguments that cannot mean anything."""

    exit_code = 2


class DataError(XpmlpError):
    """Data that is missing, damaged, or does not fit the network."""

    exit_code = 3


class DeviceError(XpmlpError):
    """A device that was asked for and cannot be used."""

    exit_code = 4


class DivergedError(XpmlpError):
    """The loss became NaN or infinite."""

    exit_code = 5


class CheckpointError(XpmlpError):
    """A checkpoint that is missing, corrupt, or of another network."""

    exit_code = 6

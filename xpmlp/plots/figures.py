"""New figures; without matplotlib the reason why there are none."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from xpmlp.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120


def require_matplotlib() -> None:
    """Raise `UsageError` where there is none: before the work, not after it."""
    if find_spec("matplotlib") is None:
        raise UsageError('pictures need matplotlib: pip install "xpmlp[scripts]"')


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; raises `UsageError` where matplotlib is not installed."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")

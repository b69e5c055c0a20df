"""What differs from layer to layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from xpmlp.plots.figures import DPI, new_figure


def save_layer_norms(norms: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the norm of every layer's gradient, one line per network, from the input upwards."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    for label, values in norms.items():
        axes.plot(range(1, len(values) + 1), values, "o-", label=label)
    axes.set_yscale("log")
    axes.set_xlabel("layer, counted from the input")
    axes.set_ylabel("norm of the weights' gradient")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=DPI)

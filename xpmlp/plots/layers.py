"""How layers move in training: norms of weights and gradients, sizes of steps, activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from xpmlp.plots.figures import new_figure, save

# What is drawn of each layer: its column, what to call it, and whether by powers of ten.
PANELS = {
    "weight_norm": ("size of the weights ‖W‖", False),
    "gradient_norm": ("size of the gradient ‖∂C/∂W‖", True),
    "update_ratio": ("size of a step ‖Δw‖ / ‖w‖", True),
    "deviation": ("deviation of the outputs f(z)", False),
    "saturated": ("share of flat (example, unit) pairs", False),
    "dead": ("share of dead units", False),
}


def save_layers(rows: Sequence[Mapping[str, float | None]], path: Path) -> None:
    """Draw a panel per figure and a line per layer, of rows with "step", "layer" and figures."""
    layers = sorted({int(row["layer"] or 0) for row in rows})
    shown = [name for name in PANELS if any(row.get(name) is not None for row in rows)]
    figure = new_figure(11, 3.1 * -(-len(shown) // 3))
    grid = figure.subplots(-(-len(shown) // 3), 3, squeeze=False).reshape(-1)
    for axes in grid[len(shown) :]:
        axes.axis("off")
    for axes, name in zip(grid, shown, strict=False):
        label, powers = PANELS[name]
        for layer in layers:
            points = [
                (row["step"], row[name])
                for row in rows
                if row["layer"] == layer and row.get(name) is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), label=f"layer {layer}")
        if powers and any((row.get(name) or 0) > 0 for row in rows):
            axes.set_yscale("log")
        axes.set_title(label, size=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    grid[0].legend(fontsize=8)
    save(figure, path)

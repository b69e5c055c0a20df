"""History and results to pictures; matplotlib is imported here alone."""

from xpmlp.plots.curves import save_accuracy_panels, save_curves, save_overlay
from xpmlp.plots.ensemble import save_ensemble
from xpmlp.plots.figures import new_figure, require_matplotlib
from xpmlp.plots.heat_map import save_heat_map
from xpmlp.plots.images import save_confusion, save_first_layer, save_mistakes
from xpmlp.plots.layers import save_layer_norms
from xpmlp.plots.speed import save_peers, save_speed, save_throughput

__all__ = [
    "new_figure",
    "require_matplotlib",
    "save_accuracy_panels",
    "save_confusion",
    "save_curves",
    "save_ensemble",
    "save_first_layer",
    "save_heat_map",
    "save_layer_norms",
    "save_mistakes",
    "save_overlay",
    "save_peers",
    "save_speed",
    "save_throughput",
]

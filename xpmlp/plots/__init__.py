"""History and results to pictures; matplotlib is imported here alone."""

from xpmlp.plots.comparisons import (
    save_coverage as save_coverage,
    save_ensemble as save_ensemble,
    save_heat_map as save_heat_map,
    save_layer_norms as save_layer_norms,
)
from xpmlp.plots.curves import (
    save_accuracy_panels as save_accuracy_panels,
    save_curves as save_curves,
    save_overlay as save_overlay,
)
from xpmlp.plots.features import (
    save_importance as save_importance,
    save_predicted as save_predicted,
)
from xpmlp.plots.figures import new_figure as new_figure, require_matplotlib as require_matplotlib
from xpmlp.plots.images import (
    save_confusion as save_confusion,
    save_deformed as save_deformed,
    save_first_layer as save_first_layer,
    save_mistakes as save_mistakes,
)
from xpmlp.plots.learning_rates import save_learning_rates as save_learning_rates
from xpmlp.plots.speed import (
    save_peers as save_peers,
    save_speed as save_speed,
    save_throughput as save_throughput,
)

"""What makes training harder than the data do, so that a network is right on new data, too.

- `settings`: what a user asks for, `Regularization`.
- `deformation`: images shifted, turned, scaled, sheared and bent as they are gathered.
- `noise`: dropout and Gaussian noise of what layers are given.
- `weights`: a bound of each unit's weights, and their average over the run.
- `smoothing`: targets that are not quite sure.
- `placed`: all of it on a device, for one model or a stack, as a training step takes it.
"""

from xpmlp.regularization.deformation import (
    DEFORMATION_RULES as DEFORMATION_RULES,
    Deformation as Deformation,
    grey_shape as grey_shape,
)
from xpmlp.regularization.placed import (
    PlacedRegularization as PlacedRegularization,
    check_in_stack as check_in_stack,
    key_count as key_count,
    placed as placed,
)
from xpmlp.regularization.settings import Regularization as Regularization
from xpmlp.regularization.smoothing import smoothed as smoothed
from xpmlp.regularization.weights import (
    AVERAGE as AVERAGE,
    COUNT as COUNT,
    averaged as averaged,
    steps_averaged as steps_averaged,
    with_average_or_without as with_average_or_without,
)

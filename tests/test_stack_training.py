"""A stack of models in training is its models trained one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stacks import stack_of, to_device, to_host

from xpmlp.arrays import Params
from xpmlp.backends import Backend
from xpmlp.data import Examples
from xpmlp.data.batches import NoiseKeys, ShuffledBatches
from xpmlp.mathematics.dropout import kept
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import OPTIMIZERS
from xpmlp.mathematics.penalties import Penalty
from xpmlp.mathematics.step import Inputs, Step, Variables
from xpmlp.regularization import PlacedRegularization, key_count

SEEDS = (3, 4, 5)
RATES, L2, L1 = (0.5, 0.1, 0.02), (0.0, 0.01, 0.1), (0.01, 0.0, 0.001)
MOMENTA = (0.0, 0.5, 0.9)


def train(
    backend: Backend,
    optimizer: str,
    params: Params,
    keys: NoiseKeys,
    rate: Any,
    l2: Any,
    l1: Any,
    momentum: Any,
) -> Params:
    rng = np.random.default_rng(0)
    examples = Examples(rng.normal(size=(23, 6)), rng.integers(4, size=23)).to_device(backend)
    batches = ShuffledBatches(examples, 23, 5, seed=0, backend=backend)
    kind = OPTIMIZERS[optimizer]
    rule = kind(momentum=momentum) if "velocity" in kind.moments else kind()  # type: ignore[call-arg]
    mlp, xp = MLP((6, 8, 5, 4), "tanh"), backend.xp
    step = Step(
        mlp, rule, Penalty(l2=l2, l1=l1), PlacedRegularization(dropout=kept(0.3), noise=0.1)
    )
    variables = Variables(params, rule.init(params, xp=xp))
    for number in range(12):
        inputs = Inputs(rate, batches.draw(number).rows, keys.of_step(number))
        add_up = backend.sum_over_examples
        variables, _ = step(variables, examples, inputs, xp=xp, add_up=add_up)
    return variables.params


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_stack_equals_single_runs(backend: Backend, optimizer: str) -> None:
    mlp = MLP((6, 8, 5, 4), "tanh")
    models = [mlp.init(np.random.default_rng(seed)) for seed in SEEDS]

    def keys(*seeds: int) -> NoiseKeys:
        return NoiseKeys(key_count(3), 5, seed=7, models=seeds, backend=backend)

    settings = (RATES, L2, L1, MOMENTA)
    arrays = [backend.to_device(np.array(values)) for values in settings]
    stack = to_device(backend, stack_of(models))
    # Other libraries multiply a stack in another order, and small gradients are divided by.
    near = 1e-12 if backend.name in ("numpy", "array_api_strict") else 1e-9
    together = to_host(backend, train(backend, optimizer, stack, keys(*SEEDS), *arrays))
    for k, model in enumerate(models):
        numbers = [values[k] for values in settings]
        alone = to_device(backend, model), keys(SEEDS[k])
        single = train(backend, optimizer, *alone, *numbers)
        for name, array in to_host(backend, single).items():
            np.testing.assert_allclose(together[name][k], array, rtol=near, atol=near)
            assert (array != model[name]).any()

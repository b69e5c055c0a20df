"""How many kernels a recorded step has on a GPU, counted without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from kernels import Counted, as_one, counted, namespace

from xpmlp import MLP, SGD, Adam, Examples, Model, Momentum, Normalization, Plan
from xpmlp.backends import Backend
from xpmlp.data.batches import NoiseKeys
from xpmlp.mathematics.dropout import kept
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.mathematics.schedules import Constant
from xpmlp.mathematics.step import Step, Variables
from xpmlp.regularization import PlacedRegularization, key_count
from xpmlp.training.recording import RecordingStepper
from xpmlp.training.state import initial_stack
from xpmlp.training.stepper import Rates, Stepper, stepper_of

STEPS = 8


class CountingBackend(Backend):
    """Stands in for CuPy's: the same functions are supplied."""

    name, device_name, device = "counting", "gpu:0", None
    records, piece_size = True, 65536

    def __init__(self) -> None:
        self.xp = namespace(accumulate_product=accumulate_product)
        self.counts: Counter[str] = Counter()
        super().__init__("float32")

    def to_device(self, array: np.ndarray) -> Any:
        return counted(np.array(super().to_device(array)))

    def to_host(self, array: Any) -> np.ndarray:
        return np.array(array)

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:  # noqa: ARG002
        return np.errstate(all="ignore")

    def synchronize(self) -> None:
        pass

    def record(self, steps: Callable[[], None]) -> Callable[[], None]:
        Counted.counts.clear()
        steps()
        self.counts = Counter(Counted.counts)
        return steps


def accumulate_product(c: Any, left: Any, right: Any, alpha: Any, beta: Any) -> bool:
    if getattr(alpha, "ndim", 0):
        return False

    def product(*_: Any) -> Any:
        more = np.sum(right, axis=-2) if left is None else np.matmul(left.mT, right)
        c.view(np.ndarray)[...] = beta * c + alpha * more

    as_one("product", product)(c)
    return True


@pytest.fixture(autouse=True)
def recorded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.training.recording.STEPS", STEPS)
    monkeypatch.setattr("xpmlp.training.recording.PAYS_AFTER", 0)


IMAGES = np.random.default_rng(0).integers(256, size=(400, 30), dtype=np.uint8)
EXAMPLES = Examples(
    IMAGES, np.random.default_rng(1).integers(10, size=400), Normalization(0.0, 255.0)
)


def kernels_of(optimizer: Optimizer, dropout: float = 0.0) -> Counter[str]:
    """Return the kernels of some steps: three layers, bytes that are scaled."""
    rng, backend = np.random.default_rng(0), CountingBackend()
    mlp = MLP((30, 20, 20, 10))
    params = backend.all_to_device({k: w.astype("f") for k, w in mlp.init(rng).items()})
    variables = Variables(params, optimizer.init(params, xp=backend.xp))
    batches: Any = EXAMPLES.to_device(backend).batches(20, seed=0, backend=backend)
    rates = Rates(0.1, 0.1, Constant(), batches.steps_per_epoch)
    keys = None
    if dropout:
        per_epoch = batches.steps_per_epoch
        keys = NoiseKeys(key_count(3), per_epoch, seed=0, models=[0], backend=backend)
    extra = PlacedRegularization(dropout=kept(dropout)) if dropout else None
    step = Step(mlp, optimizer, None, extra)
    stepper = RecordingStepper(Stepper(step, batches, rates, keys, backend), batches)
    stepper.advance(variables, 0, STEPS)
    return backend.counts


@pytest.mark.parametrize(
    ("optimizer", "dropout", "most"),
    [(SGD(), 0.0, 20), (Momentum(), 0.0, 25), (Adam(), 0.0, 26), (SGD(), 0.2, 24)],
)
def test_kernels_of_a_step(optimizer: Optimizer, dropout: float, most: int) -> None:
    found = kernels_of(optimizer, dropout)
    assert sum(found.values()) / STEPS <= most, found.most_common()


@pytest.mark.parametrize("rates", [(0.1, 0.1, 0.1), (0.1, 0.2, 0.3)])
def test_the_updates_of_a_stack_are_products_too(rates: tuple[float, ...]) -> None:
    """One per array, whether its models have one rate or each its own."""
    backend = CountingBackend()
    models = [Model(MLP((30, 20, 10)), SGD(), rate, seed=k) for k, rate in enumerate(rates)]
    plan, state = Plan(steps=STEPS, batch_size=20), initial_stack(models, backend)
    batches: Any = EXAMPLES.to_device(backend).batches(20, seed=0, backend=backend)
    like = state.params["layer1.weight"]
    plain = stepper_of(state.models, plan, batches, backend, like=like)
    RecordingStepper(plain, batches).advance(state.variables, 0, STEPS)
    assert backend.counts["product"] == 4 * STEPS
    # Forward twice, and once backward.
    assert backend.counts["matmul"] == 3 * STEPS

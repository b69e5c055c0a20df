"""One of each kind is added from outside the package, through public names, and is trained with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest

import xpmlp


def softplus(z: Any, *, xp: Any) -> Any:
    """f(z) = ln(1 + e^z)."""
    return xp.log1p(xp.exp(-xp.abs(z))) + xp.maximum(z, 0.0)


def softplus_derivative(a: Any, *, xp: Any) -> Any:
    """f′(z) = σ(z) = 1 − e^−a."""
    return 1.0 - xp.exp(-a)


def log_cosh(outputs: Any, y: Any, *, xp: Any) -> tuple[Any, Any]:
    """ln cosh(z − y), and tanh(z − y)."""
    d = outputs - y
    return xp.log(xp.cosh(d)), xp.tanh(d)


@dataclass(frozen=True)
class Lion(xpmlp.Optimizer):
    """w ← w − α sign(β₁ m + (1 − β₁) g), m ← β₂ m + (1 − β₂) g (Chen et al. 2023)."""

    beta1: float = 0.9
    beta2: float = 0.99
    moments = ("first_moment",)

    def step(self, w: Any, g: Any, moments: Any, at: xpmlp.StepContext) -> Any:
        m = moments["first_moment"]
        direction = at.xp.sign(self.beta1 * m + (1.0 - self.beta1) * g)
        m = self.beta2 * m + (1.0 - self.beta2) * g
        return w - at.rate * direction, {"first_moment": m}


def linear_decay(steps: int, _decay: float) -> xpmlp.Schedule:
    return lambda step, _per_epoch: 1.0 - step / steps


class Plainly(xpmlp.Backend):
    """A backend of another library, with nothing but what every backend must have."""

    name = "plain"
    device_name = "plain"
    xp = array_api_compat.numpy
    device = "cpu"
    piece_size = 50

    def __init__(self, wanted: xpmlp.DeviceRequest) -> None:
        super().__init__(wanted.dtype)

    def to_host(self, array: Any) -> np.ndarray:
        return np.array(array)

    def synchronize(self) -> None:
        pass

    def computing(self, flop: float | None = None) -> AbstractContextManager[Any]:  # noqa: ARG002
        return np.errstate(all="ignore")


def read_text(path: Path, keys: xpmlp.Keys) -> list[xpmlp.Part]:  # noqa: ARG001
    """Rows of numbers, the last of each a class."""
    table = np.loadtxt(path, delimiter=" ")
    return [xpmlp.Part(table[:, :-1], table[:, -1], str(path), str(path))]


@pytest.fixture(autouse=True)
def extended() -> Iterator[None]:
    """Add a row to each table, and take it out again."""
    relative = xpmlp.Link("linear", lambda z, **_: z, "values", "Identity", "identity")
    rows: list[tuple[dict[str, Any], str, Any]] = [
        (xpmlp.ACTIVATIONS, "softplus", xpmlp.Activation(softplus, softplus_derivative)),
        (xpmlp.LOSSES, "log_cosh", xpmlp.Loss(log_cosh, relative)),
        (xpmlp.OPTIMIZERS, "lion", Lion),
        (xpmlp.SCHEDULES, "linear", linear_decay),
        (xpmlp.FORMATS, ".txt", xpmlp.Format(read_text)),
        (xpmlp.BACKENDS, "plain", Plainly),
    ]
    for table, name, row in rows:
        table[name] = row
    yield
    for table, name, _ in rows:
        del table[name]


def test_one_of_each_trains_together(tmp_path: Path) -> None:
    digits = xpmlp.read_data("digits").train
    np.savetxt(tmp_path / "set.txt", np.column_stack([digits.x, digits.y]), fmt="%d")
    data = xpmlp.load_data(tmp_path / "set.txt", test_size=0)
    np.testing.assert_array_equal(data.train.y, xpmlp.load_data("digits").train.y)
    mlp = xpmlp.MLP((64, 30, 10), "softplus", "log_cosh")
    plan = xpmlp.Plan(epochs=60, schedule=xpmlp.SCHEDULES["linear"](1260, 0.0))
    trained = xpmlp.fit(xpmlp.Model(mlp, Lion(), 0.0005), data, plan, backend="plain")
    assert (trained.evaluate(data.validation)[1] or 0) > 0.9
    assert "linear" in xpmlp.summarize(mlp, 64)
    with pytest.raises(xpmlp.UsageError, match="softplus is not known to ONNX"):
        trained.save(tmp_path / "model.onnx")
    trained.save(tmp_path / "model.safetensors")
    again = xpmlp.load(tmp_path / "model.safetensors")
    x = data.train.x[:50]
    np.testing.assert_allclose(again.predict(x), trained.predict(x), rtol=1e-4, atol=1e-5)


def test_their_gradients_are_checked_as_all_are() -> None:
    rng = np.random.default_rng(0)
    mlp = xpmlp.MLP((4, 5, 3), "softplus", "log_cosh")
    examples = xpmlp.Examples(rng.normal(size=(6, 4)), rng.normal(size=(6, 3)))
    backend = xpmlp.select_backend("cpu", "float64")
    rows = xpmlp.check_gradients(mlp, mlp.init(rng), examples, backend=backend)
    assert max(row.relative for row in rows) < 3e-7


def test_models_with_a_new_optimiser_make_a_stack() -> None:
    """Its formula on arrays serves a stack as it stands."""
    data, mlp = xpmlp.load_data("digits"), xpmlp.MLP((64, 12, 10), "softplus")
    plan = xpmlp.Plan(epochs=2)
    models = [xpmlp.Model(mlp, Lion(), rate) for rate in (0.001, 0.003)]
    backend = xpmlp.select_backend("cpu", "float64", backend="plain")
    together = xpmlp.StackTraining(models, data, plan, backend=backend).run()
    for model, member in zip(models, together, strict=True):
        alone = xpmlp.Training(model, data, plan, backend=backend).run()
        for name, array in alone.result.items():
            np.testing.assert_allclose(member.result[name], array, rtol=1e-9, atol=1e-12)


def test_a_textbook_step_is_an_optimiser() -> None:
    """w − α g and nothing else: the gradient arrives as an array."""

    class Textbook(xpmlp.Optimizer):
        def step(self, w: Any, g: Any, moments: Any, at: xpmlp.StepContext) -> Any:  # noqa: ARG002
            return w - at.rate * g, {}

    data, plan = xpmlp.load_data("digits"), xpmlp.Plan(epochs=1)
    found = []
    for rule in (Textbook(), xpmlp.SGD()):
        model = xpmlp.Model(xpmlp.MLP((64, 9, 10)), rule, 0.3, xpmlp.Penalty(l2=0.01))
        backend = xpmlp.select_backend("cpu", "float64")
        found.append(xpmlp.Training(model, data, plan, backend=backend).run().params)
    for name, array in found[0].items():
        np.testing.assert_allclose(array, found[1][name], rtol=1e-10, atol=1e-13)

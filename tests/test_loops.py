"""Steps of optimisers as compiled loops: the same bits as numpy's own, or not used at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xpmlp import (
    MLP,
    Adam,
    Examples,
    Model,
    Nesterov,
    Optimizer,
    Plan,
    Regularization,
    StackTraining,
    StepContext,
    select_backend,
)
from xpmlp.arrays import Params
from xpmlp.backends.cpu import fusion, numpy_backend
from xpmlp.backends.cpu.fusion import Fusion
from xpmlp.backends.cpu.tracing import Traced
from xpmlp.mathematics.optimizers import OPTIMIZERS

pytest.importorskip("numba")

SHAPES = {"layer1.weight": (30, 7), "layer1.bias": (7,)}
RATES = np.array([0.1, 0.01, 0.03])


@dataclass(frozen=True)
class Functional(Optimizer):
    """Lion, which makes new arrays and changes none."""

    beta: float = 0.9
    moments = ("gradient_mean",)

    def step(self, w: Any, g: Any, moments: Params, at: StepContext) -> tuple[Any, Params]:
        m = moments["gradient_mean"]
        direction = at.xp.sign(self.beta * m + (1 - self.beta) * g)
        return w - at.rate * direction, {"gradient_mean": self.beta * m + (1.0 - self.beta) * g}


@dataclass(frozen=True)
class Exponential(Functional):
    """A rule with a function that compilers round in their own way."""

    def step(self, w: Any, g: Any, moments: Params, at: StepContext) -> tuple[Any, Params]:
        return w - at.rate * at.xp.exp(-g), moments


@dataclass(frozen=True)
class Clipped(Functional):
    """A rule that looks at the numbers to decide."""

    def step(self, w: Any, g: Any, moments: Params, at: StepContext) -> tuple[Any, Params]:
        if at.xp.max(at.xp.abs(g)) > 1:
            g = g / 2.0
        return w - at.rate * g, moments


@dataclass(frozen=True)
class Ordered(Functional):
    """A rule whose result depends on the order of its operations."""

    def step(self, w: Any, g: Any, moments: Params, at: StepContext) -> tuple[Any, Params]:
        m = moments["gradient_mean"]
        g -= m
        m += abs_of(g, at.xp) / 3.0
        w += (1.0 / (2.0 + m)) - (-g) * at.rate
        return w, {"gradient_mean": m}


def abs_of(g: Any, xp: Any) -> Any:
    return xp.sqrt(g * g) + xp.abs(g)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "WORTH_COMPILING", 0.0)


def plain_namespace() -> SimpleNamespace:
    return SimpleNamespace(**vars(numpy_backend._namespace()) | {"each": None})


@pytest.fixture
def loops() -> Fusion:
    """Return loops that nobody has made yet."""
    return Fusion(plain_namespace())


def with_loops(loops: Fusion) -> SimpleNamespace:
    return SimpleNamespace(**vars(loops._xp) | {"each": loops.each})


def made(loops: Fusion) -> list[bool]:
    """Return for each kind of array that was met whether there is a loop for it."""
    return [loop is not None for use in loops._uses.values() for loop in use.loops.values()]


def after_steps(
    rule: Optimizer, xp: Any, dtype: str, models: int | None = None, steps: int = 12
) -> Params:
    """Return parameters and state after some steps along gradients that are drawn."""
    rng, lead = np.random.default_rng(0), () if models is None else (models,)
    params = {name: rng.normal(size=lead + shape).astype(dtype) for name, shape in SHAPES.items()}
    state = rule.init(params, xp=xp)
    rate = 0.01 if models is None else RATES.astype(dtype)
    for _ in range(steps):
        gradients = {
            name: (rng.normal(size=w.shape) * rng.choice([1e-30, 1.0, 1e20])).astype(dtype)
            for name, w in params.items()
        }
        with np.errstate(all="ignore"):
            params, state = rule.update(params, gradients, state, learning_rate=rate, xp=xp)
    moments = {f"{k} {name}": a for k, arrays in state.items() for name, a in arrays.items()}
    return params | moments


def assert_same_bits(found: Params, expected: Params) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("models", [None, 3])
@pytest.mark.parametrize(
    "rule", [*(kind() for kind in OPTIMIZERS.values()), Functional(), Ordered()], ids=repr
)
def test_a_loop_finds_the_same_bits(
    rule: Optimizer, models: int | None, dtype: str, loops: Fusion
) -> None:
    found = after_steps(rule, with_loops(loops), dtype, models)
    assert_same_bits(found, after_steps(rule, plain_namespace(), dtype, models))
    assert made(loops) == ([] if rule.takes_products else [True, True])


@pytest.mark.parametrize("rule", [Exponential(), Clipped()], ids=repr)
def test_a_rule_that_is_no_loop_is_called_as_it_is(rule: Optimizer, loops: Fusion) -> None:
    found = after_steps(rule, with_loops(loops), "float32")
    assert_same_bits(found, after_steps(rule, plain_namespace(), "float32"))
    assert made(loops) == [False, False]


def test_rules_that_differ_per_model_are_called_as_they_are(loops: Fusion) -> None:
    rule = Adam(beta1=np.array([0.5, 0.9, 0.99]))
    found = after_steps(rule, with_loops(loops), "float64", models=3)
    assert_same_bits(found, after_steps(rule, plain_namespace(), "float64", models=3))
    assert made(loops) == []


def test_a_loop_that_finds_something_else_is_not_used(
    loops: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Traced.__init__

    def with_another_constant(self: Traced, *arguments: Any, **more: Any) -> None:
        begun(self, *arguments, **more)
        before = self.before
        self.before = lambda *numbers: tuple(1.0000002 * factor for factor in before(*numbers))

    monkeypatch.setattr(Traced, "__init__", with_another_constant)
    found = after_steps(Adam(), with_loops(loops), "float64")
    assert_same_bits(found, after_steps(Adam(), plain_namespace(), "float64"))
    assert made(loops) == [False, False]


def test_what_is_the_same_loop_is_compiled_once(loops: Fusion) -> None:
    after_steps(OPTIMIZERS["adam"](), with_loops(loops), "float32")
    assert len(loops._compiled) == 1  # of weights, and of biases
    after_steps(OPTIMIZERS["adamw"](), with_loops(loops), "float32")
    assert len(loops._compiled) == 2  # weights decay; biases move as Adam moves them


@pytest.mark.parametrize(
    "laid_out", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2]]
)
def test_arrays_with_gaps_or_in_another_order(
    laid_out: Callable[[Any], Any], loops: Fusion
) -> None:
    rng, rule = np.random.default_rng(0), Adam()
    drawn = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    results = []
    for xp in (with_loops(loops), plain_namespace()):
        params = {name: laid_out(w) for name, w in drawn.items()}
        state = rule.init(params, xp=xp)
        for _ in range(2):
            gradients = {name: 2 * w for name, w in params.items()}
            params, state = rule.update(params, gradients, state, learning_rate=0.1, xp=xp)
        results.append(params)
    assert_same_bits(*results)


def test_a_gradient_of_another_type_is_no_matter_of_loops(loops: Fusion) -> None:
    results = []
    for xp in (with_loops(loops), plain_namespace()):
        w = np.linspace(-1, 1, 6, dtype="float32")
        params, rule = {"layer1.bias": w}, Adam()
        gradients = {"layer1.bias": np.linspace(0.1, 0.7, 6)}
        state = rule.init(params, xp=xp)
        params, _ = rule.update(params, gradients, state, learning_rate=0.1, xp=xp)
        results.append(params)
    assert_same_bits(*results)
    assert made(loops) == []


def test_a_training_goes_over_at_any_step(loops: Fusion, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(np.arange(1000.0))
    monkeypatch.setattr(fusion, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(fusion, "WORTH_COMPILING", 5.0)  # one per step on this clock
    found = after_steps(Adam(), with_loops(loops), "float32", steps=4)
    assert made(loops) == []
    found = after_steps(Adam(), with_loops(loops), "float32", steps=4)
    assert made(loops) == [True, True]
    assert_same_bits(found, after_steps(Adam(), plain_namespace(), "float32", steps=4))


def trained_by_adam(xp: Any, models: int, average_decay: float | None = None) -> Params:
    """Return the weights of a stack, which is trained in one piece per thread."""
    rng = np.random.default_rng(0)
    examples = Examples(rng.normal(size=(60, 5)).astype("float32"), rng.integers(0, 3, 60))
    backend = select_backend("cpu", threads=2)
    backend.xp = xp
    rates = np.linspace(0.001, 0.1, models)
    extra, mlp = Regularization(average_decay=average_decay), MLP((5, 4, 3), "relu")
    wanted = [Model(mlp, Adam(), float(rate), regularization=extra) for rate in rates]
    training = StackTraining(wanted, examples, Plan(steps=40, batch_size=20), backend=backend)
    for _ in training:
        pass
    return {
        f"{k} {name}": w
        for k, model in enumerate(training.models)
        for name, w in (model.params or {}).items()
    }


@pytest.mark.parametrize(("models", "average_decay"), [(1, None), (5, None), (1, 0.9)])
def test_a_training_is_the_same_with_loops_and_without(
    models: int, average_decay: float | None, loops: Fusion
) -> None:
    found = trained_by_adam(with_loops(loops), models, average_decay)
    assert_same_bits(found, trained_by_adam(plain_namespace(), models, average_decay))
    assert made(loops) == [True, True]


def test_rules_that_are_met_once_are_forgotten(
    loops: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a momentum that rises from step to step."""
    monkeypatch.setattr(fusion, "WORTH_COMPILING", 1e9)
    xp, params = with_loops(loops), {"layer1.bias": np.ones(2)}
    for step in range(2100):
        rule = Nesterov(step / 2100)
        state = rule.init(params, xp=xp)
        rule.update(params, {"layer1.bias": np.ones(2)}, state, learning_rate=0.1, xp=xp)
    assert len(loops._uses) <= 1000


def test_without_numba_there_are_no_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_backend, "numba_is_installed", lambda: False)
    assert numpy_backend._namespace.__wrapped__().each is None


def test_numba_that_does_not_import_is_no_error(
    loops: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    found = after_steps(Adam(), with_loops(loops), "float32")
    assert_same_bits(found, after_steps(Adam(), plain_namespace(), "float32"))
    assert made(loops) == [False, False]

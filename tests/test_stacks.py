"""What makes a stack, what does not, and what is read off one of its models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp import MLP, SGD, Adam, Model, Momentum, Plan, StackTraining
from xpmlp.backends import Backend
from xpmlp.data import Dataset, Examples
from xpmlp.errors import UsageError
from xpmlp.training.divergence import divergence_sentence, first_bad_layer
from xpmlp.training.history import LogRow, history_arrays, row_of, rows_of_arrays
from xpmlp.training.plan import usual_learning_rate
from xpmlp.training.stacking import (
    StackedMLP,
    check_stackable,
    model_of,
    per_model_values,
    stacked,
    stacked_mlp,
)

NET = MLP((3, 4, 2), "tanh")


def params(seed: int, mlp: MLP = NET) -> dict[str, np.ndarray]:
    return mlp.init(np.random.default_rng(seed))


STACK = stacked([params(0), params(1)], xp=np)

REFUSED: dict[str, tuple[Any, str]] = {
    "no models": (lambda: stacked([], xp=np), "no models make no stack: give one or more"),
    "other layers": (
        lambda: stacked([params(0), params(1), params(0, MLP((3, 5, 2), "tanh"))], xp=np),
        "model 2 has other layers than model 0: they make no stack",
    ),
    "a model beyond": (
        lambda: model_of(STACK, 2, xp=np),
        "a stack of 2 has no model number 2: they are counted from 0",
    ),
    "a model before": (
        lambda: model_of(STACK, -1, xp=np),
        "a stack of 2 has no model number -1: they are counted from 0",
    ),
    "of one model": (
        lambda: model_of(params(0), 0, xp=np),
        "a single model has no model number 0: they are counted from 0",
    ),
    "other losses": (
        lambda: stacked_mlp([NET, MLP((3, 4, 2), "relu", "mean_squared_error")]),
        "3-4-2, relu and 3-4-2, tanh make no stack: their layers or losses differ",
    ),
    "several activations": (
        lambda: stacked_mlp([MLP((3, 4, 4, 2), ("tanh", "relu"))]),
        "3-4-4-2, tanh, relu makes no stack: give all its hidden layers one activation",
    ),
    "other rules": (
        lambda: check_stackable([SGD(), Momentum()]),
        "SGD and Momentum make no stack: give all models one kind of optimiser",
    ),
    "no list": (
        lambda: StackTraining(3, None, Plan()),  # type: ignore[arg-type]
        "a stack is a list of one or more Model: give such a list",
    ),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_stack(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        make()


def test_a_stack_of_one_activation_names_it_once() -> None:
    assert stacked_mlp([NET, NET]) == NET
    mixed = stacked_mlp([NET, MLP((3, 4, 2), "relu")])
    assert isinstance(mixed, StackedMLP)
    assert mixed.model_activations == ("tanh", "relu")


def test_a_stack_of_several_activations_is_its_members(backend: Backend) -> None:
    """f′ is of the output in some of them, and of the input in others."""
    names = ("sigmoid", "gelu", "gelu", "relu", "mish")
    members = [params(seed) for seed in range(len(names))]
    mlps = [MLP((3, 4, 2), name) for name in names]
    rng = np.random.default_rng(5)
    x, doutputs = backend.to_device(rng.normal(size=(6, 3))), rng.normal(size=(6, 2))
    together = backend.all_to_device({k: np.stack([m[k] for m in members]) for k in members[0]})
    outputs, backprop = stacked_mlp(mlps).forward(together, x, xp=backend.xp)
    above = backend.to_device(np.stack([doutputs] * len(names)))
    gradients = backprop(above)
    for place, (mlp, member) in enumerate(zip(mlps, members, strict=True)):
        alone, back = mlp.forward(backend.all_to_device(member), x, xp=backend.xp)
        found = backend.to_host(outputs)[place]
        np.testing.assert_allclose(found, backend.to_host(alone), rtol=1e-12)
        for name, array in back(backend.to_device(doutputs)).items():
            found = backend.to_host(gradients[name])[place]
            np.testing.assert_allclose(found, backend.to_host(array), rtol=1e-10, atol=1e-14)


def test_values_of_models_have_the_type_of_their_weights() -> None:
    like = np.zeros(1, dtype="float32")
    found = per_model_values([0.1, 0.2], like=like, xp=np)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert per_model_values([0.1, 0.1], like=like, xp=np) == 0.1


@pytest.mark.parametrize(
    ("activation", "rule", "rate"),
    [
        ("sigmoid", SGD(), 0.5),
        ("relu", SGD(), 0.1),
        (("sigmoid", "sigmoid"), SGD(), 0.5),
        (("sigmoid", "relu"), SGD(), 0.1),
        ("sigmoid", Adam(), 0.001),
    ],
)
def test_usual_learning_rates(activation: Any, rule: xpmlp.Optimizer, rate: float) -> None:
    mlp = MLP((3, 4, 4, 2), activation)
    assert usual_learning_rate(mlp, rule) == pytest.approx(rate)


def test_histories_keep_their_types_and_gaps() -> None:
    rows = [LogRow(20, 1.0, 0.5, 0.3, 0.9, None, None, 0.2), LogRow(40, 2, 1, 0, 1, 0.5, 1, 1)]
    columns = history_arrays(rows)
    assert columns["step"].dtype == np.int64
    assert {column.dtype for name, column in columns.items() if name != "step"} == {
        np.dtype(np.float64)
    }
    assert np.isnan(columns["val_loss"][0])
    assert rows_of_arrays(columns) == rows
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        rows_of_arrays(columns | {"seconds": columns["seconds"][:1]})
    record = {"step": 1, "train_loss": 0.1, "epoch": 1, "learning_rate": 1, "seconds": 1, "x": 2}
    with pytest.raises(ValueError, match=r"^'x' means nothing$"):
        row_of(record)


def test_where_a_training_went_wrong_is_looked_for_in_its_batch(backend: Backend) -> None:
    x = np.ones((4, 3))
    x[3] = 1e307
    examples = Examples(x, np.array([0, 1, 0, 1])).to_device(backend)
    rows = backend.to_device(np.array([1, 3]))
    large = {k: backend.to_device(a * 1e3) for k, a in params(0).items()}
    linear = MLP((3, 4, 2), "identity")
    draw = xpmlp.data.batches.Draw
    assert first_bad_layer(linear, large, draw(examples, rows, 2), backend) != "the loss"
    sound = draw(examples, backend.to_device(np.array([0, 2])), 2)
    assert first_bad_layer(linear, large, sound, backend) == "the loss"
    assert divergence_sentence("it is nan", 3, 0.5, "the loss") == (
        "it is nan at step 3 with learning rate 0.5; it began in the loss: choose a smaller "
        "learning rate, or scale the features"
    )


def test_a_member_that_has_ended_keeps_its_step_and_time() -> None:
    data = xpmlp.load_data("digits")
    mlp = MLP((64, 10))
    models = [Model(mlp, learning_rate=0.1), Model(mlp, learning_rate=1e6, seed=1)]
    training = StackTraining(models, data, Plan(epochs=3))
    good, bad = training.run()
    assert (good.status, bad.status) == ("completed", "diverged")
    states = training.states()
    assert (states[0].step, states[0].seconds) == (63, good.history[-1].seconds)
    last = (bad.history[-1].step, bad.history[-1].seconds) if bad.history else (0, 0.0)
    assert (states[1].step, states[1].seconds) == last
    again = StackTraining(models, data, Plan(epochs=3), states=states)
    assert again.step == 63


def test_targets_that_are_no_numbers_are_told() -> None:
    y = np.array([[0.5, 0.5], [np.nan, 0.5]])
    data = Dataset("rows", Examples(np.ones((2, 3)), y))
    said = "the targets hold NaN or infinity: repair these rows or leave them out"
    with pytest.raises(xpmlp.DataError, match=f"^{said}$"):
        xpmlp.fit(Model(NET), data, Plan(epochs=1, batch_size=1))


@dataclass(frozen=True)
class Own(SGD):
    strength: Any = 0.1
    kind: str = "a"


def test_a_rule_may_differ_in_what_may_be_an_array() -> None:
    check_stackable([Own(0.1), Own(0.2)])
    with pytest.raises(UsageError, match="one kind per model makes no stack"):
        check_stackable([Own(0.1, "a"), Own(0.1, "b")])

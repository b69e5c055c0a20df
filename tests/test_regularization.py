"""What makes training harder than the data do: each by its formula, and through whole trainings."""

from __future__ import annotations

from dataclasses import replace
from math import cos, log, pi, sqrt
from typing import Any

import numpy as np
import pytest
from central_differences import HostParams, central_differences
from conftest import MakeBackend
from stacks import stack_of, to_host
from trainings import ALL_REGULARIZATION, EACH_ITS_OWN

from xpmlp import (
    MLP,
    Adam,
    Constant,
    Dataset,
    Deformation,
    Examples,
    Model,
    Momentum,
    Nesterov,
    Plan,
    Regularization,
    StackTraining,
    Training,
    UsageError,
    Warmup,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.counters import random_bits
from xpmlp.mathematics.products import Sums
from xpmlp.mathematics.step import Piece, piece_gradient
from xpmlp.regularization import key_count, placed, smoothed
from xpmlp.regularization.noise import gaussian_noise
from xpmlp.regularization.weights import AVERAGE, COUNT, bounded, with_average

RNG = np.random.default_rng(0)
NET = MLP((4, 6, 3), "tanh")
ROWS = Examples(RNG.normal(size=(40, 4)), RNG.integers(3, size=40))


def noise_of(backend: Backend, key: int, rows: int, units: int, deviation: Any) -> np.ndarray:
    like = backend.to_device(np.zeros((rows, units)))
    numbers = backend.to_device(np.arange(rows, dtype=np.uint32))
    keys = backend.to_device(np.array(key, dtype=np.uint32))
    with backend.computing():
        found = gaussian_noise(keys, like, deviation, numbers, xp=backend.xp)
    return backend.to_host(found)


def test_noise_is_gaussian() -> None:
    e = noise_of(select_backend("cpu", "float64"), 5, 400, 500, 0.5) / 0.5
    n = e.size
    # Moments 0, 1, 0, 3 of a standard normal, to five standard deviations of their means.
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((e**power).mean() - expected) < 5 * sqrt(variance / n)
    within = (abs(e) < 1).mean()
    assert abs(within - 0.682689) < 5 * sqrt(0.6827 * 0.3173 / n)
    assert 4 < abs(e).max() < 4.9
    for one, other in ((e[1:], e[:-1]), (e[:, 1:], e[:, :-1])):
        assert abs((one * other).mean()) < 5 / sqrt(one.size)


def test_noise_is_that_of_the_formula(backend: Backend) -> None:
    bits = random_bits(
        np.uint32(7), np.arange(3, dtype="u4")[:, None], np.arange(5, dtype="u4"), xp=np
    )
    expected = [
        [
            0.3
            * sqrt(-2 * log((int(b) >> 16) / 65536 + 1 / 131072))
            * cos(2 * pi * (int(b) & 0xFFFF) / 65536)
            for b in row
        ]
        for row in bits
    ]
    np.testing.assert_allclose(noise_of(backend, 7, 3, 5, 0.3), expected, rtol=1e-12)


def test_units_are_bounded_by_the_norm_of_what_comes_in(backend: Backend) -> None:
    """(3, 4) has the norm 5, (0.6, 0.8) the norm 1, (0, 0) none."""
    w = np.array([[3.0, 0.6, 0.0], [4.0, 0.8, 0.0]])
    params = backend.all_to_device({"layer1.weight": w, "layer1.bias": np.array([9.0, 9.0, 9.0])})
    with backend.computing():
        found = to_host(backend, bounded(params, 2.0, xp=backend.xp))
    expected = [[1.2, 0.6, 0.0], [1.6, 0.8, 0.0]]
    np.testing.assert_allclose(found["layer1.weight"], expected, rtol=1e-15)
    np.testing.assert_array_equal(found["layer1.bias"], 9.0)


def test_units_of_a_stack_are_bounded_model_by_model(backend: Backend) -> None:
    w = np.array([[[3.0], [4.0]], [[3.0], [4.0]], [[3.0], [4.0]]])
    params = backend.all_to_device({"layer1.weight": w})
    most = backend.to_device(np.array([1.0, 2.5, np.inf]))
    with backend.computing():
        found = to_host(backend, bounded(params, most, xp=backend.xp))["layer1.weight"]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1)[:, 0], [1.0, 2.5, 5.0], rtol=1e-15)


def trained(backend: Backend, extra: Regularization, steps: int = 7) -> Training:
    model = Model(NET, Momentum(0.5), 0.3, seed=1, regularization=extra)
    data = Dataset("rows", ROWS, validation=ROWS.first(20))
    training = Training(model, data, Plan(steps=steps, batch_size=8, log_every=1), backend=backend)
    training.run()
    return training


def test_the_average_is_that_of_all_weights_until_it_forgets() -> None:
    """With 1 − d = 1/4: the mean of the first four steps, and then w̄ ← ¾ w̄ + ¼ w."""
    backend = select_backend("cpu", "float64")
    weights = [
        trained(backend, Regularization(), steps).state.params["layer1.weight"]
        for steps in range(1, 8)
    ]
    expected = np.mean(weights[:4], axis=0)
    for w in weights[4:]:
        expected = 0.75 * expected + 0.25 * w
    state = trained(backend, Regularization(average_decay=0.75)).state
    np.testing.assert_allclose(state.averaged["layer1.weight"], expected, rtol=1e-12)
    np.testing.assert_array_equal(state.params["layer1.weight"], weights[-1])  # it changes nothing


def test_the_average_of_what_does_not_move_does_not_move() -> None:
    """In float32, where 1 − s and s, each rounded, need not add up to 1."""
    w = RNG.normal(size=(20, 10)).astype(np.float32)
    params, steps = {"layer1.weight": w.copy()}, np.asarray(1e5, dtype=np.float32)
    state = {AVERAGE: {"layer1.weight": w.copy()}, COUNT: {"steps": steps}}
    backend = select_backend()
    with backend.computing():
        for _ in range(5000):
            state = with_average(params, state, 0.999, xp=backend.xp)
    np.testing.assert_allclose(state[AVERAGE]["layer1.weight"], w, rtol=1e-6)


def test_the_average_is_what_is_validated_and_returned() -> None:
    from xpmlp import Trained, evaluate

    backend = select_backend("cpu", "float64")
    training = trained(backend, Regularization(average_decay=0.9), steps=6)
    state = training.state
    loss, accuracy = evaluate(
        NET, state.averaged, ROWS.first(20).to_device(backend), backend=backend
    )
    assert state.history[-1].val_loss == pytest.approx(loss, rel=1e-12)
    assert state.history[-1].val_accuracy == accuracy
    losses = [row.val_loss or 0.0 for row in state.history]
    assert losses[-1] == min(losses)  # so the best is the last
    for found in (
        state.result,
        Trained.of(training).params,
        Trained.of(training, best=False).params,
    ):
        np.testing.assert_array_equal(found["layer1.weight"], state.averaged["layer1.weight"])
    raw, _ = evaluate(NET, state.params, ROWS.first(20).to_device(backend), backend=backend)
    assert abs(raw - loss) > 1e-4


def test_validation_is_of_targets_as_they_are() -> None:
    """Smoothed targets are trained on, and no figure of validation is of them."""
    from xpmlp import evaluate

    backend = select_backend("cpu", "float64")
    training = trained(backend, Regularization(label_smoothing=0.3))
    plain, _ = evaluate(
        NET, training.state.params, ROWS.first(20).to_device(backend), backend=backend
    )
    assert training.state.history[-1].val_loss == pytest.approx(plain, rel=1e-12)
    assert training.state.only.mlp.loss == "cross_entropy"


def test_a_stack_has_a_share_per_model(backend: Backend) -> None:
    """Also of smoothed targets: (1 − ε) y + ε/3, for each ε."""
    name = smoothed("cross_entropy", [0.0, 0.3])
    from xpmlp import LOSSES

    z = RNG.normal(size=(2, 5, 3))
    y = np.array([0, 1, 2, 1, 0])
    device = backend.to_device(z), backend.to_device(y)
    with backend.computing():
        losses, derivatives = (backend.to_host(a) for a in LOSSES[name](*device, xp=backend.xp))
    for k, share in enumerate((0.0, 0.3)):
        target = (1 - share) * np.eye(3)[y] + share / 3
        p = np.exp(z[k]) / np.exp(z[k]).sum(axis=1, keepdims=True)
        assert losses[k] == pytest.approx(-(target * np.log(p)).sum(), rel=1e-12)
        np.testing.assert_allclose(derivatives[k], p - target, atol=1e-14)


@pytest.mark.parametrize("kind", [Nesterov(0.8), Adam()], ids=["Nesterov", "Adam"])
def test_models_of_a_stack_are_trained_as_alone(backend: Backend, kind: Any) -> None:
    models = [
        Model(NET, kind, 0.05 * (k + 1), seed=k, regularization=own)
        for k, own in enumerate(EACH_ITS_OWN)
    ]
    data = Dataset("rows", ROWS, validation=ROWS.first(10)).to_device(backend)
    plan = Plan(steps=23, batch_size=7, log_every=5)
    together = StackTraining(models, data, plan, backend=backend)
    together.run()
    for model, found in zip(models, together.states(), strict=True):
        alone = Training(model, data, plan, backend=backend).run()
        pairs = [(found.params, alone.params), (found.averaged, alone.averaged)]
        pairs.append((found.result, alone.result))
        for ours, single in pairs:
            expected = to_host(backend, single)
            for name, array in to_host(backend, ours).items():
                np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-10)
        rows = zip(found.history, alone.history, strict=True)
        assert all(a.val_loss == pytest.approx(b.val_loss, rel=1e-9) for a, b in rows)


@pytest.mark.parametrize("models", [1, 2])
def test_gradients_through_all_of_it_equal_central_differences(models: int) -> None:
    """With its keys held fixed the loss is a function like any other; images are deformed too."""
    backend = select_backend("cpu", "float64", threads=1)
    mlp = MLP((64, 5, 4, 3), "tanh", smoothed("cross_entropy", [0.2]))
    xp, rng = backend.xp, np.random.default_rng(4)
    bent = Deformation(rotation=20, scaling=0.2, shear=10, shift=1.0, elastic=0.7)
    extra = replace(ALL_REGULARIZATION, deformation=bent)
    members = [
        {name: rng.normal(size=array.shape) for name, array in mlp.init(rng).items()}
        for _ in range(models)
    ]
    params = members[0] if models == 1 else stack_of(members)
    piece = Piece(rng.uniform(size=(6, 64)), rng.integers(3, size=6))
    found = placed([extra] * models, 64, like=params["layer1.weight"], xp=xp)
    assert found is not None
    keys = rng.integers(2**32, size=key_count(3), dtype="u4")
    noise = found.noise_of(keys, np.arange(6, dtype="u4"), xp=xp)

    def sums(moved: HostParams) -> Sums:
        return piece_gradient(mlp, moved, piece, scale=1 / 6, xp=xp, noise=noise)

    gradients = sums(params)
    gradients.multiply_out()
    some = {name: params[name] for name in params if name != "layer1.weight"}
    some["layer1.weight"] = params["layer1.weight"]
    numeric = central_differences(lambda moved: float(np.sum(sums(moved)["loss"])), some)
    for name, expected in numeric.items():
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-6, atol=1e-8)


def test_a_resumed_average_is_that_of_an_uninterrupted_run() -> None:
    backend = select_backend("cpu", "float64")
    model = Model(NET, Adam(), 0.02, seed=1, regularization=ALL_REGULARIZATION)
    plan = Plan(steps=20, batch_size=8)
    whole = Training(model, ROWS, plan, backend=backend).run()
    begun = Training(model, ROWS, replace(plan, steps=9), backend=backend).run()
    ended = Training(model, ROWS, plan, backend=backend, state=begun).run()
    for name, array in whole.averaged.items():
        np.testing.assert_array_equal(ended.averaged[name], array)
        np.testing.assert_array_equal(ended.params[name], whole.params[name])


def test_an_average_may_begin_later() -> None:
    """A state that has none gets one, from where it is."""
    backend = select_backend("cpu", "float64")
    begun = trained(backend, Regularization(), steps=3).state
    before = {name: array.copy() for name, array in begun.params.items()}
    extra = Regularization(average_decay=0.5)
    model = Model(NET, Momentum(0.5), 0.3, seed=1, regularization=extra)
    plan = Plan(steps=3, batch_size=8)
    same = Training(model, ROWS, plan, backend=backend, state=begun)
    np.testing.assert_array_equal(same.state.averaged["layer1.weight"], before["layer1.weight"])
    on = Training(model, ROWS, replace(plan, steps=4), backend=backend, state=begun).run()
    np.testing.assert_array_equal(on.averaged["layer1.weight"], on.params["layer1.weight"])


@pytest.mark.parametrize("rule", [Momentum, Nesterov])
def test_momentum_rises_as_it_is_scheduled(rule: Any) -> None:
    """From 0.2 over four steps to 0.8: 0.35, 0.5, 0.65, 0.8, by the formula of the rule."""
    backend = select_backend("cpu", "float64")
    model, size = Model(MLP((4, 3)), rule(0.8), 0.1, seed=2), len(ROWS)
    plan = Plan(steps=6, batch_size=None, momentum=Warmup(Constant(), 4, 0.25), log_every=1)
    found = Training(model, ROWS, plan, backend=backend).run().params["layer1.weight"]
    start = Training(model, ROWS, replace(plan, steps=1), backend=backend).state.params
    w, b = (np.array(start[f"layer1.{name}"]) for name in ("weight", "bias"))
    v, u = np.zeros_like(w), np.zeros_like(b)
    for gamma in (0.35, 0.5, 0.65, 0.8, 0.8, 0.8):
        z = ROWS.x @ w + b
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        d = (p - np.eye(3)[ROWS.y]) / size
        g, h = ROWS.x.T @ d, d.sum(axis=0)
        v, u = gamma * v + g, gamma * u + h
        ahead = rule is Nesterov
        w -= 0.1 * (g + gamma * v if ahead else v)
        b -= 0.1 * (h + gamma * u if ahead else u)
    np.testing.assert_allclose(found, w, rtol=1e-10)


def test_momenta_of_a_stack_rise_each_to_its_own(make_backend: MakeBackend) -> None:
    backend = make_backend("float64")
    models = [Model(NET, Momentum(m), 0.1, seed=2) for m in (0.9, 0.5)]
    plan = Plan(steps=12, batch_size=9, momentum=Warmup(Constant(), 8, 0.5))
    together = StackTraining(models, ROWS.to_device(backend), plan, backend=backend)
    together.run()
    for model, found in zip(models, together.states(), strict=True):
        alone = Training(model, ROWS.to_device(backend), plan, backend=backend).run()
        expected = to_host(backend, alone.params)
        for name, array in to_host(backend, found.params).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-10)


def test_an_average_that_is_not_kept_is_forgotten() -> None:
    """What goes on without one is validated by its weights, and not by an average of old ones."""
    backend = select_backend("cpu", "float64")
    begun = trained(backend, Regularization(average_decay=0.5), steps=3).state
    model = Model(NET, Momentum(0.5), 0.3, seed=1)
    data = Dataset("rows", ROWS, validation=ROWS.first(20))
    plan = Plan(steps=6, batch_size=8, log_every=1)
    ended = Training(model, data, plan, backend=backend, state=begun).run()
    alone = trained(backend, Regularization(), steps=6).state
    np.testing.assert_array_equal(ended.averaged["layer1.weight"], alone.params["layer1.weight"])
    assert [row.val_loss for row in ended.history[3:]] == [
        row.val_loss for row in alone.history[3:]
    ]


def test_a_stack_goes_on_from_averages_of_one_length() -> None:
    backend = select_backend("cpu", "float64")
    extra = Regularization(average_decay=0.5)
    model = Model(NET, Momentum(0.5), 0.3, seed=1, regularization=extra)
    states = [trained(backend, own, steps=3).state for own in (extra, Regularization())]
    plan = Plan(steps=6, batch_size=8)
    with pytest.raises(UsageError, match="averages of the states are of different numbers"):
        StackTraining([model, model], ROWS, plan, backend=backend, states=states)
    plain = Model(NET, Momentum(0.5), 0.3, seed=1)
    states = [trained(backend, own, steps=3).state for own in (extra, Regularization())]
    StackTraining([plain, plain], ROWS, plan, backend=backend, states=states).run()


TEN: Any = 10
WRONG: dict[str, tuple[Any, str]] = {
    "dropout": (lambda: Regularization(dropout=1.0), "dropout is 1.0: choose a number from 0"),
    "nan": (lambda: Regularization(noise=float("nan")), "noise is nan: choose a number from 0 up"),
    "max_norm": (lambda: Regularization(max_norm=0), "max_norm is 0: choose a number above 0"),
    "average": (lambda: Regularization(average_decay=1), "average_decay is 1: choose a number"),
    "deformation": (lambda: Regularization(deformation=TEN), "deformation is 10: give one such as"),
    "rotation": (lambda: Deformation(rotation=-1), "rotation is -1: choose degrees from 0 to 180"),
    "scaling": (lambda: Deformation(scaling=100), "scaling is 100: choose a number from 0 to 2"),
    "shear": (lambda: Deformation(shear=90), "shear is 90: choose degrees from 0 to below 90"),
    "shape": (lambda: Deformation(image_shape=TEN), "image_shape is 10: choose"),
    "of values": (
        lambda: Model(
            MLP((4, 1), loss="mean_squared_error"),
            regularization=Regularization(label_smoothing=0.1),
        ),
        "label_smoothing works with cross_entropy and binary_cross_entropy, and the loss is mean_",
    ),
    "no regularisation": (
        lambda: Model(NET, regularization=TEN),
        "regularization is 10: give one such as Regularization",
    ),
    "no hidden units": (
        lambda: Model(MLP((4, 3)), regularization=Regularization(input_noise=1, dropout=0.5)),
        "dropout and noise are of hidden units, and 4-3",
    ),
    "momentum": (lambda: Warmup(Constant(), 4, start=1.5), "start is 1.5: choose a share from 0"),
    "averages of some": (
        lambda: StackTraining(
            [Model(NET), Model(NET, regularization=Regularization(average_decay=0.9))],
            ROWS,
            Plan(steps=1, batch_size=8),
        ),
        "average_decay is of all models of a stack, or of none",
    ),
    "deformations of some": (
        lambda: StackTraining(
            [
                Model(MLP((64, 10)), regularization=Regularization(deformation=Deformation(k)))
                for k in (1, 2)
            ],
            Examples(np.zeros((20, 64)), np.arange(20) % 10),
            Plan(steps=1, batch_size=8),
        ),
        "one deformation per model makes no stack",
    ),
    "momentum of Adam": (
        lambda: Training(
            Model(NET, Adam()), ROWS, Plan(steps=1, batch_size=8, momentum=Constant())
        ),
        "momentum is scheduled, and Adam has none",
    ),
}


@pytest.mark.parametrize(("made", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_said(made: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made()

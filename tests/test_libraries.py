"""Each array library trains the same network, and a compiled one compiles once."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts_at_work import run_script
from stacks import to_host
from strict_backend import StrictBackend, strict_rules
from trainings import ALL_REGULARIZATION, EACH_ITS_OWN, RULES, fit, initial_state

import xpmlp
from xpmlp import (
    MLP,
    SGD,
    Adam,
    Cosine,
    Examples,
    Model,
    Momentum,
    Penalty,
    Plan,
    StackTraining,
    StepDecay,
    Training,
    select_backend,
)
from xpmlp.backends import Backend
from xpmlp.errors import DeviceError, DivergedError, UsageError

RNG = np.random.default_rng(0)
# 13 batches of 5 and one of 3.
ROWS = Examples(RNG.normal(size=(68, 4)), RNG.integers(3, size=68))
NETWORK = MLP((4, 6, 5, 3), "tanh")


jax = pytest.param("jax", marks=pytest.mark.jax)
torch = pytest.param("torch", marks=pytest.mark.torch)


@pytest.fixture(params=["strict", jax, torch])
def library(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Return a backend in float64, as a user makes it."""
    if request.param == "strict":
        with strict_rules():
            yield StrictBackend("float64")
    else:
        yield select_backend("cpu", "float64", backend=request.param)


CASES: dict[str, dict[str, Any]] = RULES | {
    "step decay": {"schedule": StepDecay((1, 2), 0.3)},
    "cosine": {"schedule": Cosine(100), "optimizer": Adam(), "learning_rate": 0.01},
    "weights": {"train": Examples(ROWS.x, ROWS.y, sample_weight=RNG.uniform(size=68))},
    "scaled bytes": {
        "mlp": MLP((3, 6, 3), "relu"),
        "train": Examples(
            RNG.integers(256, size=(68, 3), dtype=np.uint8),
            ROWS.y,
            xpmlp.Normalization(np.array([100.0, 120.0, 90.0]), np.array([70.0, 80.0, 60.0])),
        ),
    },
    "one feature, one output": {
        "mlp": MLP((1, 7, 1), "tanh", "mean_squared_error"),
        "train": Examples(ROWS.x[:, :1], np.sin(ROWS.x[:, :1])),
    },
    "gelu, yes or no": {
        "mlp": MLP((4, 6, 2), "gelu", "binary_cross_entropy"),
        "train": Examples(ROWS.x, (ROWS.x[:, :2] > 0).astype(float)),
    },
    "validation": {"validation": Examples(ROWS.x[:20], ROWS.y[:20]), "patience": 3},
}


def trained(backend: Backend, **settings: Any) -> tuple[list[float], dict[str, np.ndarray], int]:
    """Return figures of the rows, the weights on the host, and the step that was reached."""
    defaults: dict[str, Any] = {"optimizer": SGD(), "learning_rate": 0.2, "steps": 100}
    defaults |= {"batch_size": 5, "log_every": 30, "train": ROWS, "mlp": NETWORK}
    settings = defaults | settings
    for part in ("train", "validation"):
        if part in settings:
            settings[part] = settings[part].to_device(backend)
    mlp, train = settings.pop("mlp"), settings.pop("train")
    state = initial_state(mlp, settings["optimizer"], seed=1, backend=backend)
    rows = list(fit(mlp, state, train, backend=backend, **settings))
    figures = [(r.step, r.train_loss, r.train_accuracy, r.learning_rate, r.val_loss) for r in rows]
    numbers = [value for row in figures for value in row if value is not None]
    return numbers, to_host(backend, state.params), state.step


@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps_are_those_of_numpy(library: Backend, case: str) -> None:
    expected = trained(select_backend("cpu", "float64"), **CASES[case])
    found = trained(library, **CASES[case])
    assert found[2] == expected[2]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    for name, array in found[1].items():
        np.testing.assert_allclose(array, expected[1][name], rtol=1e-10, atol=1e-10)


def stack(backend: Backend, **plan: Any) -> list[dict[str, np.ndarray]]:
    models = [
        Model(
            NETWORK,
            Momentum(0.1 * k),
            rate,
            Penalty(l2=0.01 * k),
            seed=k,
            regularization=own,
        )
        for k, (rate, own) in enumerate(zip((0.1, 0.3, 0.05), EACH_ITS_OWN, strict=True))
    ]
    settings = Plan(**{"steps": 100, "batch_size": 5} | plan)
    training = StackTraining(models, ROWS.to_device(backend), settings, backend=backend)
    return [to_host(backend, model.result) for model in training.run()]


def test_a_stack_of_three_models_is_that_of_numpy(library: Backend) -> None:
    expected = stack(select_backend("cpu", "float64", threads=1))
    for model, wanted in zip(stack(library), expected, strict=True):
        for name, array in model.items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-10, atol=1e-10)


def test_masks_are_the_same_bits_everywhere(library: Backend) -> None:
    from xpmlp.mathematics.dropout import dropout_mask

    masks = []
    for backend in (select_backend("cpu", "float64"), library):
        keys = backend.to_device(np.array([7, 2**32 - 1], dtype=np.uint32))
        like = backend.to_device(np.zeros((2, 50, 40)))
        with backend.computing():
            masks.append(backend.to_host(dropout_mask(keys, like, 0.3, xp=backend.xp)))
    np.testing.assert_array_equal(masks[0], masks[1])
    assert 0.6 < (masks[0] > 0).mean() < 0.8


def test_pieces_of_a_batch_are_deformed_on_every_library(library: Backend) -> None:
    """A batch of two whole pieces leaves nothing for a third; full of images, in float64."""
    bent = xpmlp.Deformation(rotation=15, shift=1, elastic=0.5)
    rng = np.random.default_rng(3)
    images = Examples(
        rng.integers(256, size=(2000, 16), dtype=np.uint8), rng.integers(2, size=2000)
    )
    model = Model(
        MLP((16, 5, 2)), learning_rate=0.1, regularization=xpmlp.Regularization(deformation=bent)
    )
    plan = Plan(steps=2, batch_size=None)
    found, expected = (
        to_host(each, Training(model, images, plan, backend=each).run().params)
        for each in (library, select_backend("cpu", "float64"))
    )
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-10)


def test_divergence_names_the_same_step_and_layer(library: Backend) -> None:
    messages = []
    for backend in (select_backend("cpu", "float64"), library):
        with pytest.raises(DivergedError) as error:
            trained(backend, optimizer=Momentum(0.9), learning_rate=1e308)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_what_broke_off_goes_on_as_if_it_had_not(library: Backend) -> None:
    model, plan = Model(NETWORK, Adam(), 0.01), Plan(steps=60, batch_size=5, log_every=20)
    data = ROWS.to_device(library)
    whole = Training(model, data, plan, backend=library)
    whole.run()
    parts = Training(model, data, plan, backend=library)
    for _ in parts:
        break
    parts.run()
    for name, array in to_host(library, whole.state.params).items():
        np.testing.assert_array_equal(library.to_host(parts.state.params[name]), array)


def test_a_run_goes_on_with_another_library(library: Backend) -> None:
    """The state of numpy's first half, and the second half elsewhere."""
    model = Model(NETWORK, Adam(), 0.01)
    own = select_backend("cpu", "float64")
    expected = Training(model, ROWS, Plan(steps=60, batch_size=5), backend=own).run()
    first = Training(model, ROWS, Plan(steps=30, batch_size=5), backend=own)
    first.run()
    state = first.state
    moments = state.variables.optimizer_state.items()
    state.variables = xpmlp.Variables(
        library.all_to_device(state.params),
        {kind: library.all_to_device(arrays) for kind, arrays in moments},
    )
    second = Training(model, ROWS, Plan(steps=60, batch_size=5), backend=library, state=state)
    second.run()
    for name, array in expected.params.items():
        found = library.to_host(second.state.params[name])
        np.testing.assert_allclose(found, array, rtol=1e-10, atol=1e-10)


@pytest.mark.jax
def test_jax_compiles_one_step_for_the_batches_and_one_for_the_short_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever schedule, momentum and log points: these are arguments of the program."""
    backend = select_backend("cpu", backend="jax")

    def compiled(**settings: Any) -> int:
        import jax

        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
            trained(backend, steps=70, **settings)
        texts = [record.getMessage() for record in caplog.records]
        return sum("Compiling jit(take_steps)" in text for text in texts)

    assert compiled(mlp=MLP((4, 9, 3))) == 2
    assert compiled(mlp=MLP((4, 9, 3)), schedule=Cosine(70), log_every=7, learning_rate=0.1) == 0
    assert compiled(mlp=MLP((4, 9, 3)), optimizer=Momentum(0.9)) == 2
    assert compiled(mlp=MLP((4, 9, 3)), optimizer=Momentum(0.5)) == 0


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_a_library_that_is_not_installed_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DeviceError, match=f"is not installed: pip install .*{name}"):
        select_backend("cpu", backend=name)


@pytest.mark.parametrize(
    ("device", "backend", "message"),
    [
        (
            "tpu",
            "auto",
            "with torch as backend= there are cuda:N, mps and xpu, too, and with jax tpu",
        ),
        ("gpu", "numpy", "'gpu' is not one of this backend: choose cpu"),
        ("cpu", "cupy", "'cpu' is not one of this backend: choose gpu or gpu:N"),
        ("cpu", "tensorflow", "choose from auto, numpy, cupy, jax, torch"),
        pytest.param("mps:1", "torch", "is not one of torch's", marks=pytest.mark.torch),
        pytest.param("cuda", "jax", "is not one of JAX's", marks=pytest.mark.jax),
    ],
)
def test_a_device_that_a_library_does_not_have(device: str, backend: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select_backend(device, backend=backend)


@pytest.mark.jax
@pytest.mark.torch
def test_without_cupy_the_library_that_sees_the_card_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And only that: it is not taken instead."""

    def sees_one(wanted: xpmlp.DeviceRequest) -> Backend:
        return StrictBackend(wanted.dtype)

    def sees_none(wanted: xpmlp.DeviceRequest) -> Backend:
        raise DeviceError(f"no {wanted.device}")

    monkeypatch.setitem(sys.modules, "cupy", None)
    for rows, message in (
        ({"torch": sees_none, "jax": sees_one}, "not installed: .*; jax sees a GPU here: give jax"),
        ({"torch": sees_none, "jax": sees_none}, "not installed: pip install [^;]*$"),
    ):
        for name, row in rows.items():
            monkeypatch.setitem(xpmlp.BACKENDS, name, row)
        with pytest.raises(DeviceError, match=message):
            select_backend("gpu")


@pytest.mark.jax
def test_a_run_goes_on_with_another_library_and_says_so(tmp_path: Path) -> None:
    flags = ("--data", "digits", "--hidden", "20", "--out", "run", "--steps")
    whole = run_script("train.py", *flags, "120", "--json", cwd=tmp_path)
    expected = json.loads(whole.stdout)
    begun = run_script("train.py", *flags, "60", "--overwrite", cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    again = ("--resume", "run", "--steps", "120")
    resumed = run_script("train.py", *again, "--backend", "jax", "--json", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "step 60 of 120, with jax what numpy has begun: the same to rounding" in resumed.stderr
    found = json.loads(resumed.stdout)
    assert (found["backend"], expected["backend"]) == ("jax", "numpy")
    assert found["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-4)
    longer = ("--resume", "run", "--steps", "130", "--backend", "numpy")
    back = run_script("train.py", *longer, cwd=tmp_path)
    assert "step 120 of 130, with numpy what jax has begun" in back.stderr


class Lean:
    """A namespace without uint32 and float64, whose arrays lie on a device of its own."""

    def __init__(self) -> None:
        self.__name__ = "lean"

    def __getattr__(self, name: str) -> Any:
        if name in ("uint32", "float64"):
            raise AttributeError(name)
        return getattr(StrictBackend.xp, name)


def test_a_library_may_lack_types_and_have_a_device_of_its_own() -> None:
    with strict_rules():
        device, to_host = StrictBackend.device, StrictBackend("float32").to_host
        lean = xpmlp.StandardBackend(Lean(), device, to_host=to_host)
        with pytest.raises(UsageError, match="lean has no float64: choose the other of float32"):
            xpmlp.StandardBackend(Lean(), device, "float64")
        found = trained(lean, regularization=ALL_REGULARIZATION)
    expected = trained(select_backend("cpu"), regularization=ALL_REGULARIZATION)
    for name, array in found[1].items():
        np.testing.assert_allclose(array, expected[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.torch
def test_apples_gpus_have_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    apple = torch.device("mps")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: apple)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    for name in ("gpu", "mps"):
        with pytest.raises(DeviceError, match="Apple's GPUs have no float64: choose float32"):
            select_backend(name, "float64", backend="torch")
    with pytest.raises(DeviceError, match="sees mps and no cuda here"):
        select_backend("cuda", backend="torch")


@pytest.mark.torch
def test_tensors_are_trained_on_where_they_lie() -> None:
    """And come back as such; the user's own graph is left alone."""
    import torch

    data = xpmlp.load_data("digits").train
    x, y = torch.tensor(data.x, dtype=torch.float32) / 16, torch.tensor(data.y)
    settings: dict[str, Any] = {"max_iter": 15, "random_state": 0, "hidden_layer_sizes": (20,)}
    expected = xpmlp.MLPClassifier(**settings, backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = xpmlp.MLPClassifier(**settings, backend="torch").fit(x.requires_grad_(), y)
        expected.fit(x.detach().numpy(), y.numpy())
    found = model.predict_proba(x)
    assert isinstance(found, torch.Tensor)
    assert isinstance(model.coefs_[0], torch.Tensor)
    wanted = expected.predict_proba(x.detach().numpy())
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-4)


@pytest.mark.jax
def test_jax_arrays_are_trained_on_where_they_lie() -> None:
    import jax

    data = xpmlp.load_data("digits").train
    x, y = jax.numpy.asarray(data.x, dtype="float32") / 16, jax.numpy.asarray(data.y)
    settings: dict[str, Any] = {"max_iter": 15, "random_state": 0, "hidden_layer_sizes": (20,)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [
            xpmlp.MLPClassifier(**settings, backend=name).fit(x, y) for name in ("jax", "numpy")
        ]
    found, wanted = (model.predict_proba(x) for model in models)
    assert isinstance(found, jax.Array)
    assert isinstance(models[0].coefs_[0], jax.Array)
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), atol=1e-4)

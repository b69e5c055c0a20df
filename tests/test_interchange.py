"""Networks in the files of other libraries, run there, and those of other libraries here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import safetensors.numpy
from scripts_at_work import run_script
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning

from xpmlp import MLP, MLPClassifier, MLPRegressor, TabularRegressor, select_backend
from xpmlp.data.examples import Examples
from xpmlp.data.normalization import Normalization
from xpmlp.data.preparation import Preparation
from xpmlp.errors import CheckpointError, OutputError, UsageError
from xpmlp.interchange import load_safetensors, save_onnx, save_safetensors
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.losses import LOSSES
from xpmlp.runs.checkpoint import load_checkpoint

RNG = np.random.default_rng(0)
PLAIN = Normalization()
SCALINGS = {
    "none": PLAIN,
    "scalars": Normalization(33.3, 78.6),
    "each feature": Normalization(RNG.normal(size=8), RNG.uniform(0.5, 2, size=8)),
    "bias column": Normalization(0.0, 255.0, bias_column=True),
}


def network(
    activation: Any = "sigmoid", loss: str = "cross_entropy", dtype: str = "float32", width: int = 8
) -> tuple[MLP, dict[str, np.ndarray]]:
    mlp = MLP((width, 7, 6, 5), activation, loss)
    params = {n: RNG.normal(size=w.shape).astype(dtype) for n, w in mlp.init(RNG, "he").items()}
    return mlp, params


def said(mlp: MLP, params: dict[str, np.ndarray], x: np.ndarray, scaling: Normalization) -> Any:
    backend = select_backend("cpu", str(x.dtype))
    few = Examples(x, np.zeros(len(x), int), scaling).to_device(backend)
    given = few.batch(xp=backend.xp).read(slice(0, len(x))).x
    logits, _ = mlp.forward(params, given, xp=backend.xp)
    return mlp.predict(params, given, xp=backend.xp), logits


def run_onnx(path: Path, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [np.asarray(found) for found in session.run(None, {"features": x})]


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("activation", [*ACTIVATIONS, ("tanh", "relu")], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx_runs_the_same_network(
    tmp_path: Path, activation: Any, scaling: Normalization, dtype: str
) -> None:
    mlp, params = network(activation, dtype=dtype, width=scaling.width(8))
    x = (RNG.normal(size=(20, 8)) * scaling.scale + scaling.shift).astype(dtype)
    save_onnx(tmp_path / "model.onnx", mlp, params, Preparation(scaling))
    probabilities, logits = run_onnx(tmp_path / "model.onnx", x)
    expected, expected_logits = said(mlp, params, x, scaling)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx_says_what_the_loss_means(tmp_path: Path, loss: str, dtype: str) -> None:
    mlp, params = network("tanh", loss, dtype)
    x = RNG.normal(size=(20, 8)).astype(dtype)
    save_onnx(tmp_path / "model.onnx", mlp, params)
    expected = said(mlp, params, x, PLAIN)[0]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    found = run_onnx(tmp_path / "model.onnx", x)[0]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_safetensors_come_back(tmp_path: Path, scaling: Normalization) -> None:
    path, (mlp, params) = (
        tmp_path / "w.safetensors",
        network(("tanh", "relu"), width=scaling.width(8)),
    )
    save_safetensors(path, mlp, params, Preparation(scaling))
    again, weights, prepared = load_safetensors(str(path))
    assert (again.activation, again.loss) == (mlp.activation, mlp.loss)
    x = RNG.normal(size=(20, 8)).astype("float32")
    expected = said(mlp, params, x, scaling)[1]
    np.testing.assert_allclose(
        said(again, weights, x, prepared.normalization)[1], expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_torch_loads_the_weights_and_says_the_same(tmp_path: Path, loss: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file
    from torch import nn

    mlp, params = network("tanh", loss)
    save_safetensors(tmp_path / "w.safetensors", mlp, params)
    theirs = nn.Sequential(nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5))
    theirs.load_state_dict(load_file(tmp_path / "w.safetensors"))
    x = RNG.normal(size=(20, 8)).astype("float32")
    with torch.no_grad():
        found = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, said(mlp, params, x, PLAIN)[1], rtol=1e-5, atol=1e-5)
    # And what torch has saved is read here; its layers may be a part of a larger module.
    save_file({f"net.{k}": v for k, v in theirs.state_dict().items()}, tmp_path / "t.safetensors")
    again, weights, _ = load_safetensors(tmp_path / "t.safetensors", activation="tanh", loss=loss)
    assert again == mlp
    for name, array in weights.items():
        np.testing.assert_array_equal(array, params[name])
    with pytest.raises(UsageError, match="does not say its hidden layers' activation"):
        load_safetensors(tmp_path / "t.safetensors")


def test_linear_layers_without_bias_have_zeros(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"0.weight": np.ones((2, 3))}, tmp_path / "w.safetensors")
    mlp, params, prepared = load_safetensors(tmp_path / "w.safetensors")
    assert mlp.sizes == (3, 2)
    assert prepared == Preparation()
    np.testing.assert_array_equal(params["layer1.bias"], [0, 0])


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    half = {"0.weight": np.ones((2, 3), "float16")}
    safetensors.numpy.save_file(half, tmp_path / "w.safetensors")
    assert load_safetensors(tmp_path / "w.safetensors").params["layer1.weight"].dtype == np.float32


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"running_mean": np.ones(3)}, "running_mean is no weight or bias"),
        ({"0.weight": np.ones(3)}, "layer 0 is not linear"),
        ({"0.bias": np.ones(3)}, "layer 0 is not linear"),
        ({"0.weight": np.ones((2, 3)), "0.bias": np.ones(3)}, "do not fit"),
        ({"0.weight": np.ones((2, 3)), "2.weight": np.ones((2, 3))}, "no chain"),
        ({"0.weight": np.ones((2, 3)), "1.weight": np.ones((3, 2))}, "without an activation"),
        ({"a.0.weight": np.ones((2, 3)), "b.0.weight": np.ones((3, 2))}, "several modules"),
        ({"0.weight": np.ones((2, 3), int)}, "int64, and weights are real"),
        ({}, "no weights"),
    ],
)
def test_other_networks_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], match: str
) -> None:
    safetensors.numpy.save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=match):
        load_safetensors(tmp_path / "w.safetensors", activation="relu")


def test_damaged_file_is_refused_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_safetensors(path, *network())
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            load_safetensors(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_safetensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("metadata", ["[]", "null", '{"activation": 3}', "{"])
def test_metadata_of_another_kind_are_refused(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"0.weight": np.ones((2, 3))}, path, {"xpmlp": metadata})
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_safetensors(path)


def test_files_alone_are_replaced(tmp_path: Path) -> None:
    mlp, params = network()
    (tmp_path / "real.onnx").write_bytes(b"before")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    save_onnx(str(tmp_path / "link.onnx"), mlp, params)
    assert (tmp_path / "link.onnx").is_symlink()
    assert (tmp_path / "real.onnx").stat().st_size > 100
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(OutputError, match="no regular file"):
        save_onnx(tmp_path / "pipe.onnx", mlp, params)
    assert (tmp_path / "pipe.onnx").is_fifo()


def test_seconds_since_1970_keep_their_digits_in_onnx(tmp_path: Path) -> None:
    mlp, params = network("tanh")
    scaling = Normalization(np.full(8, 1.7e9), np.full(8, 1000.0))
    x = RNG.normal(size=(20, 8)) * 1000 + 1.7e9
    save_onnx(tmp_path / "m.onnx", mlp, params, Preparation(scaling))
    expected = said(mlp, params, ((x - 1.7e9) / 1000).astype("f"), PLAIN)[0]
    np.testing.assert_allclose(run_onnx(tmp_path / "m.onnx", x)[0], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stack_is_the_mean_of_its_members(tmp_path: Path, dtype: str) -> None:
    mlp, params = network(dtype=dtype)
    other = {name: w[::-1].copy() for name, w in params.items()}
    stack = {name: np.stack([w, other[name]]) for name, w in params.items()}
    x = RNG.normal(size=(20, 8)).astype(dtype)
    expected = (said(mlp, params, x, PLAIN)[0] + said(mlp, other, x, PLAIN)[0]) / 2
    save_onnx(tmp_path / "m.onnx", mlp, stack)
    np.testing.assert_allclose(run_onnx(tmp_path / "m.onnx", x)[0], expected, atol=1e-6)
    save_safetensors(tmp_path / "m.safetensors", mlp, stack)
    again = load_safetensors(tmp_path / "m.safetensors")
    for name, array in stack.items():
        np.testing.assert_array_equal(again.params[name], array)


SETTINGS = {"hidden_layer_sizes": (12, 9), "max_iter": 20, "random_state": 0}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_scikit_learns_mlp_predicts_the_same_here(activation: str, solver: str) -> None:
    x, y = load_digits(return_X_y=True)
    x, y = x[:300] / 16, y[:300]
    settings: dict[str, Any] = SETTINGS | {"activation": activation, "solver": solver}
    targets = (y, np.array(["even", "odd"])[y % 2], np.stack([y > 4, y < 2], axis=1).astype(int))
    for labels in targets:
        theirs = neural_network.MLPClassifier(**settings).fit(x, labels)
        ours = MLPClassifier.from_scikit_learn(theirs)
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-12)
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        if solver != "lbfgs":  # what the optimiser remembers comes along
            theirs_next, ours_next = (model.partial_fit(x, labels) for model in (theirs, ours))
            assert ours_next.loss_ == pytest.approx(theirs_next.loss_, rel=1e-9)
    for values in (y / 3.0, np.stack([y, y**2], axis=1) / 50.0):
        theirs = neural_network.MLPRegressor(**settings).fit(x, values)
        ours = MLPRegressor.from_scikit_learn(theirs)
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_imported_training_goes_on_at_its_lowered_rate() -> None:
    x, y = load_digits(return_X_y=True)
    settings: dict[str, Any] = SETTINGS | {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.5,
        "tol": 0.1,
        "n_iter_no_change": 1,
        "max_iter": 40,
    }
    theirs = neural_network.MLPClassifier(**settings).fit(x / 16, y)
    ours = MLPClassifier.from_scikit_learn(theirs)
    for _ in range(5):
        theirs.partial_fit(x / 16, y)
        ours.partial_fit(x / 16, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)


def test_estimators_of_another_kind_are_not_imported() -> None:
    x, y = load_digits(return_X_y=True)
    regressor = neural_network.MLPRegressor(max_iter=1, solver="sgd")
    with pytest.warns(ConvergenceWarning):
        regressor.fit(x / 16, y)
    with pytest.raises(TypeError, match="not a MLPRegressor"):
        MLPClassifier.from_scikit_learn(regressor)
    with pytest.raises(TypeError, match="not a Dummy"):
        MLPClassifier.from_scikit_learn(DummyClassifier().fit(x, y))


def test_estimator_goes_out_as_onnx(tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    model = MLPClassifier(**SETTINGS, tol=0.5, n_iter_no_change=1).fit(x.astype("float32"), y)  # type: ignore[arg-type]
    save_onnx(tmp_path / "m.onnx", model.mlp_, model.params_)
    found = run_onnx(tmp_path / "m.onnx", x.astype("float32"))[0]
    np.testing.assert_allclose(found, model.predict_proba(x), atol=1e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    flags = ("--epochs", "2", "--hidden", "20", "--out", "run", "--quiet")
    assert run_script("train.py", *flags, cwd=folder).returncode == 0
    return folder


def test_script_exports_what_evaluates_the_same(run: Path) -> None:
    for name in ("model.onnx", "model.safetensors"):
        flags = ("--run", "run", "--out", name, "--json")
        done = run_script("export.py", *flags, cwd=run)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["difference"] <= 1e-6
    checkpoint = load_checkpoint(run / "run" / "best.h5")
    scaling = Normalization.from_record(checkpoint.record["settings"]["normalization"], 64)
    x = load_digits().data[:50].astype("float32")
    expected = said(checkpoint.mlp, checkpoint.result, x, scaling)[0]
    np.testing.assert_allclose(run_onnx(run / "model.onnx", x)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "code", "match"),
    [
        (("--run", "none"), 6, "there is no checkpoint"),
        (("--run", "run", "--out", "m.bin"), 2, "give --format"),
        (("--run", "run", "--out", "no/m.onnx"), 6, "choose another place"),
    ],
)
def test_script_says_what_is_wrong(
    run: Path, flags: tuple[str, ...], code: int, match: str
) -> None:
    done = run_script("export.py", *flags, cwd=run)
    assert (done.returncode, match in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_script_does_not_replace_a_file_unasked(run: Path) -> None:
    (run / "there.onnx").write_bytes(b"mine")
    done = run_script("export.py", "--run", "run", "--out", "there.onnx", cwd=run)
    assert done.returncode == 2
    assert (run / "there.onnx").read_bytes() == b"mine"
    assert (
        run_script(
            "export.py", "--run", "run", "--out", "there.onnx", "--overwrite", cwd=run
        ).returncode
        == 0
    )


def test_columns_with_names_of_the_graph(tmp_path: Path) -> None:
    """What is inside has names of its own; what is told keeps its name."""
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(size=60) for name in ("mean", "unit", "encoded", "logits")}
    frame = pd.DataFrame(rows | {"y": rng.normal(size=60)})
    network: dict[str, Any] = {"members": 1, "max_iter": 1, "hidden_layer_sizes": (5,)}
    model = TabularRegressor(**network).fit(frame.drop(columns="y"), frame["y"])
    with pytest.raises(UsageError, match="a column is called 'logits'"):
        model.trained_.save(tmp_path / "model.onnx")
    frame = frame.drop(columns="logits")
    model = TabularRegressor(**network).fit(frame.drop(columns="y"), frame["y"])
    model.trained_.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    feed = {name: frame[[name]].to_numpy() for name in ("mean", "unit", "encoded")}
    np.testing.assert_allclose(
        session.run(["values"], feed)[0].ravel(), model.predict(frame.drop(columns="y")), rtol=1e-4
    )


def test_a_tiny_scale_in_onnx(tmp_path: Path) -> None:
    mlp = MLP((2, 3))
    params = {k: w.astype("f") for k, w in mlp.init(np.random.default_rng(0)).items()}
    scaling = Normalization(np.float64(0), np.float64(1e-40))
    save_onnx(tmp_path / "m.onnx", mlp, params, Preparation(scaling))
    found = run_onnx(tmp_path / "m.onnx", np.array([[1e-40, 2e-40]], dtype="f"))[0]
    z = np.array([1.0, 2.0]) @ params["layer1.weight"] + params["layer1.bias"]
    np.testing.assert_allclose(found[0], np.exp(z) / np.exp(z).sum(), rtol=1e-4)

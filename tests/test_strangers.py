"""Files of strangers: whatever is in them ends in one sentence, and nothing foreign is followed."""

from __future__ import annotations

import bz2
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load as load_tensors, save as save_tensors
from scripts_at_work import environment, run_script, said_by

import xpmlp
from xpmlp import MLP, Adam, CheckpointError, DataError, Model, Plan, Training
from xpmlp.data.formats.features import read_features
from xpmlp.data.formats.npy import read_npy
from xpmlp.interchange import load_safetensors
from xpmlp.runs.checkpoint import load_checkpoint, load_stack, save_checkpoint, save_stack
from xpmlp.runs.containers import _header
from xpmlp.runs.folder import read_metrics
from xpmlp.runs.sweep import read_outcomes

MODEL = Model(MLP((64, 6, 10), "tanh"), Adam())
RECORD = {"settings": {"data": "digits", "normalization": None}}


@pytest.fixture(scope="module")
def state() -> xpmlp.TrainingState:
    data = xpmlp.load_data("digits", val_size=100)
    return Training(MODEL, data, Plan(steps=25, log_every=10)).run()


@pytest.fixture
def saved(state: xpmlp.TrainingState, tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.h5"
    save_checkpoint(path, state, RECORD, backend=xpmlp.select_backend())
    return path


def reseal(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Change what is in a checkpoint, and give it the checksum of a good one."""
    buffer = io.BytesIO(path.read_bytes()[512:])
    with h5py.File(buffer, "r+") as file:
        change(file)
    content = buffer.getvalue()
    path.write_bytes(_header(1, content) + content)


def put(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def without(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def in_json(record: str, name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        found = json.loads(file[record][()].tobytes())
        *path, last = name.split(".")
        place = found
        for key in path:
            place = place[key]
        place[last] = value
        put(record, np.frombuffer(json.dumps(found).encode(), "u1"))(file)

    return change


def elsewhere(file: h5py.File) -> None:
    del file["best/layer1.weight"]
    file["best"].create_dataset(
        "layer1.weight", (64, 6), "f4", external=[("/etc/passwd", 0, 64 * 6 * 4)]
    )


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((64, 6), "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", (64, 6))
    del file["params/layer1.weight"]
    file["params"].create_virtual_dataset("layer1.weight", layout)


def unallocated(file: h5py.File) -> None:
    del file["params/layer1.weight"]
    file["params"].create_dataset("layer1.weight", (10**6, 1500), "f4")


def linked(link: Any) -> Callable[[h5py.File], None]:
    return put("history/step", link)


def with_average(steps: float | None) -> Callable[[h5py.File], None]:
    """Add an average of the weights, of so many steps."""

    def change(file: h5py.File) -> None:
        for name, array in file["params"].items():
            put(f"optimizer/average/{name}", array[()])(file)
        if steps is not None:
            put("optimizer/averaged/steps", np.array(steps, "f4"))(file)

    return change


WRONG_CHECKPOINTS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "external": (elsewhere, "best/layer1.weight has its values elsewhere"),
    "virtual": (virtual, "params/layer1.weight has its values elsewhere"),
    "unallocated": (unallocated, "larger than what the file holds of it"),
    "soft link": (linked(h5py.SoftLink("/params")), "history/step leads elsewhere"),
    "external link": (linked(h5py.ExternalLink("o.h5", "/x")), "history/step leads elsewhere"),
    "circle": (lambda file: put("best", file["/"])(file), "leads elsewhere"),
    "no bias": (without("params/layer2.bias"), "there is no params/layer2.bias"),
    "no history": (without("history/epoch"), "there is no history/epoch"),
    "no numbers": (without("numbers"), "there is no numbers"),
    "shape": (put("params/layer1.weight", np.zeros((6, 64), "f4")), "and not real numbers"),
    "type": (put("params/layer1.weight", np.zeros((64, 6), "i4")), "is int32"),
    "nan": (put("best/layer1.bias", np.full(6, np.nan, "f4")), "best/layer1.bias holds NaN"),
    "types": (put("params/layer1.bias", np.zeros(6, "f8")), "of several types"),
    "moments": (put("optimizer/gradient_sum/layer1.bias", np.zeros(5, "f4")), "gradient_sum/layer"),
    "moment": (without("optimizer/square_sum/layer1.bias"), "not that of all parameters"),
    "average of one": (
        put("optimizer/average/layer1.bias", np.zeros(6, "f4")),
        "the average is not that of all parameters",
    ),
    "average of nothing": (with_average(None), "does not say of how many steps it is"),
    "average of less": (with_average(-1.0), "does not say of how many steps it is"),
    "average of a half": (with_average(0.5), "does not say of how many steps it is"),
    "rows": (put("history/step", np.arange(9)), "not as long as each other"),
    "steps": (put("history/step", np.array([20, 10, 25])), "do not rise"),
    "accuracy": (put("history/val_accuracy", np.full(3, 2.0)), "val_accuracy is 2.0, and not"),
    "losses": (put("interval/losses", np.full(3, np.nan)), "no finite numbers"),
    "examples": (put("interval/losses", np.ones(3)), "3 losses of 0 examples"),
    "text": (put("numbers", np.arange(5.0)), "numbers is no text"),
    "no json": (put("numbers", np.frombuffer(b"[" * 100_000, "u1")), "numbers: lists in lists"),
    "step": (in_json("numbers", "step", float("nan")), "NaN is no number of JSON"),
    "negative step": (in_json("numbers", "step", -1), "step is -1, and not 0 or more"),
    "status": (in_json("numbers", "status", "fine"), "status is 'fine', and not started"),
    "seconds": (in_json("numbers", "seconds", "a"), "seconds is 'a'"),
    "cause": (in_json("numbers", "cause", [1]), "cause is"),
    "correct": (in_json("numbers", "correct", "a"), "correct is 'a'"),
    "sizes": (in_json("network", "sizes", [64, 10**12, 10]), "layer sizes"),
    "other sizes": (in_json("network", "sizes", [64, 9, 10]), "and not real numbers"),
    "no sizes": (in_json("network", "sizes", "64"), "sizes is '64'"),
    "activation": (in_json("network", "activation", "x"), "activation is 'x'"),
    "activations": (in_json("network", "activation", ["relu"] * 4), "4 activations for 1 hidden"),
    "loss": (in_json("network", "loss", 1), "loss is 1"),
    "settings": (in_json("record", "settings", [1]), "settings is"),
    "scaling": (in_json("record", "settings.normalization", "x"), "normalization: 'x' where val"),
    "scale of 0": (
        in_json("record", "settings.normalization", {"shift": 0, "scale": 0, "bias_column": False}),
        "scale is 0, and not a number above 0",
    ),
    "scales": (
        in_json(
            "record", "settings.normalization", {"shift": 0, "scale": [1, 2], "bias_column": False}
        ),
        "2 numbers of scale for 64 features",
    ),
}


@pytest.mark.parametrize(("change", "said"), WRONG_CHECKPOINTS.values(), ids=WRONG_CHECKPOINTS)
def test_a_checkpoint_with_a_right_checksum_and_wrong_content(
    saved: Path, change: Callable[[h5py.File], None], said: str
) -> None:
    reseal(saved, change)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved)
    assert said in str(caught.value)
    assert str(saved) in str(caught.value)


def test_a_number_that_may_be_none_may_be_absent(saved: Path) -> None:
    def forget(file: h5py.File) -> None:
        numbers = json.loads(file["numbers"][()].tobytes())
        del numbers["correct"], numbers["cause"]
        put("numbers", np.frombuffer(json.dumps(numbers).encode(), "u1"))(file)

    reseal(saved, forget)
    state = load_checkpoint(saved).restore(MODEL, xpmlp.select_backend())
    assert (state.only.interval.correct, state.only.cause) == (None, "")


def test_a_table_without_rows_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n")
    with pytest.raises(DataError, match="no rows in it"):
        read_features(tmp_path / "a.csv", "xdata")


def test_what_was_not_changed_is_read(saved: Path) -> None:
    reseal(saved, lambda file: file.flush())
    assert load_checkpoint(saved).numbers["step"] == 25


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True))
    return bool(one == other)


def test_the_form_without_hdf5_holds_the_same(
    state: xpmlp.TrainingState, saved: Path, tmp_path: Path
) -> None:
    backend, path = xpmlp.select_backend(), tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state, RECORD, backend=backend)
    one, other = load_checkpoint(saved), load_checkpoint(path)
    assert all(same(vars(one)[name], vars(other)[name]) for name in vars(one))
    raw = path.read_bytes()
    for place in range(len(raw) - 200, len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    path.write_bytes(raw)
    save_stack(path, [state, state], RECORD, backend=backend)
    assert [c.numbers["step"] for c in load_stack(path)] == [25, 25]


def test_a_run_is_handed_on_without_hdf5(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run / "given.safetensors"
    flags = ["--run", str(run), "--format", "checkpoint", "--out", str(out)]
    said_by("export", flags, 0, capsys)
    assert (run / "best.h5").exists()  # and yet what is handed on can go on
    assert same(vars(load_checkpoint(out)), vars(load_checkpoint(run / "checkpoint.h5")))
    one, other = xpmlp.load(run), xpmlp.load(out)
    x = xpmlp.read_data("digits").test.x
    np.testing.assert_array_equal(one.predict_proba(x), other.predict_proba(x))
    said_by("evaluate", ["--checkpoint", str(out), "--out", str(run / "seen")], 0, capsys)


def test_no_file_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint.h5")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "config.json").symlink_to("/dev/zero")
    for name in ("checkpoint.h5", "zero"):
        with pytest.raises(CheckpointError, match="no regular file"):
            load_checkpoint(tmp_path / name)
        with pytest.raises(CheckpointError, match="no regular file"):
            load_safetensors(tmp_path / name)
    ended = run_script("train.py", "--resume", "--out", ".", cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (6, 1)
    with pytest.raises(DataError, match="no regular file"):
        read_npy(tmp_path / "zero")


def test_a_link_that_is_planted_is_not_written_through(
    saved: Path, state: xpmlp.TrainingState, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "checkpoint.h5.part").symlink_to(victim)
    save_checkpoint(saved, state, RECORD, backend=xpmlp.select_backend())
    assert victim.read_text() == "mine"
    assert not saved.is_symlink()


METADATA = {
    "scaling": {"normalization": "x"},
    "list": {"normalization": [1]},
    "no scale": {"normalization": {"shift": 1}},
    "text": {"normalization": {"shift": "a", "scale": 1}},
    "beyond any float": {"normalization": {"shift": 10**400, "scale": 1}},
    "nested": {"normalization": {"shift": [[1]], "scale": 1}},
    "scale of 0": {"normalization": {"shift": 0, "scale": 0}},
    "too many": {"normalization": {"shift": 0, "scale": [1.0] * 5}},
    "loss": {"loss": [1]},
    "unknown loss": {"loss": "hinge"},
    "activation": {"activation": 5},
    "activations": {"activation": ["relu", "relu"]},
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_safetensors_with_wrong_metadata(tmp_path: Path, metadata: dict[str, Any]) -> None:
    path, rng = tmp_path / "model.safetensors", np.random.default_rng(0)
    tensors = {
        "0.weight": rng.normal(size=(4, 3)),
        "0.bias": np.zeros(4),
        "2.weight": rng.normal(size=(2, 4)),
        "2.bias": np.zeros(2),
    }
    good = {"activation": "relu", "loss": "cross_entropy"}
    path.write_bytes(save_tensors(tensors, {"xpmlp": json.dumps(good)}))
    assert load_safetensors(path).mlp == MLP((3, 4, 2), "relu")
    path.write_bytes(save_tensors(tensors, {"xpmlp": json.dumps(good | metadata)}))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_safetensors(path)


def test_safetensors_with_wrong_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    good = {"0.weight": np.ones((2, 3), "f4"), "0.bias": np.ones(2, "f4")}
    wrong = [
        ({"0.bias": np.array([1, np.nan], "f4")}, "holds NaN or infinity"),
        ({"0.bias": np.ones(2)}, "of several types"),
        ({"0.bias": np.ones(2, "i4")}, "is int32"),
    ]
    for change, said in wrong:
        path.write_bytes(save_tensors(good | change))
        with pytest.raises(CheckpointError, match=said):
            load_safetensors(path)
    path.write_bytes(save_tensors(good))
    assert len(load_tensors(path.read_bytes())) == 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    flags = ("--steps", "40", "--log-every", "10", "--diagnostics", "--quiet", "--out", "run")
    assert run_script("train.py", *flags, "--dropout", "0.1", cwd=folder).returncode == 0
    return folder / "run"


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    **{
        f"{name} {value!r:.20}": (
            lambda config, name=name, value=value: config.update({name: value}),  # type: ignore[misc]
            f"the setting {name} cannot be",
        )
        for name, value in [
            ("hidden", "abc"),
            ("hidden", [8.5]),
            ("hidden", [[8]]),
            ("lr", "a"),
            ("lr", -1),
            ("lr", 0),
            ("lr", True),
            ("l2", -1),
            ("batch_size", 0),
            ("batch_size", None),
            ("seed", "a"),
            ("seed", 10**5000 if sys.version_info < (3, 11) else 1.5),
            ("optimizer", "x"),
            ("stream", "maybe"),
            ("device", None),
            ("train_size", -1),
            ("warmup_steps", 0),
            ("diagnostics", "yes"),
            ("activation", ["relu", 5]),
        ]
    },
    "missing dropout": (lambda config: config.pop("dropout"), "the setting dropout is not there"),
    "missing lr": (lambda config: config.pop("lr"), "the setting lr is not there"),
    "another lr": (lambda config: config.update(lr=0.25), "says lr 0.25 and checkpoint.h5 was wr"),
    "another seed": (lambda config: config.update(seed=7), "says seed 7 and checkpoint.h5 was"),
}


@pytest.mark.parametrize(("change", "said"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_no_flags_give(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], Any],
    said: str,
) -> None:
    path = run / "config.json"
    before = path.read_bytes()
    config = json.loads(before)
    change(config)
    path.write_text(json.dumps(config))
    try:
        assert said in said_by("train", ["--resume", "--out", str(run), "--steps", "50"], 6, capsys)
    finally:
        path.write_bytes(before)


def test_keys_that_are_no_settings_are_left_alone(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"__class__": "x", "__dict__": {}}))
    said_by("train", ["--resume", "--out", str(run), "--steps", "40", "--quiet"], 0, capsys)
    path.write_text("[" * 100_000)
    assert "not the settings of a run (lists in lists" in said_by(
        "train", ["--resume", "--out", str(run)], 6, capsys
    )
    path.write_text(json.dumps(config))


def test_tables_of_a_run_are_checked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, diagnostics = run / "metrics.csv", run / "diagnostics.csv"
    before = path.read_text().splitlines()
    wrong = {
        "val_accuracy is 2.0": before[1].replace(before[1].split(",")[6], "2.0"),
        "train_loss is inf": before[1].replace(before[1].split(",")[3], "inf"),
        "more values than columns": before[1] + ",5",
        "step is -10": "-" + before[1],
    }
    for said, line in wrong.items():
        path.write_text("\n".join([before[0], line]))
        with pytest.raises(DataError) as caught:
            read_metrics(run)
        assert said in str(caught.value)
    path.write_text(
        "\n".join([before[0], *(f"{k},1,1,{v}e308,,,,1" for k, v in ((1, -1), (2, 1)))])
    )
    said_by("plot", [str(run)], 0, capsys)
    path.write_text("\n".join(before))
    kept = diagnostics.read_bytes()
    diagnostics.write_bytes(kept.replace(b"\n10,", b"\nx,"))
    assert "not the diagnostics of a run" in said_by(
        "train", ["--resume", "--out", str(run), "--steps", "50"], 3, capsys
    )
    diagnostics.write_bytes(kept)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[1]",
        '[{"number": 1}]',
        "[" * 99_999,
        '[{"number":0,"fold":0,"stack":0,"status":"x"}]',
    ],
)
def test_outcomes_of_a_sweep_are_checked(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stack-0.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match="not the outcome of a stack"):
        read_outcomes(path)


def test_zip_members_are_judged_before_they_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    array = io.BytesIO()
    np.save(array, np.zeros((50, 3)))
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name in ("xdata", "ydata"):
                archive.writestr(f"{name}.npy", array.getvalue())
        with pytest.raises(DataError, match="compressed in another way than numpy's"):
            xpmlp.read_data(path)
    assert bz2 is not None


def test_a_header_that_is_a_bomb_is_not_read(tmp_path: Path) -> None:
    header = b"\x93NUMPY\2\0" + (2**31).to_bytes(4, "little") + b" " * 2**24
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("xdata", "ydata"):
            archive.writestr(f"{name}.npy", header)
    with pytest.raises(DataError, match="npz"):
        xpmlp.read_data(tmp_path / "x.npz")


# In a process of its own with so much memory beyond what the interpreter takes.
LIMITED = """
import resource, sys, numpy, h5py, xpmlp, xpmlp.data.formats.hdf5, xpmlp.runs.checkpoint
from pathlib import Path
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + int(sys.argv[1]) * 2**20,) * 2)
"""


def limited(folder: Path, megabytes: int, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + program, str(megabytes)],
        env=environment() | {"OPENBLAS_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


linux = pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")


@linux
def test_a_header_is_looked_at_before_the_values(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    with path.open("wb") as file:
        file.write(b"\0\0\x08\3" + (5).to_bytes(4, "big") * 3)
        file.truncate(4 * 2**30)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    said = limited(
        tmp_path,
        200,
        "try: xpmlp.read_data('train-images-idx3-ubyte')\n"
        "except xpmlp.DataError as error: print(error)",
    )
    assert "the file holds more" in said


@linux
def test_wide_rows_are_streamed_in_bounded_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        x = file.create_dataset("xdata", (600, 400_000), "u1", chunks=(1, 400_000))
        for row in range(600):
            x[row] = row % 251
        file["ydata"] = np.arange(600) % 3
    said = limited(
        tmp_path,
        320,  # of which the test examples, a fifth, take 48
        "data = xpmlp.load_data('wide.h5', stream=True, val_size=20)\n"
        "model = xpmlp.Model(xpmlp.MLP((400_000, 3)), learning_rate=1e-7)\n"
        "for size in (8, None):\n"
        "    print(xpmlp.fit(model, data, xpmlp.Plan(steps=3, batch_size=size)).status)",
    )
    assert said == "completed\ncompleted\n"


@linux
@pytest.mark.parametrize("stream", [True, False])
def test_wide_labels_are_read_in_bounded_memory(tmp_path: Path, stream: bool) -> None:
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file["xdata"] = np.random.default_rng(0).normal(size=(1000, 4))
        y = file.create_dataset("ydata", (1000, 100_000), "u1", chunks=(1, 100_000))
        for row in range(1000):
            y[row] = np.arange(100_000) == row % 3
    said = limited(
        tmp_path, 130, f"print(xpmlp.read_data('wide.h5', stream={stream}, classes=3).classes)"
    )
    assert said == "3\n"


def test_a_file_of_python_2_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(6).reshape(3, 2))
    old = buffer.getvalue().replace(b"(3, 2), }  ", b"(3L, 2L), }")
    (tmp_path / "x.npy").write_bytes(old)
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), [[0, 1], [2, 3], [4, 5]])

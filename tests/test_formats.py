"""HDF5, npz and arrays in memory: what is read, and every refusal with its message."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import scripts_at_work
from data_files import in_memory, small_set, write_h5, write_idx_folder

from xpmlp.data import dataset_of_arrays, read_data
from xpmlp.data.formats.hdf5 import _check_storage
from xpmlp.errors import DataError, UsageError

X, Y = small_set()
X_TEST, Y_TEST = small_set(24, seed=1)

LAYOUTS: dict[str, tuple[Any, Any]] = {
    "bytes and ids": (X, Y),
    "flat rows": (X.reshape(60, 12), Y),
    "ids as a column": (X, Y[:, None].astype(np.int64)),
    "one-hot": (X, np.eye(3)[Y]),
    "one-hot bytes": (X, np.eye(3, dtype=np.uint8)[Y]),
    "floating": (X.astype(np.float64), Y.astype(np.float32)),
    "half precision": (X.astype(np.float16), Y.astype(np.int32)),
    "big-endian": (X.astype(">i4"), Y.astype(">u2")),
}


@pytest.mark.parametrize(("x", "y"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_means_the_same(tmp_path: Path, x: np.ndarray, y: np.ndarray) -> None:
    np.savez(tmp_path / "set.npz", xdata=x, ydata=y)
    np.savez_compressed(tmp_path / "packed.npz", xdata=x, ydata=y)
    sources = [
        read_data(write_h5(tmp_path / "set.h5", x, y, chunks=True, compression="gzip")),
        read_data(write_h5(tmp_path / "plain.hdf5", x, y)),
        read_data(tmp_path / "set.npz"),
        read_data(tmp_path / "packed.npz"),
        dataset_of_arrays(x, y),
    ]
    for dataset in sources:
        train = in_memory(dataset_of_arrays(X, Y, X_TEST, Y_TEST))[0]
        np.testing.assert_array_equal(dataset.train.x, train.x)
        np.testing.assert_array_equal(dataset.train.y, Y)
        assert (dataset.classes, dataset.features, dataset.test) == (3, 12, None)


def test_separate_test_files(tmp_path: Path) -> None:
    train, test = (
        write_h5(tmp_path / f"{name}.h5", x, y)
        for name, x, y in (("train", X, Y), ("test", X_TEST, Y_TEST))
    )
    for stream in (False, True):
        dataset = read_data(train, test_source=test, stream=stream)
        assert dataset.test is not None
        assert (len(dataset.train), len(dataset.test)) == (60, 24)
    np.savez(tmp_path / "train.npz", xdata=X, ydata=Y)
    np.savez(tmp_path / "test.npz", xdata=X_TEST, ydata=Y_TEST)
    dataset = read_data(tmp_path / "train.npz", test_source=tmp_path / "test.npz")
    np.testing.assert_array_equal(in_memory(dataset)[1].y, Y_TEST)


def test_npz_with_both_sets(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", x_train=X, y_train=Y, x_test=X_TEST, y_test=Y_TEST)
    train, test = in_memory(read_data(tmp_path / "mnist.npz"))
    np.testing.assert_array_equal(train.y, Y)
    np.testing.assert_array_equal(test.x, X_TEST.reshape(24, 12))


def test_fortran_order_and_other_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", a=np.asfortranarray(X), b=Y)
    dataset = read_data(tmp_path / "set.npz", x_key="a", y_key="b")
    np.testing.assert_array_equal(dataset.train.x, X.reshape(60, 12))
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["deep/er/x"], file["deep/y"] = X, Y
        file["alias"] = h5py.SoftLink("/deep/er")
    found = read_data(tmp_path / "set.h5", x_key="alias/x", y_key="/deep/y")
    np.testing.assert_array_equal(found.train.x, X.reshape(60, 12))


BAD: dict[str, tuple[Any, Any, str]] = {
    "counts": (X, Y[:-1], r"has 60 rows and .* has 59: they do not belong together"),
    "no rows": (X[:0], Y[:0], "no rows in it"),
    "no features": (X[:, :0], Y, r"shape \(60, 0, 4\): features are rows"),
    "one axis": (np.arange(60), Y, r"shape \(60\): features are rows"),
    "five axes": (X[..., None, None], Y, r"shape \(60, 3, 4, 1, 1\): features are rows"),
    "NaN": (np.where(np.arange(60) == 7, np.nan, 1.0)[:, None] * np.ones(3), Y, "row 7 holds NaN"),
    "infinity": (np.full((60, 2), np.inf), Y, "row 0 holds NaN or infinity"),
    "complex": (X.astype(complex), Y, "holds complex numbers, not integers"),
    "negative": (X, Y.astype(int) - 1, r"has the label -1: class ids are 0, 1, 2"),
    "label NaN": (X, np.where(Y == 2, np.nan, 0.0), "has the label nan"),
    "huge label": (X, np.where(np.arange(60) == 4, 1e300, Y), r"row 4 has the label 1e\+300"),
    "missing class": (X, Y.astype(int) * 2, "go up to 4 and none is 1: renumber"),
    "two ones": (X, np.eye(3)[Y] + np.eye(3)[(Y + 1) % 3], r"row 0 is not one-hot \(it sums to 2"),
    "all zeros": (X, np.zeros((60, 3)), r"row 0 is not one-hot \(it sums to 0\)"),
    "labels of three axes": (X, np.zeros((60, 3, 2)), r"labels are class ids \(N,\) or \(N, 1\)"),
    "one class": (X, Y * 0, "every label is 0, and there is nothing to tell apart"),
    "a single number": (np.float64(3), Y, r"shape \(\): features are rows"),
    "a single label": (X, np.float64(3), r"shape \(\): labels are class ids"),
    "text features": (np.array([["a"]] * 60, dtype="S1"), Y, "holds text, not integers"),
    "one name": (X, np.array(["a"] * 60, dtype="S1"), "every label is a, and there is nothing"),
    "a value NaN": (X, np.where(Y == 2, np.nan, 0.5), "row [0-9]+ holds NaN or infinity"),
}


@pytest.mark.parametrize(("x", "y", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_examples_is_refused(
    tmp_path: Path, x: np.ndarray, y: np.ndarray, message: str
) -> None:
    np.savez(tmp_path / "set.npz", xdata=x, ydata=y)
    write_h5(tmp_path / "set.h5", x, y)
    for path in (tmp_path / "set.npz", tmp_path / "set.h5"):
        with pytest.raises(DataError, match=message) as caught:
            read_data(path)
        assert str(path) in str(caught.value)
    with pytest.raises(DataError, match=message):
        read_data(tmp_path / "set.h5", stream=True)
    with pytest.raises(DataError, match=message):
        dataset_of_arrays(x, y)


def test_test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    train = write_h5(tmp_path / "train.h5", X, Y)
    test = write_h5(tmp_path / "test.h5", X_TEST, Y_TEST + (np.arange(24) == 5) * 7)
    for stream in (False, True):
        with pytest.raises(DataError, match=r"the training set has the classes 0 to 2"):
            read_data(train, test_source=test, stream=stream)
    narrow = write_h5(tmp_path / "narrow.h5", X_TEST[:, :2], Y_TEST)
    with pytest.raises(DataError, match=r"has 12 features and .* has 8"):
        read_data(train, test_source=narrow)


def test_missing_keys_list_those_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no 'images' in it, only xdata, ydata: .*x_key="):
        read_data(write_h5(tmp_path / "set.h5", X, Y), x_key="images")
    np.savez(tmp_path / "set.npz", a=X, b=Y)
    with pytest.raises(DataError, match=r"no xdata and no ydata in it, only a, b: .*x_key="):
        read_data(tmp_path / "set.npz")


def test_hdf5_that_reaches_out_of_the_file_is_refused(tmp_path: Path) -> None:
    write_h5(tmp_path / "other.h5", X, Y)
    path = tmp_path / "set.h5"
    layout = h5py.VirtualLayout((60, 3, 4), X.dtype)
    layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "xdata", (60, 3, 4))
    (tmp_path / "raw").write_bytes(X.tobytes())
    with h5py.File(path, "w") as file:
        file["external link"] = h5py.ExternalLink("other.h5", "xdata")
        file["other file"] = h5py.ExternalLink("other.h5", "/")
        file["soft"] = h5py.SoftLink("/other file/xdata")
        file["circle"] = h5py.SoftLink("/circle")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file.create_group("group")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", X.shape, X.dtype, external=[(tmp_path / "raw", 0, X.nbytes)])
        file["ydata"] = Y
    refusals = {
        "external link": "a link to another file",
        "other file/xdata": "a link to another file",
        "soft": "a link to another file",
        "circle": "links that lead in a circle",
        "dangling": "no 'dangling' in it, only",
        "group": "a group and not an array",
        "virtual": "its values lie in other files",
        "raw": "its values lie in other files",
    }
    for key, message in refusals.items():
        with pytest.raises(DataError, match=message):
            read_data(path, x_key=key)


def test_hdf5_of_strange_types_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file["objects"] = np.array(["a"] * 60, dtype=h5py.string_dtype())
        file["records"] = np.zeros(60, dtype=[("a", "i4"), ("b", "f8")])
        file["references"] = np.full(60, file.ref, dtype=h5py.ref_dtype)
        file["empty"] = h5py.Empty("f4")
        file["ydata"] = Y
    for key in ("objects", "records", "references", "empty"):
        with pytest.raises(DataError, match=r"set\.h5"):
            read_data(path, x_key=key)


def test_shape_that_the_file_does_not_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("xdata", (10**12, 784), "f4", chunks=(64, 784), compression="gzip")
        file.create_dataset("ydata", (10**12,), "u1", chunks=(64,))
    with pytest.raises(DataError, match=r"needs 3136000000000000 bytes and the file stores 0"):
        read_data(path)


def test_chunks_too_large_to_read_in_pieces_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        chunks = (2**19, 784)
        file.create_dataset("xdata", (60, 784), "u1", chunks=chunks, maxshape=(None, 784))
        file["xdata"].id.write_direct_chunk((0, 0), bytes(1))
        file["ydata"] = Y
    with pytest.raises(DataError):
        read_data(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", xdata=np.array([object()] * 60), ydata=Y)
    with pytest.raises(DataError, match="holds pickled objects, which are not read"):
        read_data(tmp_path / "set.npz")


@pytest.mark.parametrize("name", ["set.h5", "set.npz"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>moved</html>", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"]
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: not an intact"):
        read_data(tmp_path / name)


def test_combinations_without_meaning(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", xdata=X, ydata=Y)
    with pytest.raises(UsageError, match="only HDF5 files and tables can be streamed"):
        read_data(tmp_path / "set.npz", stream=True)
    with pytest.raises(UsageError, match="digits has a test set of its own"):
        read_data("digits", test_source=tmp_path / "set.npz")
    with pytest.raises(DataError, match="neither a file or folder here"):
        read_data(tmp_path / "set.npz", test_source=tmp_path / "absent.npz")


class Elsewhere:
    """An array that only comes to the host through `get`, as CuPy's do."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def get(self) -> np.ndarray:
        return self._array

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("implicit conversion to a host array is not allowed")


def test_arrays_of_other_libraries(tmp_path: Path) -> None:
    dataset = dataset_of_arrays(Elsewhere(X), Elsewhere(Y), Elsewhere(X_TEST), Elsewhere(Y_TEST))
    train, test = in_memory(dataset)
    np.testing.assert_array_equal(train.x, X.reshape(60, 12))
    np.testing.assert_array_equal(test.y, Y_TEST)
    assert not list(tmp_path.iterdir())


class Frame:
    """Converts as any library with `__array__`, and has a `get` of another meaning."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def get(self, key: str) -> np.ndarray:
        raise KeyError(key)

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        return self._array


def test_frames_are_arrays() -> None:
    np.testing.assert_array_equal(dataset_of_arrays(Frame(X), Frame(Y)).train.y, Y)
    with pytest.raises(DataError, match="x_test and y_test belong together"):
        dataset_of_arrays(X, Y, X_TEST)


REFUSED_CONVERSIONS = {
    "one key": (["--x-key", "a", "--y-key", "a"], 2, "must be two names"),
    "empty key": (["--x-key", ""], 2, "must be two names"),
    "key inside a key": (["--x-key", "a", "--y-key", "a/b"], 3, "cannot be written with the keys"),
    "no folder": (["--out", "/proc/x"], 2, "/proc/x is no folder to write to"),
    "classes of its own": (["--classes", "20"], 2, "digits has classes of its own"),
}


@pytest.mark.parametrize(
    ("flags", "code", "message"), REFUSED_CONVERSIONS.values(), ids=REFUSED_CONVERSIONS
)
def test_conversion_that_cannot_be_is_one_sentence(
    tmp_path: Path, flags: list[str], code: int, message: str
) -> None:
    result = scripts_at_work.run_script("convert.py", *flags, cwd=tmp_path)
    assert result.returncode == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def run_script(cwd: Path, name: str, *flags: str) -> dict[str, Any]:
    result = scripts_at_work.run_script(name, *flags, "--json", cwd=cwd)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def assert_formats_train_alike(folder: Path, data: str, *flags: str) -> None:
    """Convert a data set to every format; each must train to the same history, bit for bit."""
    convert = ("convert.py", "--data", data, "--name", "set")
    run_script(folder, *convert, "--out", "ids")
    run_script(folder, *convert, "--out", "rows", "--labels", "one-hot")
    run_script(folder, *convert, "--out", "floats", "--store", "float64")
    arrays = {}
    for part in ("train", "test"):
        with h5py.File(folder / "ids" / f"set_{part}data.hdf5") as file:
            arrays[f"x_{part}"], arrays[f"y_{part}"] = file["xdata"][()], file["ydata"][()]
    np.savez(folder / "set.npz", **arrays)
    sources = [["--data", data], ["--data", "set.npz"]]
    for name in ("ids", "rows", "floats"):
        files = (f"{name}/set_{part}data.hdf5" for part in ("train", "test"))
        sources.append(["--data", next(files), "--test-data", next(files)])
    histories = []
    for number, source in enumerate(sources):
        out = f"run{number}"
        run_script(folder, "train.py", *source, "--out", out, "--quiet", *flags)
        histories.append(scripts_at_work.rows_without_seconds(folder / out))
        assert len(histories[-1]) > 2
    assert all(history == histories[0] for history in histories)


def test_every_format_trains_alike(tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "set")
    assert_formats_train_alike(tmp_path, "set", "--batch-size", "7", "--epochs", "5")


@pytest.mark.mnist
def test_mnist_of_every_format_trains_alike(tmp_path: Path) -> None:
    flags = ("--train-size", "3000", "--hidden", "30", "--epochs", "2")
    assert_formats_train_alike(tmp_path, "mnist", *flags)


def test_conversion_keeps_what_is_there(tmp_path: Path) -> None:
    run_script(tmp_path, "convert.py", "--data", "digits")
    with h5py.File(tmp_path / "data" / "digits_traindata.hdf5") as file:
        assert file["xdata"].shape == (1437, 64)
        assert file["xdata"].dtype == np.uint8
        assert file["xdata"].compression == "gzip"
        assert file["ydata"].shape == (1437,)
    with pytest.raises(AssertionError, match=r"is there already: replace it with --overwrite"):
        run_script(tmp_path, "convert.py", "--data", "digits")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "digits_testdata.hdf5",
        "digits_traindata.hdf5",
    ]


def test_hdf5_chunks_that_cannot_be_read_piece_by_piece_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_h5(tmp_path / "set.h5", X, Y, chunks=(60, 3, 4))
    read_data(path, stream=True)
    monkeypatch.setattr("xpmlp.data.formats.hdf5._MAX_CHUNK_BYTES", 60 * 12 - 1)
    with pytest.raises(DataError, match="too large to be read piece by piece"):
        read_data(path, stream=True)


def test_hdf5_that_says_it_stores_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    """What no writer makes, and a few changed bytes may."""

    class Lying:
        shape, dtype, chunks = (10, 10), np.dtype("u1"), None

        def __init__(self, path: Path) -> None:
            self.file = SimpleNamespace(filename=path)
            plist = SimpleNamespace(get_nfilters=lambda: 0)
            self.id = SimpleNamespace(
                get_storage_size=lambda: 10**9, get_create_plist=lambda: plist
            )

    (tmp_path / "small.h5").write_bytes(b"x")
    with pytest.raises(DataError, match="says it stores 1000000000 bytes, more than the file"):
        _check_storage(Lying(tmp_path / "small.h5"), "place")


def test_values_are_not_written_as_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "values.npz", xdata=X, ydata=np.linspace(0, 1, len(X)))
    flags = ["--data", str(tmp_path / "values.npz"), "--out", str(tmp_path / "rows")]
    said = scripts_at_work.said_by("convert", [*flags, "--labels", "one-hot"], 2, capsys)
    assert "one-hot is for classes" in said
    assert not (tmp_path / "rows").exists()

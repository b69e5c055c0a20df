from __future__ import annotations

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from xpmlp.data import Examples, fit_normalization, hold_out, load_data
from xpmlp.data import mnist as mnist_module
from xpmlp.data.idx import read_idx
from xpmlp.data.idx_folder import FILES
from xpmlp.data.mnist import load_mnist
from xpmlp.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    codes = {"uint8": 0x08, "int32": 0x0C, "float64": 0x0E}
    header = bytes([0, 0, codes[array.dtype.name], array.ndim])
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return header + shape + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_small_mnist(folder: Path, *, gzipped: bool = True) -> dict[str, np.ndarray]:
    """Six training and four test images of 3 × 2 in the four files of MNIST."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, count in zip(FILES, (6, 6, 4, 4), strict=True):
        shape = (count, 3, 2) if "images" in name else (count,)
        arrays[name] = rng.integers(5, size=shape, dtype=np.uint8)
        content = idx_bytes(arrays[name])
        if gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


def test_digits_are_those_of_scikit_learn() -> None:
    digits = load_data("digits")
    assert (len(digits.train), len(digits.test), digits.features) == (1437, 360, 64)
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    expected = {tuple(row) for row in np.column_stack(load_digits(return_X_y=True)).astype(int)}
    rows = np.concatenate(
        [np.column_stack([part.x, part.y]) for part in (digits.train, digits.test)]
    )
    assert {tuple(row) for row in rows.astype(int)} == expected


@pytest.mark.mnist
def test_mnist_has_its_known_statistics() -> None:
    mnist = load_data("mnist")
    assert mnist.train.x.shape == (60_000, 784)
    assert mnist.test.x.shape == (10_000, 784)
    normalization = fit_normalization("standard", mnist.train.x, mnist.maximum)
    assert round(normalization.shift, 3) == 33.318
    assert round(normalization.scale, 3) == 78.567


@pytest.mark.parametrize("gzipped", [True, False])
def test_idx_folder(tmp_path: Path, gzipped: bool) -> None:
    arrays = write_small_mnist(tmp_path, gzipped=gzipped)
    dataset = load_data(str(tmp_path))
    np.testing.assert_array_equal(dataset.train.x, arrays[FILES[0]].reshape(6, 6))
    np.testing.assert_array_equal(dataset.test.y, arrays[FILES[3]])
    assert dataset.image_shape == (3, 2)
    assert dataset.maximum == 255


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_idx_types_round_trip(tmp_path: Path, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "array").write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(tmp_path / "array"), array)


VALID = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))
DAMAGED = {
    "empty": (b"", r"not an IDX file \(starts with nothing\)"),
    "web page": (b"<!DOCTYPE html>", r"not an IDX file \(starts with 3c 21 44 4f\)"),
    "unknown type": (b"\0\0\x07\x01" + VALID[4:], "not an IDX file"),
    "short header": (VALID[:9], "truncated inside its header, at byte 9 of 12"),
    "short values": (VALID[:-1], "3 x 4 values, 24 bytes in all, and the file holds 23"),
    "long values": (VALID + b"\0", "24 bytes in all, and the file holds 25"),
    "huge header": (VALID[:4] + b"\xff" * 8 + VALID[12:], "4294967295 x 4294967295 values"),
    "cut gzip": (gzip.compress(VALID)[:-5], "damaged gzip file"),
    "broken gzip": (gzip.compress(VALID)[:12] + b"\0" * 20, "damaged gzip file"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_idx_file_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_small_mnist(tmp_path)
    (tmp_path / f"{FILES[1]}.gz").write_bytes(idx_bytes(np.zeros(5, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"holds 6 images and .* 5 labels"):
        load_data(str(tmp_path))
    (tmp_path / f"{FILES[1]}.gz").unlink()
    with pytest.raises(DataError, match=r"no train-labels-idx1-ubyte \(.gz or not\)"):
        load_data(str(tmp_path))


def test_unknown_source_lists_the_known_names() -> None:
    with pytest.raises(DataError, match=r"neither a file or folder here, nor .*digits, mnist"):
        load_data("mnits")


def test_mnist_that_is_not_as_published_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnist").mkdir()
    write_small_mnist(tmp_path / "mnist")
    monkeypatch.setenv("XPMLP_DATA", str(tmp_path))
    with pytest.raises(DataError, match="not the published file of MNIST"):
        load_data("mnist")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with a small MNIST, in a process whose cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("XPMLP_DATA", raising=False)
    served = tmp_path / "served"
    served.mkdir()
    arrays = write_small_mnist(served)
    hashes = {name: hashlib.sha256(idx_bytes(array)).hexdigest() for name, array in arrays.items()}
    monkeypatch.setattr(mnist_module, "SHA256", hashes)

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_download_goes_on_to_the_next_mirror_and_is_cached(mirror: str, tmp_path: Path) -> None:
    dataset = load_mnist([f"{mirror}nowhere/", mirror])
    assert dataset.train.x.shape == (6, 6)
    assert len(list((tmp_path / "cache").rglob("*.gz"))) == 4
    again = load_mnist([f"{mirror}nowhere/"])
    np.testing.assert_array_equal(again.train.x, dataset.train.x)


def test_download_of_something_else_is_refused_and_not_kept(mirror: str, tmp_path: Path) -> None:
    page = tmp_path / "served" / f"{FILES[0]}.gz"
    page.write_text("<html>moved</html>")
    with pytest.raises(DataError, match=r"another file than .*put the four files") as caught:
        load_mnist([mirror])
    assert "XPMLP_DATA" in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.gz"))


def test_validation_is_held_out_by_seed() -> None:
    examples = Examples(np.arange(40).reshape(20, 2), np.arange(20))
    train, validation = hold_out(examples, 5, seed=1)
    assert (len(train), len(validation)) == (15, 5)
    assert set(train.y) | set(validation.y) == set(range(20))
    np.testing.assert_array_equal(train.x[:, 0], 2 * train.y)
    same, other = hold_out(examples, 5, seed=1)[1], hold_out(examples, 5, seed=2)[1]
    assert set(validation.y) == set(same.y)
    assert set(validation.y) != set(other.y)


@pytest.mark.parametrize("size", [20, -1])
def test_validation_that_leaves_nothing_is_refused(size: int) -> None:
    with pytest.raises(DataError, match=f"validation set of {size} leaves no training example"):
        hold_out(Examples(np.zeros((20, 2)), np.zeros(20)), size, seed=0)


def test_normalization_uses_the_training_set() -> None:
    x_train = np.array([[0, 4], [8, 4]], dtype=np.uint8)
    standard = fit_normalization("standard", x_train, 255)
    assert (standard.shift, standard.scale) == (4, np.sqrt(8))
    np.testing.assert_allclose(standard.apply(np.array([[12]]), "float64"), [[8 / np.sqrt(8)]])
    unit = fit_normalization("unit", x_train, 16)
    np.testing.assert_array_equal(unit.apply(x_train, "float32"), [[0, 0.25], [0.5, 0.25]])
    same = fit_normalization("none", x_train, 16).apply(x_train, "float32")
    assert same.dtype == np.float32
    np.testing.assert_array_equal(same, x_train)


def test_constant_features_cannot_be_standardised() -> None:
    with pytest.raises(DataError, match="every feature value is 7"):
        fit_normalization("standard", np.full((3, 2), 7), 255)

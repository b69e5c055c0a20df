"""Data sets by name: embedded, found, downloaded and verified."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from data_files import idx_bytes, in_memory, write_idx_folder

from xpmlp.data import fit_normalization, read_data
from xpmlp.data.formats.idx_folder import FILES
from xpmlp.data.formats.published import _LARGEST, MNIST, PublishedSet
from xpmlp.errors import DataError


def test_digits_are_those_of_scikit_learn() -> None:
    dataset = read_data("digits")
    train, test = in_memory(dataset)
    assert (len(train), len(test), dataset.features) == (1437, 360, 64)
    assert (dataset.classes, dataset.maximum, dataset.image_shape) == (10, 16, (8, 8))
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    expected = {tuple(row) for row in np.column_stack(load_digits(return_X_y=True)).astype(int)}
    rows = np.concatenate([np.column_stack([part.x, part.y]) for part in (train, test)])
    assert {tuple(row) for row in rows.astype(int)} == expected


@pytest.mark.mnist
def test_mnist_has_its_known_statistics() -> None:
    mnist = read_data("mnist")
    train, test = in_memory(mnist)
    assert train.x.shape == (60_000, 784)
    assert test.x.shape == (10_000, 784)
    for count, mean, deviation in ((60_000, 33.318, 78.567), (20_000, 33.553, 78.876)):
        found = fit_normalization("standard", train.first(count).rows, mnist.maximum)
        assert (round(found.shift, 3), round(found.scale, 3)) == (mean, deviation)


def test_unknown_source_lists_the_known_names() -> None:
    known = r"neither a file or folder here, nor .*digits, mnist, fashion-mnist"
    with pytest.raises(DataError, match=known):
        read_data("mnits")


def test_found_files_that_are_not_as_published_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx_folder(tmp_path / "fashion-mnist")
    monkeypatch.setenv("XPMLP_DATA", str(tmp_path))
    with pytest.raises(DataError, match="not the published file of fashion-mnist"):
        read_data("fashion-mnist")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublishedSet]:
    """A small set on a web server of this machine, for a user whose cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("XPMLP_DATA", raising=False)
    arrays = write_idx_folder(tmp_path / "served")
    hashes = {name: hashlib.sha256(idx_bytes(array)).hexdigest() for name, array in arrays.items()}

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Silent, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield PublishedSet("small", (f"http://127.0.0.1:{server.server_port}/",), hashes)
    server.shutdown()
    server.server_close()


def test_download_goes_on_to_the_next_mirror_and_is_cached(
    published: PublishedSet, tmp_path: Path
) -> None:
    nowhere = f"{published.mirrors[0]}nowhere/"
    parts = replace(published, mirrors=(nowhere, *published.mirrors)).read()
    assert parts[0].x.shape == (60, 3, 4)
    assert len(list((tmp_path / "cache").rglob("*.gz"))) == 4
    again = replace(published, mirrors=(nowhere,)).read()
    np.testing.assert_array_equal(again[0].x, parts[0].x)


@pytest.mark.parametrize("page", ["<html>moved</html>", None], ids=["a web page", "other labels"])
def test_download_of_something_else_is_refused_and_not_kept(
    published: PublishedSet, tmp_path: Path, page: str | None
) -> None:
    served = tmp_path / "served"
    if page is None:
        (served / f"{FILES[0]}.gz").write_bytes((served / f"{FILES[2]}.gz").read_bytes())
    else:
        (served / f"{FILES[0]}.gz").write_text(page)
    with pytest.raises(DataError, match=r"(another file|not an IDX).*put the four files") as caught:
        published.read()
    assert "XPMLP_DATA" in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.gz"))


def test_a_download_that_does_not_end_is_ended(
    published: PublishedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than the published file has is not taken, whatever is sent."""
    labels = FILES[1]
    most = (tmp_path / "served" / f"{labels}.gz").stat().st_size + 5000
    (tmp_path / "served" / f"{labels}.gz").write_bytes(b"\x1f\x8b" + bytes(3_000_000))
    monkeypatch.setitem(_LARGEST, labels, most)
    with pytest.raises(DataError, match="longer than the published file"):
        published.read()
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*"))
    assert kept < 1_000_000


def test_offline_says_where_to_put_which_files(published: PublishedSet, tmp_path: Path) -> None:
    offline = replace(published, mirrors=("http://127.0.0.1:9/",))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9: ConnectionError") as caught:
        offline.read()
    assert str(tmp_path / "cache") in str(caught.value)
    assert all(f"{name}.gz" in str(caught.value) for name in FILES)


def test_mirrors_are_several() -> None:
    assert len(MNIST.mirrors) >= 3

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from data_files import idx_bytes, in_memory, small_set, write_idx_folder

from xpmlp.data import read_data
from xpmlp.data.formats.idx import read_idx
from xpmlp.data.formats.idx_folder import FILES
from xpmlp.errors import DataError


@pytest.mark.parametrize("gzipped", [True, False])
def test_folder(tmp_path: Path, gzipped: bool) -> None:
    arrays = write_idx_folder(tmp_path, gzipped=gzipped)
    dataset = read_data(tmp_path)
    train, test = in_memory(dataset)
    np.testing.assert_array_equal(train.x, arrays[FILES[0]].reshape(60, 12))
    np.testing.assert_array_equal(test.y, arrays[FILES[3]])
    assert dataset.image_shape == (3, 4)
    assert (dataset.maximum, dataset.classes, dataset.features) == (255, 3, 12)


def test_single_files_find_their_labels(tmp_path: Path) -> None:
    arrays = write_idx_folder(tmp_path)
    dataset = read_data(tmp_path / f"{FILES[0]}.gz", test_source=tmp_path / f"{FILES[2]}.gz")
    train, test = in_memory(dataset)
    np.testing.assert_array_equal(train.y, arrays[FILES[1]])
    np.testing.assert_array_equal(test.y, arrays[FILES[3]])
    assert read_data(tmp_path / f"{FILES[0]}.gz").test is None
    (tmp_path / f"{FILES[1]}.gz").unlink()
    with pytest.raises(DataError, match=r"no labels beside it: put train-labels-idx1-ubyte\.gz"):
        read_data(tmp_path / f"{FILES[0]}.gz")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_types_round_trip(tmp_path: Path, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "array").write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(tmp_path / "array"), array)


def test_gzip_of_two_members_is_read(tmp_path: Path) -> None:
    content = idx_bytes(np.arange(24, dtype=np.uint8))
    (tmp_path / "array").write_bytes(gzip.compress(content[:15]) + gzip.compress(content[15:]))
    np.testing.assert_array_equal(read_idx(tmp_path / "array"), np.arange(24))


VALID = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))
HUGE = VALID[:4] + b"\xff" * 8 + VALID[12:]
DAMAGED = {
    "empty": (b"", r"not an IDX file \(starts with nothing\)"),
    "65 dimensions": (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"\0", "values in 65 dimensions"),
    "nothing of much": (
        b"\0\0\x08\x03" + b"\xff" * 4 + b"\0" * 4 + b"\xff" * 4,
        "4294967295 x 0 x 4294967295 values: there are none in it",
    ),
    "web page": (b"<!DOCTYPE html>", r"not an IDX file \(starts with 3c 21 44 4f\)"),
    "web page as gzip": (gzip.compress(b"<!DOCTYPE html>"), r"not an IDX file"),
    "unknown type": (b"\0\0\x07\x01" + VALID[4:], "not an IDX file"),
    "no dimensions": (b"\0\0\x08\0" + VALID[4:], "not an IDX file"),
    "short header": (VALID[:9], "truncated inside its header, at byte 9 of 12"),
    "short values": (VALID[:-1], "3 x 4 values, 24 bytes in all, and the file holds 23"),
    "long values": (VALID + b"\0", "24 bytes in all, and the file holds more"),
    "huge header": (HUGE, "4294967295 x 4294967295 values"),
    "huge header in gzip": (gzip.compress(HUGE), r"and \d+ compressed bytes cannot hold that"),
    "gzip that holds less": (gzip.compress(VALID[:-1]), "the file holds 23"),
    "gzip that holds more": (gzip.compress(VALID + b"\0" * 9), "the file holds more"),
    "cut gzip": (gzip.compress(VALID)[:-5], r"damaged gzip file \(.* ended before"),
    "broken gzip": (gzip.compress(VALID)[:12] + b"\0" * 20, "damaged gzip file"),
    "wrong checksum": (gzip.compress(VALID)[:-8] + b"\0" * 8, "damaged gzip file"),
    "junk after gzip": (gzip.compress(VALID) + b"junk", "damaged gzip file"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_file_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("packed", [VALID, gzip.compress(VALID)], ids=["plain", "gzip"])
def test_truncation_at_any_byte_is_found(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "images"
    for length in range(len(packed)):
        path.write_bytes(packed[:length])
        with pytest.raises(DataError):
            read_idx(path)


def test_gzip_of_nothing_many_times_is_refused_quickly(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(b"", mtime=0) * 100_000)
    with pytest.raises(DataError, match="starts with nothing"):
        read_idx(path)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    (tmp_path / f"{FILES[1]}.gz").write_bytes(idx_bytes(np.zeros(5, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"has 60 rows and .* has 5: they do not belong together"):
        read_data(tmp_path)
    write_idx_folder(tmp_path)
    (tmp_path / f"{FILES[2]}.gz").write_bytes(idx_bytes(np.zeros((24, 2, 2), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"has 12 features and .* has 4"):
        read_data(tmp_path)
    (tmp_path / f"{FILES[1]}.gz").unlink()
    with pytest.raises(DataError, match=r"no train-labels-idx1-ubyte \(.gz or not\)"):
        read_data(tmp_path)


def test_folder_without_labels_of_a_class_can_say_how_many(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    labels = small_set()[1] * 2
    (tmp_path / f"{FILES[1]}.gz").write_bytes(idx_bytes(labels))
    with pytest.raises(DataError, match=r"go up to 4 and none is 1: .*classes="):
        read_data(tmp_path)
    assert read_data(tmp_path, classes=6).classes == 6
    with pytest.raises(DataError, match="a label is 4, and 4 classes are 0 to 3"):
        read_data(tmp_path, classes=4)

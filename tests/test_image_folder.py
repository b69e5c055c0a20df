"""Folders of image files: a folder per class, of any size and colour."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scripts_at_work import run_script

import xpmlp
from xpmlp.errors import DataError, UsageError

Image = pytest.importorskip("PIL.Image")
COLOURS = {"grass": (60, 180, 60), "sand": (220, 200, 120), "sky": (90, 120, 220)}


def paint(folder: Path, each: int = 20, sizes: tuple[int, ...] = (12, 12)) -> Path:
    """Write photographs of three classes, all of the size (12, 12), or of several."""
    rng = np.random.default_rng(0)
    for name, color in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            height, width = rng.choice(sizes, 2)
            pixels = np.array(color) + rng.normal(0, 60, (height, width, 3))
            image = Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))
            image.save(folder / name / f"{number:03}.png")
    return folder


def test_images_become_rows_with_the_names_of_their_folders(tmp_path: Path) -> None:
    data = xpmlp.read_data(paint(tmp_path / "photos", 4))
    assert data.image_shape == (12, 12, 3)
    assert data.targets is not None
    assert data.targets.names == ("grass", "sand", "sky")
    assert data.train.x.shape == (12, 432)
    first = np.asarray(Image.open(tmp_path / "photos" / "grass" / "000.png"))
    np.testing.assert_array_equal(data.train.x[0], first.reshape(-1))


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    paint(tmp_path / "photos", 3)
    for path in (tmp_path / "photos").rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert xpmlp.read_data(tmp_path / "photos").image_shape == (12, 12)


def test_train_and_test_folders(tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "train", 5)
    paint(tmp_path / "photos" / "test", 2)
    data = xpmlp.load_data(tmp_path / "photos", val_size=3)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 3, 6)


def test_several_sizes_are_brought_to_one(tmp_path: Path) -> None:
    paint(tmp_path / "photos", 5, (10, 14))
    with pytest.raises(DataError, match=r"pixels and .*: say to which size all are brought"):
        xpmlp.read_data(tmp_path / "photos")
    for size, shape in ((8, (8, 8, 3)), ((8, 9), (8, 9, 3))):
        assert xpmlp.read_data(tmp_path / "photos", image_size=size).image_shape == shape
    with pytest.raises(UsageError, match="image_size is 0: give height and width"):
        xpmlp.read_data(tmp_path / "photos", image_size=0)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    paint(tmp_path / "photos", 3)
    (tmp_path / "photos" / "sky" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(DataError, match=r"torn\.png: not an intact image"):
        xpmlp.read_data(tmp_path / "photos")


def test_from_a_folder_of_photographs_to_predictions(tmp_path: Path) -> None:
    paint(tmp_path / "photos", 30, (10, 14))
    flags = ("--data", "photos", "--image-size", "10", "--epochs", "8", "--out", "run", "--quiet")
    done = run_script("train.py", *flags, "--batch-size", "16", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test_accuracy"] > 0.9
    done = run_script("evaluate.py", "--run", "run", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["examples"] == 18
    for name in ("confusion", "mistakes", "weights"):
        assert (tmp_path / "run" / f"{name}.png").exists()
    new = ("--run", "run", "--data", "photos/sand", "--out", "found.csv")
    done = run_script("predict.py", *new, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows].count("sand") > 27


def test_values_of_more_than_8_bits(tmp_path: Path) -> None:
    """Of 16 the upper 8 are kept; what is wider has no known scale."""
    pixels = np.array([[0, 1000, 40000], [65535, 256, 255]], dtype=np.uint16)
    for name in ("a", "b"):
        (tmp_path / "grey" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "grey" / name / "one.png")
    data = xpmlp.read_data(tmp_path / "grey")
    assert data.image_shape == (2, 3)
    assert data.train.x[0].tolist() == [0, 3, 156, 255, 1, 0]
    Image.fromarray(pixels.astype("f")).save(tmp_path / "grey" / "b" / "one.tiff")
    with pytest.raises(DataError, match="values of 32 bits, of an unknown scale"):
        xpmlp.read_data(tmp_path / "grey")

"""A folder with the four IDX files of MNIST and of the sets made in its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpmlp.data.dataset import Dataset, Examples
from xpmlp.data.idx import parse_idx, read_bytes
from xpmlp.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find_file(folder: Path, name: str) -> Path | None:
    """Return the path of an IDX file in a folder, gzipped or not, or None."""
    dotted = name.replace("-idx", ".idx")  # as some unpackers spell it
    for candidate in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def load_idx_folder(folder: Path) -> Dataset:
    """Read training and test examples from a folder; raises `DataError` for a missing file."""
    found = {name: find_file(folder, name) for name in FILES}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise DataError(
            f"{folder}: no {', '.join(missing)} (.gz or not): put the four IDX files there"
        )
    contents = {name: (read_bytes(path), path) for name, path in found.items() if path}
    return assemble(folder.name, contents)


def assemble(name: str, contents: dict[str, tuple[bytes, Path]]) -> Dataset:
    """Put a data set together from the content of its four files, keyed as in `FILES`."""
    arrays = [parse_idx(*contents[file]) for file in FILES]
    paths = [contents[file][1] for file in FILES]
    train = _examples(arrays[0], paths[0], arrays[1], paths[1])
    test = _examples(arrays[2], paths[2], arrays[3], paths[3])
    if train.x.shape[1] != test.x.shape[1]:
        raise DataError(
            f"{paths[2]}: images of {test.x.shape[1]} pixels, and those of {paths[0].name} "
            f"have {train.x.shape[1]}: the files are not of one data set"
        )
    height, width = (int(n) for n in arrays[0].shape[1:])
    return Dataset(
        name=name,
        train=train,
        test=test,
        classes=int(max(train.y.max(), test.y.max())) + 1,
        image_shape=(height, width),
        maximum=float(np.iinfo(arrays[0].dtype).max),
    )


def _examples(images: np.ndarray, image_path: Path, ids: np.ndarray, id_path: Path) -> Examples:
    if images.ndim != 3 or not np.issubdtype(images.dtype, np.integer):
        raise DataError(
            f"{image_path}: {images.dtype} values in {images.ndim} dimensions: expected "
            "integers in three, images x height x width"
        )
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(
            f"{id_path}: {ids.dtype} values in {ids.ndim} dimensions: "
            "expected one class id an image"
        )
    if len(images) != len(ids):
        raise DataError(
            f"{image_path} holds {len(images)} images and {id_path} {len(ids)} labels: "
            "the files do not belong together"
        )
    if not images.size:
        raise DataError(f"{image_path}: no images in it")
    if ids.min() < 0:
        raise DataError(f"{id_path}: row {int(ids.argmin())} has the negative class id {ids.min()}")
    return Examples(images.reshape(len(images), -1), ids)

"""The four IDX files of MNIST and of the sets made in its image: a folder, or one of its files."""

from __future__ import annotations

from pathlib import Path

from xpmlp.data.formats.idx import parse_idx, read_idx, read_idx_bytes
from xpmlp.data.part import Keys, Part
from xpmlp.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# The content of the four files, keyed as in `FILES`, and where each was found.
Contents = dict[str, tuple[bytes, Path]]


def find_file(folder: Path, name: str) -> Path | None:
    """Return the path of an IDX file in a folder, gzipped or not, or None."""
    dotted = name.replace("-idx", ".idx")  # as some unpackers spell it
    for candidate in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def read_idx_folder(folder: Path, keys: Keys) -> list[Part]:  # noqa: ARG001
    """Read training and test examples from a folder; raises `DataError` for a missing file."""
    found = {name: find_file(folder, name) for name in FILES}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise DataError(
            f"{folder}: no {', '.join(missing)} (.gz or not): put the four IDX files there"
        )
    return parts_of_contents(
        {name: (read_idx_bytes(path), path) for name, path in found.items() if path}
    )


def parts_of_contents(contents: Contents) -> list[Part]:
    """Return the training and the test part from the content of the four files."""
    x, y, x_test, y_test = ((parse_idx(*contents[file]), str(contents[file][1])) for file in FILES)
    return [Part(x[0], y[0], x[1], y[1]), Part(x_test[0], y_test[0], x_test[1], y_test[1])]


def read_idx_pair(images: Path, keys: Keys) -> list[Part]:  # noqa: ARG001
    """Read one IDX file of images, and the file of labels that belongs to it by its name."""
    if "images" not in images.name:
        raise DataError(
            f"{images}: the labels of an IDX file are found by its name, which has no 'images' in "
            "it: give the folder, or name the files as MNIST does"
        )
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    unzipped = name.removesuffix(".gz")
    for candidate in (name, unzipped, f"{unzipped}.gz"):
        labels = images.with_name(candidate)
        if labels.is_file():
            return [Part(read_idx(images), read_idx(labels), str(images), str(labels))]
    raise DataError(f"{images}: no labels beside it: put {name} there")

"""Folders of image files: a folder per class, read by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.part import Keys, Part
from xpmlp.errors import DataError, UsageError
from xpmlp.files import open_regular

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# An image of more pixels than this is no picture for a fully connected network.
_MOST_PIXELS = 100_000_000


def is_image_folder(folder: Path) -> bool:
    """Tell whether a folder has folders with image files in them."""
    return bool(_classes(folder)) or any(_classes(part) for part in _parts(folder))


def read_image_folder(folder: Path, keys: Keys) -> list[Part]:
    """Read the images of each class's folder; of `train` and `test` folders with those as well.

    All are brought to one size: theirs where they are alike, else `keys.image_size`. They are grey
    where all are grey, else of three colours. Raises `DataError` for files that are no images,
    and images of several sizes where none is given.
    """
    parts = _parts(folder) or [folder]
    listed = [[(p, c) for c in _classes(part) for p in images_in(part / c)] for part in parts]
    size, color = _form([path for part in listed for path, _ in part], keys.image_size)
    shape = (*size, 3) if color else size
    found = []
    for part, files in zip(parts, listed, strict=True):
        x = read_images([path for path, _ in files], shape)
        y = np.array([name for _, name in files])
        found.append(Part(x, y, str(part), f"{part}, its folders"))
    return found


def images_in(folder: Path) -> list[Path]:
    """Return the image files in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)


def read_images(paths: Sequence[Path], shape: tuple[int, ...]) -> np.ndarray:
    """Read images as bytes (N, *shape), each of the shape (H, W) or (H, W, 3)."""
    image, found = pillow(), np.empty((len(paths), *shape), dtype=np.uint8)
    for number, path in enumerate(paths):
        opened = _of_bytes(_opened(path), path).convert("RGB" if len(shape) == 3 else "L")
        if opened.size != (shape[1], shape[0]):
            opened = opened.resize((shape[1], shape[0]), image.Resampling.BILINEAR)
        found[number] = np.asarray(opened)
    return found


def pillow() -> Any:
    """Return Pillow's module of images; raises `UsageError` where it is not installed."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise UsageError('image files need Pillow: pip install "xpmlp[images]"') from error
    return Image


def _of_bytes(opened: Any, path: Path) -> Any:
    """Return an image with bytes in place of 16-bit values; raises `DataError` for wider ones."""
    if opened.mode.startswith("I;16"):
        return pillow().fromarray((np.asarray(opened) >> 8).astype(np.uint8))
    if opened.mode in ("I", "F"):
        raise DataError(f"{path} has values of 32 bits, of an unknown scale: convert it to 8 or 16")
    return opened


def _classes(folder: Path) -> list[str]:
    return sorted(sub.name for sub in folder.iterdir() if sub.is_dir() and images_in(sub))


def _parts(folder: Path) -> list[Path]:
    """Return the folders of the training and the test set, where there are such."""
    train, test = folder / "train", folder / "test"
    if not train.is_dir() or not _classes(train):
        return []
    return [train, test] if test.is_dir() and _classes(test) else [train]


def _form(paths: Sequence[Path], wanted: tuple[int, ...]) -> tuple[tuple[int, int], bool]:
    """Return the height and width that all images get, and whether any has colours."""
    sizes: dict[tuple[int, int], Path] = {}
    color = False
    for path in paths:
        opened = _opened(path)
        sizes.setdefault((opened.size[1], opened.size[0]), path)
        color = color or opened.mode.partition(";")[0] not in ("1", "L", "LA", "I", "F")
    if wanted:
        height, width = wanted * 2 if len(wanted) == 1 else wanted
        return (height, width), color
    if len(sizes) > 1:
        (one, path), (other, another) = list(sizes.items())[:2]
        raise DataError(
            f"{path} has {one[0]} x {one[1]} pixels and {another} {other[0]} x {other[1]}: say to "
            "which size all are brought (image_size=), such as 32"
        )
    return next(iter(sizes)), color


def _opened(path: Path) -> Any:
    """Open an image and read its pixels; raises `DataError` for a file that is none."""
    image = pillow()
    try:
        with open_regular(path) as file:
            opened = image.open(file)
            if opened.size[0] * opened.size[1] > _MOST_PIXELS:
                raise DataError(f"{path}: {opened.size} pixels are too many: make it smaller")
            opened.load()
            return opened
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds for a damaged file
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not an intact image ({cause}): leave it out") from error

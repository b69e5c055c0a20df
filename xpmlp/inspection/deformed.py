"""Images as they are trained on, to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpmlp.backends import Backend
from xpmlp.randomness import random_stream
from xpmlp.regularization import Deformation


def deformed_images(
    deformation: Deformation, examples: Any, *, backend: Backend, count: int = 16, seed: int = 0
) -> np.ndarray:
    """Return some images as they are and as they are deformed (2, count, height, width).

    `examples`: of grey images, on the host or on the backend's device; of fewer than `count` all.
    What is drawn is drawn by `seed`. Raises `DataError` for features that are no such images.

    >>> import xpmlp
    >>> digits, bent = xpmlp.load_data("digits").train, Deformation(rotation=10, elastic=0.5)
    >>> deformed_images(bent, digits, backend=xpmlp.select_backend()).shape
    (2, 16, 8, 8)
    """
    xp, some = backend.xp, examples.first(count).to_device(backend)
    key = random_stream(seed, "images").integers(2**32, size=1, dtype="u4")
    with backend.computing():
        batch = some.batch(xp=xp)
        x = batch.read(slice(0, batch.size)).x
        made = deformation.of_images(x.shape[-1], like=x, xp=xp)
        numbers = batch.numbers(slice(0, batch.size), xp=xp)
        moved = made(x, backend.to_device(key)[0, ...], numbers, xp=xp)
        pair = [backend.to_host(images) for images in (x, moved)]
    return np.stack(pair).reshape(2, -1, *made.shape)

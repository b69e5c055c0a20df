"""One seed, several independent streams: initial weights, batch order, held-out examples.

Everything random is drawn on the host from a stream named by its purpose, then moved, so
one seed means the same network and the same batches on every backend. Nothing has to be
remembered between two draws: the order of epoch 7 is a function of the seed and of 7.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

from xpmlp.errors import UsageError


def random_stream(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the generator of one purpose ("weights", "batches", ...) under a seed ≥ 0."""
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative: choose 0 or more")
    return np.random.default_rng([seed, crc32(purpose.encode()), *counters])

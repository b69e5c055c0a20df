#!/usr/bin/env python3
"""Damage valid data files and read them: only a typed error or a correct read may come of it.

`python tests/fuzz_data.py --cases 20000 --seed 1` runs as many as wanted and prints what came
out as JSON: a case that broke the rule is named by its number, which reproduces it.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import io
import json
import random
import resource
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from data_files import idx_bytes, small_set, write_h5

from xpmlp.data import Examples, StreamedExamples, read_data
from xpmlp.errors import DataError

SECONDS_A_CASE = 10
# Beyond what the interpreter has mapped at the start.
MEMORY_BYTES = 2**30


def valid_files(folder: Path) -> dict[str, bytes]:
    """Return the content of small valid files; the ending says how they are read."""
    x, y = small_set()
    files = {
        "images-idx3": idx_bytes(x),
        "images-idx3.gz": gzip.compress(idx_bytes(x), mtime=0),
        "plain.h5": write_h5(folder / "plain.h5", x, y).read_bytes(),
        "chunked.h5": write_h5(
            folder / "chunked.h5", x, y, chunks=(16, 3, 4), compression="gzip"
        ).read_bytes(),
    }
    for name, save in (("plain.npz", np.savez), ("packed.npz", np.savez_compressed)):
        buffer = io.BytesIO()
        save(buffer, xdata=x.astype(np.float32), ydata=y)
        files[name] = buffer.getvalue()
    return files


def flip_bits(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def truncate(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def change_header(content: bytearray, rng: random.Random) -> None:
    """Put small, large or random values where headers keep sizes and types."""
    width = rng.choice((1, 2, 4, 8))
    start = rng.randrange(max(1, min(len(content) - width, 600)))
    value = rng.choice((b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, rng.randbytes(8)))
    content[start : start + width] = value[:width]


def insert(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    content[start:start] = rng.randbytes(rng.choice((1, 4, 100)))


def zero(content: bytearray, rng: random.Random) -> None:
    start, length = rng.randrange(len(content)), rng.choice((4, 64, 512))
    content[start : start + length] = bytes(len(content[start : start + length]))


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits,
    truncate,
    change_header,
    insert,
    zero,
)


def read_everything(path: Path, stream: bool | None, original: np.ndarray) -> None:
    """Load a file and hold what was read against what examples must be."""
    dataset = read_data(path, stream=stream)
    source: Examples | StreamedExamples = dataset.train
    rows = source.hold_out(0, 0)[0]
    x = np.asarray(rows.rows[0 : len(rows)])
    assert len(rows) > 0
    assert np.isfinite(x).all()
    assert x.shape == (len(rows), dataset.features)
    if path.suffix in (".gz", ".npz"):  # these have checksums: damage cannot go unnoticed
        np.testing.assert_array_equal(x, original)
    if stream is None:
        y = np.asarray(source.y)
        assert y.shape == (len(rows),)
        assert 0 <= y.min() <= y.max() < dataset.classes


def run(cases: int, seed: int, folder: Path) -> dict[str, Any]:
    files = valid_files(folder)
    original = small_set()[0].reshape(60, 12)
    labels = idx_bytes(small_set()[1])
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    for case in range(seed, seed + cases):
        rng = random.Random(case)
        name = rng.choice(sorted(files))
        content = bytearray(files[name])
        rng.choice(DAMAGES)(content, rng)
        path = folder / f"case-{name}"
        path.write_bytes(content)
        if name.startswith("images"):
            path.with_name(path.name.replace("images-idx3", "labels-idx1")).write_bytes(labels)
        streams = (None, True) if path.suffix == ".h5" else (None,)
        for stream in streams:
            faulthandler.dump_traceback_later(SECONDS_A_CASE, exit=True)
            try:
                read_everything(path, stream, original)
                outcomes["read"] += 1
            except DataError:
                outcomes["refused"] += 1
            except BaseException as error:
                broken.append(f"case {case} ({name}): {type(error).__name__}: {error}"[:300])
            faulthandler.cancel_dump_traceback_later()
    # The process's own: ru_maxrss begins with that of whoever started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = 1024 * next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    return {"cases": cases, **outcomes, "broken": broken, "peak_bytes": peak}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES,) * 2)
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.cases, arguments.seed, Path(folder))
    print(json.dumps(result))
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

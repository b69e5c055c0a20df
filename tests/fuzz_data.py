#!/usr/bin/env python3
"""Damage valid files and read them: only a typed error or a correct read may come of it.

`python tests/fuzz_data.py --cases 100000` runs so many of each kind of file, and prints what came
out as JSON: a case that broke the rule is named by its number, which makes it again with
`--only KIND --seed NUMBER --cases 1`. `tests/fuzz_guided.py` lets coverage choose the damage.
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
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data_files import idx_bytes, small_set, write_h5
from PIL import Image
from tables import customers

import xpmlp
from xpmlp.commands import train as train_command
from xpmlp.commands.run_settings import checked_config
from xpmlp.data import Examples, StreamedExamples, read_data
from xpmlp.data.formats import image_folder
from xpmlp.data.formats.features import read_features
from xpmlp.data.tables.encoding import Encoding, fit_encoding
from xpmlp.data.tables.table import table_of
from xpmlp.errors import DataError, XpmlpError
from xpmlp.files import parse_json
from xpmlp.interchange import load_safetensors, save_safetensors
from xpmlp.runs.checkpoint import load_checkpoint, save_checkpoint
from xpmlp.runs.containers import CONTAINERS, _header, read_container
from xpmlp.runs.folder import read_metrics
from xpmlp.runs.sweep import read_outcomes

SECONDS_A_CASE = 5
# Beyond what the interpreter has mapped at the start.
MEMORY_BYTES = 300 * 10**6

Damage = Callable[[bytearray, random.Random], None]


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


BYTES: tuple[Damage, ...] = (flip_bits, truncate, change_header, insert, zero)
WORDS = [
    "null",
    "true",
    "false",
    "-1",
    "0",
    "1e999",
    "NaN",
    "1e308",
    "12345678901234567890",
    '""',
    '"x"',
    "[]",
    "{}",
    "[1,[2]]",
    ".5",
]


def replace_value(content: bytearray, rng: random.Random) -> None:
    """Put another value in place of one that JSON or a table holds, or of a key."""
    text = content.decode(errors="replace")
    ends = [0] + [place for place, sign in enumerate(text) if sign in ',:[]{}\n"'] + [len(text)]
    place = rng.randrange(len(ends) - 1)
    content[:] = (text[: ends[place] + 1] + rng.choice(WORDS) + text[ends[place + 1] :]).encode()


TEXTS: tuple[Damage, ...] = (replace_value, replace_value, flip_bits, truncate, insert)


class Kind(NamedTuple):
    """A file's `name` and valid content, what is done to it, and what reads it."""

    name: str
    content: bytes
    read: Callable[[Path], object]
    damages: tuple[Damage, ...] = BYTES
    # What a right checksum is put on, so that damage is not noticed by it alone.
    seal: Callable[[bytes], bytes] = bytes


def read_everything(path: Path, stream: bool | None = None) -> None:
    """Load a data set and hold what was read against what examples must be."""
    dataset = read_data(path, stream=stream)
    source: Examples | StreamedExamples = dataset.train
    rows = source.hold_out(0, 0)[0]
    x = np.asarray(rows.rows[0 : len(rows)])
    assert len(rows) > 0
    assert np.isfinite(x).all()
    assert x.shape == (len(rows), dataset.features)
    if path.suffix in (".gz", ".npz"):  # these have checksums: damage cannot go unnoticed
        np.testing.assert_array_equal(x, small_set()[0].reshape(60, 12))
    if stream is None:
        y = np.asarray(source.y)
        assert y.shape == (len(rows),)
        assert 0 <= y.min() <= y.max() < dataset.classes


def read_images(path: Path) -> None:
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    labels.write_bytes(idx_bytes(small_set()[1]))
    read_everything(path)


def read_network(path: Path) -> None:
    """Load a network; what was loaded computes."""
    network = load_safetensors(path)
    assert all(np.isfinite(array).all() for array in network.params.values())
    features = network.mlp.sizes[0]
    trained = xpmlp.Trained(
        network.mlp, network.params, network.preparation, xpmlp.select_backend("cpu", "float64")
    )
    assert trained.outputs(np.ones((2, features))).shape == (2, network.mlp.sizes[-1])


def read_state(path: Path) -> None:
    """Load a checkpoint; what was loaded can be gone on with."""
    checkpoint = load_checkpoint(path)
    model = xpmlp.Model(checkpoint.mlp, xpmlp.Momentum())
    state = checkpoint.restore(model, xpmlp.select_backend())
    assert all(np.isfinite(array).all() for array in state.result.values())


def sealed(content: bytes) -> bytes:
    return _header(1, content) + content


def resealed(content: bytes, arrays: dict[str, np.ndarray]) -> bytes:
    """Return a safetensors checkpoint of whose arrays these are the bytes, one after another."""
    changed, start = {}, 0
    for name, array in arrays.items():
        own = content[start : start + array.nbytes]
        start += array.nbytes
        whole = len(own) // array.itemsize
        flat = np.frombuffer(own[: whole * array.itemsize], array.dtype)
        changed[name] = flat.reshape(array.shape) if flat.size == array.size else flat
    return CONTAINERS[".safetensors"].write(changed)


def kinds(folder: Path) -> Iterator[tuple[str, Kind]]:
    x, y = small_set()
    yield "idx", Kind("images-idx3", idx_bytes(x), read_images)
    zipped = gzip.compress(idx_bytes(x), mtime=0)
    yield "idx.gz", Kind("images-idx3.gz", zipped, read_images)
    for name, save in (("npz", np.savez), ("npz.deflated", np.savez_compressed)):
        buffer = io.BytesIO()
        save(buffer, xdata=x.astype(np.float32), ydata=y)
        yield name, Kind("a.npz", buffer.getvalue(), read_everything)
    buffer = io.BytesIO()
    np.save(buffer, x.reshape(60, 12).astype(np.float64))
    features = partial(read_features, key="xdata")
    yield "npy", Kind("a.npy", buffer.getvalue(), features)
    text = "\n".join(",".join(map(str, row)) for row in x.reshape(60, 12)[:9]).encode()
    yield "csv", Kind("a.csv", text, features, TEXTS)
    plain = write_h5(folder / "plain.h5", x, y).read_bytes()
    settings: dict[str, Any] = {"chunks": (16, 3, 4), "compression": "gzip"}
    chunked = write_h5(folder / "chunked.h5", x, y, **settings).read_bytes()
    for name, content in (("hdf5", plain), ("hdf5.chunked", chunked)):
        yield name, Kind("a.h5", content, read_everything)
        yield f"{name}.streamed", Kind("a.h5", content, partial(read_everything, stream=True))
    yield from kinds_of_tables(folder)
    yield from kinds_of_a_run(folder)


def kinds_of_tables(folder: Path) -> Iterator[tuple[str, Kind]]:
    frame = customers(40).drop(columns="customer").assign(state=["a", "b"] * 20)
    text = frame.to_csv(index=False).encode()
    yield "table.csv", Kind("a.csv", text, read_a_table, TEXTS)
    for ending, write in (("parquet", frame.to_parquet), ("arrow", frame.to_feather)):
        write(folder / f"a.{ending}")
        content = (folder / f"a.{ending}").read_bytes()
        yield f"table.{ending}", Kind(f"a.{ending}", content, read_a_table)
    record = json.dumps(fit_encoding(table_of(frame)).as_record()).encode()
    yield "encoding", Kind("encoding.json", record, partial(read_encoding, frame), TEXTS)
    picture = io.BytesIO()
    Image.fromarray(small_set()[0][0].astype("uint8")).save(picture, "PNG")
    yield "picture", Kind("a.png", picture.getvalue(), read_a_picture)


def read_a_table(path: Path) -> None:
    """Load a table, and code its columns."""
    data = xpmlp.load_data(path, target="state", val_size=0, test_size=0)
    assert np.isfinite(data.train.x).all()


def read_a_picture(path: Path) -> None:
    """Read an image file."""
    assert image_folder.read_images([path], (3, 4)).shape == (1, 3, 4)


def read_encoding(frame: Any, path: Path) -> None:
    """Read what has been learnt of a table, and apply it."""
    try:
        record = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError("no JSON") from error
    features = sum(len(code.features) for code in fit_encoding(table_of(frame)).codes)
    assert np.isfinite(Encoding.from_record(record, features).encoded(table_of(frame))).all()


def kinds_of_a_run(folder: Path) -> Iterator[tuple[str, Kind]]:
    model = xpmlp.Model(xpmlp.MLP((12, 5, 3), "tanh"), xpmlp.Momentum())
    x, y = small_set()
    data = xpmlp.prepare(xpmlp.dataset_of_arrays(x, y), val_size=12)
    state = xpmlp.Training(model, data, xpmlp.Plan(steps=6, batch_size=12, log_every=2)).run()
    assert data.normalization is not None
    path, network = folder / "c.h5", folder / "n.safetensors"
    settings = {"settings": data.preparation.as_record()}
    save_checkpoint(path, state, settings, backend=xpmlp.select_backend())
    save_safetensors(network, model.mlp, state.result, data.preparation)
    yield "network", Kind("n.safetensors", network.read_bytes(), read_network)
    raw = network.read_bytes()
    yield "network.metadata", Kind("n.safetensors", raw, read_network, TEXTS)
    yield "checkpoint", Kind("c.h5", path.read_bytes(), read_state)
    inside = path.read_bytes()[512:]
    yield "checkpoint.sealed", Kind("c.h5", inside, read_state, seal=sealed)
    arrays = read_container(path.read_bytes())
    seal = partial(resealed, arrays=arrays)
    content = b"".join(array.tobytes() for array in arrays.values())
    yield "checkpoint.safetensors", Kind("c.safetensors", content, read_state, seal=seal)
    yield "checkpoint.records", Kind("c.safetensors", content, read_state, TEXTS, seal)
    parser = train_command.build_parser()
    defaults = vars(parser.parse_args([])) | {"normalization": None, "sizes": [64, 100, 10]}
    config = json.dumps({k: v for k, v in defaults.items() if k != "out"}, indent=2).encode()
    yield (
        "config",
        Kind("config.json", config, lambda path: checked_config(parser, path.parent), TEXTS),
    )
    row = "step,epoch,learning_rate,train_loss,train_accuracy,val_loss,val_accuracy,seconds\n"
    table = (row + "".join(f"{k},{k / 9},0.1,{1 / k},0.5,,,{k}\n" for k in range(1, 9))).encode()
    yield "metrics", Kind("metrics.csv", table, lambda path: read_metrics(path.parent), TEXTS)
    record = {"step": 1, "epoch": 1, "learning_rate": 1, "train_loss": 1.0, "seconds": 1}
    outcome = {"number": 0, "fold": 0, "stack": 0, "status": "completed", "cause": ""}
    outcomes = json.dumps([outcome | {"rows": [record]}] * 2).encode()
    yield "outcomes", Kind("stack-0.json", outcomes, read_outcomes, TEXTS)


@cache
def own_kinds() -> dict[str, Kind]:
    with tempfile.TemporaryDirectory() as folder:
        return dict(kinds(Path(folder)))


def try_to_read(kind: Kind, content: bytes, folder: Path) -> str:
    """Read damaged content: "read" or "refused"; raises what must not come of it."""
    path = folder / kind.name
    path.write_bytes(kind.seal(content))
    try:
        kind.read(path)
    except XpmlpError:
        return "refused"
    return "read"


def run(cases: int, seed: int, folder: Path, names: list[str]) -> dict[str, Any]:
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in names}
    broken: list[str] = []
    for name in names:
        kind = own_kinds()[name]
        try_to_read(kind, kind.content, folder)
        for case in range(seed, seed + cases):
            rng = random.Random(f"{name} {case}")
            content = bytearray(kind.content)
            rng.choice(kind.damages)(content, rng)
            faulthandler.dump_traceback_later(SECONDS_A_CASE, exit=True)
            try:
                outcomes[name][try_to_read(kind, bytes(content), folder)] += 1
            except BaseException as error:
                broken.append(f"{name}, case {case}: {type(error).__name__}: {error}"[:300])
            faulthandler.cancel_dump_traceback_later()
    # The process's own: ru_maxrss begins with that of whoever started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = 1024 * next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    return {"cases": cases, "outcomes": outcomes, "broken": broken, "peak_bytes": peak}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(own_kinds()))
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES,) * 2)
    names = arguments.only or list(own_kinds())
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.cases, arguments.seed, Path(folder), names)
    print(json.dumps(result, indent=2))
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    raise SystemExit(main())

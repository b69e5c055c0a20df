"""Write a trained network as ONNX, or its weights as safetensors, for other libraries."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import xpmlp
from xpmlp.commands.command_line import message, new_parser, print_result
from xpmlp.commands.flags import Flags
from xpmlp.commands.trained_flags import add_trained_flags, checkpoint_path
from xpmlp.data.preparation import Preparation
from xpmlp.errors import CheckFailedError, UsageError
from xpmlp.interchange import load_safetensors, save_onnx, save_safetensors
from xpmlp.randomness import random_stream
from xpmlp.runs.checkpoint import copy_checkpoint, load_result, preparation_of
from xpmlp.runs.folder import CHECKPOINT

_SUFFIXES = {"onnx": ".onnx", "safetensors": ".safetensors", "checkpoint": ".safetensors"}
# What two programs may differ by: this, or a few times our own rounding where that is more.
_TOLERANCE, _TIMES = 1e-6, 8.0


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    add_trained_flags(parser)
    flags = Flags(parser)
    flags.choice(
        "--format",
        tuple(_SUFFIXES),
        "onnx: the network with the scaling of its features; safetensors: its weights, named "
        "as in torch's nn.Sequential; checkpoint: all of it, as safetensors, which strangers can "
        "open without HDF5 (default: by the ending of --out, else onnx)",
        None,
    )
    flags.path("--out", "default: model.onnx or so beside the checkpoint", metavar="FILE")
    flags.switch("--overwrite", "replace the file that is there")
    flags.choice(
        "--verify",
        ("auto", "yes", "no"),
        "run the file and compare: an ONNX file with onnxruntime; auto: where it is installed",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    kind, path = arguments.format or format_of(arguments.out), checkpoint_path(arguments)
    if kind == "checkpoint" and arguments.run is not None:
        path = arguments.run / CHECKPOINT  # what goes on is in this one alone
    checkpoint = load_result(path)
    name = "checkpoint" if kind == "checkpoint" else "model"
    out = arguments.out or path.with_name(name + _SUFFIXES[kind])
    if out.exists() and not arguments.overwrite:
        raise UsageError(f"{out} is there already: choose another --out, or give --overwrite")
    mlp, params, preparation = checkpoint.mlp, checkpoint.params, preparation_of(checkpoint)
    if kind == "checkpoint":
        copy_checkpoint(path, out)
    else:
        (save_onnx if kind == "onnx" else save_safetensors)(out, mlp, params, preparation)
    result: dict[str, Any] = {"checkpoint": str(path), "network": str(mlp), "file": str(out)}
    result |= {"bytes": out.stat().st_size, "difference": None}
    if arguments.verify != "no" and kind != "checkpoint":  # it is that, bit for bit
        try:
            result["difference"] = verified(arguments.verify, kind, out, mlp, params, preparation)
        except CheckFailedError:
            out.unlink()
            raise
    print_result(result, arguments.json)
    return 0


def format_of(out: Path | None) -> str:
    """Return the format that a file's ending names."""
    if out is None:
        return "onnx"
    for kind, suffix in _SUFFIXES.items():
        if out.suffix == suffix:
            return kind
    raise UsageError(f"{out} ends neither in .onnx nor in .safetensors: give --format")


def verified(
    wish: str,
    kind: str,
    out: Path,
    mlp: xpmlp.MLP,
    params: dict[str, np.ndarray],
    preparation: Preparation,
) -> float | None:
    """Return the largest difference between what the file's network says and what ours does."""
    if kind == "onnx" and find_spec("onnxruntime") is None:
        if wish == "yes":
            raise UsageError("--verify needs onnxruntime: pip install onnxruntime")
        message("not verified: onnxruntime is not installed")
        return None
    dtype = str(params["layer1.weight"].dtype)
    x, feed = made_up(preparation, mlp)
    if kind == "onnx":
        theirs, x = run_by_onnx(out, x, feed)
    else:
        loaded = load_safetensors(out)
        theirs = predicted(loaded.mlp, loaded.params, x, loaded.preparation, dtype)
    ours = predicted(mlp, params, x, preparation, dtype)
    exact = predicted(mlp, params, x, preparation, "float64")
    size = max(1.0, float(np.abs(exact).max()))
    rounding, off = (float(np.abs(found - exact).max()) / size for found in (ours, theirs))
    difference = float(np.abs(ours - theirs).max()) / size
    if not off <= max(_TOLERANCE, _TIMES * rounding):
        raise CheckFailedError(
            f"{out} says something else than {mlp}: they differ by {difference:g}; please report it"
        )
    return difference


def run_by_onnx(out: Path, x: Any, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, Any]:
    """Return what a file's network says of made-up rows, and these as it takes them."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        if session.get_inputs()[0].type == "tensor(float)":
            x = x.astype("float32")
            feed = {"features": x}
        return np.asarray(session.run(None, feed)[0]), x
    except Exception as error:  # onnxruntime has kinds of its own
        raise CheckFailedError(f"onnxruntime cannot run {out}: {error}") from error


def made_up(preparation: Preparation, mlp: xpmlp.MLP) -> tuple[Any, dict[str, np.ndarray]]:
    """Return raw rows that look like those of the training, and the same as inputs of ONNX."""
    rng, rows = random_stream(0, "export"), 256
    if preparation.encoding is not None:
        columns = preparation.encoding.made_up(rows, rng)
        feed = {
            name: np.array([["" if v is None else v] for v in column], dtype=object)
            if isinstance(column, list)
            else column[:, None]
            for name, column in columns.items()
        }
        return columns, feed
    scaling = preparation.normalization
    noise = rng.normal(size=(rows, mlp.sizes[0] - scaling.bias_column))
    x = noise * scaling.scale + scaling.shift
    return x, {"features": x}


def predicted(
    mlp: xpmlp.MLP,
    params: dict[str, np.ndarray],
    x: Any,
    preparation: Preparation,
    dtype: str,
) -> np.ndarray:
    """Return what a network says of raw rows, computed in a type."""
    backend = xpmlp.select_backend("cpu", dtype)
    exact = {name: array.astype(dtype) for name, array in params.items()}
    return xpmlp.Trained(mlp, exact, preparation, backend).outputs(x)

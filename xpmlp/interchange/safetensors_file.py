"""safetensors: weights under the names that torch's nn.Sequential has for them.

Linear layers and activations take turns there, so layer l is number 2 (l − 1): "0.weight"
(fan_out, fan_in), "0.bias", "2.weight", ... The network and the scaling of its features are in
the file's metadata, as JSON under "xpmlp".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpmlp.data.normalization import Normalization
from xpmlp.errors import CheckpointError, DataError, UsageError
from xpmlp.files import parse_json, read_whole, write_whole
from xpmlp.interchange.layers import layers_of
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.losses import LOSSES
from xpmlp.mathematics.mlp import MLP
from xpmlp.rules import RECORD, checked, either, one_of, optional, several

_NAME = re.compile(r"(.*\.)?(\d+)\.(weight|bias)")


def save_safetensors(
    path: str | Path,
    mlp: MLP,
    params: Mapping[str, np.ndarray],
    normalization: Normalization | None = None,
) -> None:
    """Write a network's weights; host arrays in.

    The features that they expect are scaled already: `normalization` is written down beside them.
    Raises `UsageError` without the package safetensors, `OutputError` where it cannot be
    written.
    """
    normalization = normalization or Normalization()
    tensors = {}
    for number, layer in enumerate(layers_of(mlp, params, normalization)):
        tensors[f"{2 * number}.weight"] = np.ascontiguousarray(layer.weight.T)
        tensors[f"{2 * number}.bias"] = np.ascontiguousarray(layer.bias)
    record = {
        "activation": mlp.activation,
        "loss": mlp.loss,
        "normalization": {k: v for k, v in normalization.as_record().items() if k != "bias_column"},
    }
    metadata = {"format": "pt", "xpmlp": json.dumps(record)}
    write_whole(Path(path), safetensors_package().save(tensors, metadata=metadata))


class LoadedNetwork(NamedTuple):
    """A network, its parameters on the host, and the scaling that its features have had."""

    mlp: MLP
    params: dict[str, np.ndarray]
    normalization: Normalization


def load_safetensors(
    path: str | Path, *, activation: str | tuple[str, ...] | None = None, loss: str | None = None
) -> LoadedNetwork:
    """Return what a file holds, xpmlp's or of a torch nn.Sequential.

    `activation` and `loss` ("cross_entropy") are those that the file says, which torch's own do
    not: there `activation` is needed. Raises `CheckpointError` for a file that holds no
    such network.
    """
    package, path = safetensors_package(), Path(path)
    try:
        raw = read_whole(path)
        tensors, record = package.load(raw), _record(raw)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # whatever a damaged file makes of the parser
        raise CheckpointError(
            f"{path}: not a safetensors file of float32 or float64 ({error})"
        ) from error
    layers = _layers(tensors, path)
    sizes = (layers[0][0].shape[0], *(weight.shape[1] for weight, _ in layers))
    activation = activation or record.get("activation")
    named = [len(activation)] if isinstance(activation, list | tuple) else []
    if any(count != len(layers) - 1 for count in named):
        raise CheckpointError(f"{path}: {named[0]} activations for {len(layers) - 1} hidden layers")
    if activation is None and len(layers) > 1:
        raise UsageError(f"{path} does not say its hidden layers' activation: name it")
    if isinstance(activation, list):
        activation = tuple(activation)
    mlp = MLP(sizes, activation or "identity", loss or record.get("loss") or "cross_entropy")
    params = {}
    for number, (weight, bias) in enumerate(layers, start=1):
        params[f"layer{number}.weight"], params[f"layer{number}.bias"] = weight, bias
    scaling = record.get("normalization")
    if not scaling:
        return LoadedNetwork(mlp, params, Normalization())
    try:
        found = Normalization.from_record(scaling | {"bias_column": False}, sizes[0])
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return LoadedNetwork(mlp, params, found)


def _layers(tensors: dict[str, np.ndarray], path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weight (fan_in, fan_out) and bias of each layer, in order."""
    found: dict[int, dict[str, np.ndarray]] = {}
    prefixes = set()
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise CheckpointError(f"{path}: {name} is no weight or bias of an nn.Sequential")
        prefixes.add(match[1])
        found.setdefault(int(match[2]), {})[match[3]] = _real(tensor, name, path)
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{path}: layers of several modules ({', '.join(sorted(map(str, prefixes)))}): save "
            "one nn.Sequential by itself"
        )
    numbers = sorted(found)
    for one, other in pairwise(numbers):
        if other - one == 1:
            raise CheckpointError(
                f"{path}: the layers {one} and {other} follow each other without an activation: "
                "make one of them"
            )
    layers = []
    for number, parts in sorted(found.items()):
        weight, bias = parts.get("weight"), parts.get("bias")
        if weight is None or weight.ndim != 2:
            raise CheckpointError(
                f"{path}: layer {number} is not linear: it has no weight (fan_out, fan_in)"
            )
        if bias is None:  # nn.Linear(..., bias=False)
            bias = np.zeros(weight.shape[0], dtype=weight.dtype)
        if bias.shape != weight.shape[:1]:
            raise CheckpointError(
                f"{path}: {number}.bias has the shape {bias.shape} and {number}.weight "
                f"{weight.shape}: they do not fit"
            )
        layers.append((np.ascontiguousarray(weight.T), bias))
    if not layers:
        raise CheckpointError(f"{path}: there are no weights in it")
    if len({array.dtype for layer in layers for array in layer}) > 1:
        raise CheckpointError(f"{path}: weights of several types: convert them to one")
    for (above, _), (below, _) in pairwise(layers):
        if above.shape[1] != below.shape[0]:
            raise CheckpointError(
                f"{path}: a layer of {above.shape[1]} outputs is followed by one of "
                f"{below.shape[0]} inputs: they are no chain"
            )
    return layers


def metadata_of(raw: bytes) -> dict[str, str]:
    """Return the texts that a file says of itself: its header is JSON behind its length."""
    header = parse_json(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    found: dict[str, str] = (
        checked(header, {"__metadata__": optional(RECORD)}).get("__metadata__") or {}
    )
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _record(raw: bytes) -> dict[str, Any]:
    """Return what save_safetensors wrote down, checked; nothing of a file that others wrote."""
    name = one_of(*ACTIVATIONS)
    rules = {
        "activation": optional(either(name, several(name))),
        "loss": optional(one_of(*LOSSES)),
        "normalization": optional(RECORD),
    }
    return checked(parse_json(metadata_of(raw).get("xpmlp", "{}")), rules)


def _real(tensor: np.ndarray, name: str, path: Path) -> np.ndarray:
    """Return a tensor of float32 or float64; half precision becomes float32."""
    if tensor.dtype == np.float16:
        return tensor.astype(np.float32)
    if tensor.dtype not in (np.float32, np.float64):
        raise CheckpointError(f"{path}: {name} is {tensor.dtype}, and weights are real numbers")
    if not np.isfinite(tensor).all():
        raise CheckpointError(f"{path}: {name} holds NaN or infinity")
    return tensor


def safetensors_package() -> ModuleType:
    """Return the package; raises `UsageError` where it is not installed."""
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise UsageError(
            'safetensors files need the package: pip install "xpmlp[safetensors]"'
        ) from error
    found: ModuleType = safetensors.numpy
    return found

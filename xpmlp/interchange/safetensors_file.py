"""safetensors: weights under the names that torch's nn.Sequential has for them.

Linear layers and activations take turns there, so layer l is number 2 (l − 1): "0.weight"
(fan_out, fan_in), "0.bias", "2.weight", ... The network, and what raw data needs before it can take
them, are in the file's metadata, as JSON under "xpmlp".
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

from xpmlp.data.preparation import Preparation
from xpmlp.errors import CheckpointError, DataError, UsageError
from xpmlp.files import parse_json, read_whole, write_whole
from xpmlp.interchange.layers import layers_of, networks_of
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.losses import LOSSES
from xpmlp.mathematics.mlp import MLP
from xpmlp.rules import RECORD, checked, either, one_of, optional, row_of, several, whole

_NAME = re.compile(r"(.*\.)?(\d+)\.(weight|bias)")


def save_safetensors(
    path: str | Path,
    mlp: MLP,
    params: Mapping[str, np.ndarray],
    preparation: Preparation | None = None,
) -> None:
    """Write a network's weights; host arrays in.

    The features that they expect are prepared already: `preparation` is written down beside them.
    Raises `UsageError` without the package safetensors, `OutputError` where it cannot be
    written.
    """
    preparation = preparation or Preparation()
    tensors, members = {}, networks_of(params)
    for member, own in enumerate(members):
        prefix = f"member{member}." if len(members) > 1 else ""
        for number, layer in enumerate(layers_of(mlp, own, preparation.normalization)):
            tensors[f"{prefix}{2 * number}.weight"] = np.ascontiguousarray(layer.weight.T)
            tensors[f"{prefix}{2 * number}.bias"] = np.ascontiguousarray(layer.bias)
    record: dict[str, Any] = {"activation": mlp.activation, "loss": mlp.loss}
    record |= {"members": len(members)} | preparation.as_record()
    # The last row of the first layer is part of its bias in this file.
    record["normalization"].pop("bias_column")
    metadata = {"format": "pt", "xpmlp": json.dumps(record)}
    write_whole(Path(path), safetensors_package().save(tensors, metadata=metadata))


class LoadedNetwork(NamedTuple):
    """A network, its parameters on the host, and what raw data needs before it can take them."""

    mlp: MLP
    params: dict[str, np.ndarray]
    preparation: Preparation


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
    count = record.get("members") or 1
    if count > max(1, len(tensors)):
        raise CheckpointError(f"{path}: {len(tensors)} arrays are not those of {count} members")
    parts = [tensors] if count == 1 else [_of_member(tensors, k) for k in range(count)]
    members = [_layers(part, path) for part in parts]
    layers = members[0]
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
    for number, each in enumerate(zip(*members, strict=True), start=1):
        for place, name in enumerate(("weight", "bias")):
            arrays = [layer[place] for layer in each]
            if len({array.shape for array in arrays}) > 1:
                raise CheckpointError(f"{path}: its members are not of one shape")
            params[f"layer{number}.{name}"] = arrays[0] if count == 1 else np.stack(arrays)
    if record.get("normalization"):
        record["normalization"] |= {"bias_column": False}
    try:
        found = Preparation.from_record(record, mlp)
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return LoadedNetwork(mlp, params, found)


def _of_member(tensors: dict[str, np.ndarray], member: int) -> dict[str, np.ndarray]:
    prefix = f"member{member}."
    return {k.removeprefix(prefix): a for k, a in tensors.items() if k.startswith(prefix)}


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
        "loss": optional(row_of(LOSSES)),
        "members": optional(whole(1)),
        **dict.fromkeys(("normalization", "targets", "encoding"), optional(RECORD)),
        "image_shape": optional(several(whole(1))),
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

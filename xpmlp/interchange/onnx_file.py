"""ONNX: a network that takes features as they are stored, scales them, and says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.normalization import Normalization
from xpmlp.errors import UsageError
from xpmlp.files import write_whole
from xpmlp.interchange.layers import layers_of
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.mlp import MLP

# Old enough for any runtime of the last years; all that is used here has not changed since.
_OPSET, _IR_VERSION = 17, 8


def save_onnx(
    path: str | Path,
    mlp: MLP,
    params: Mapping[str, np.ndarray],
    normalization: Normalization | None = None,
) -> None:
    """Write a network to an ONNX file, with the scaling of its features inside.

    Input "features" (N, F) in the weights' dtype; outputs "probabilities" (of a regression
    "values" or "counts") and, before softmax or sigmoid, "logits". Host arrays in.
    Raises `UsageError` without the package onnx, `OutputError` where it cannot be written.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ModuleNotFoundError as error:
        raise UsageError('ONNX needs the package onnx: pip install "xpmlp[onnx]"') from error
    normalization = normalization or Normalization()
    layers = layers_of(mlp, params, normalization)
    graph = _Graph(layers[0].weight.dtype)
    h = graph.scaled("features", normalization)
    for number, layer in enumerate(layers, start=1):
        names = [h, f"layer{number}.weight", f"layer{number}.bias"]
        graph.constants |= {names[1]: layer.weight, names[2]: layer.bias}
        z = "logits" if layer.activation is None else f"layer{number}.z"
        graph.node("Gemm", names, z)
        h = z if layer.activation is None else graph.activated(z, layer.activation, number)
    meaning, operator = mlp.loss_function.link.predicts, mlp.loss_function.link.onnx
    graph.node(operator, ["logits"], meaning, **({"axis": -1} if operator == "Softmax" else {}))
    kind = helper.np_dtype_to_tensor_dtype(graph.dtype)
    features, outputs = layers[0].weight.shape[0], mlp.sizes[-1]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(*node, **settings) for node, settings in graph.nodes],
            "xpmlp",
            [helper.make_tensor_value_info("features", kind, ["N", features])],
            [
                helper.make_tensor_value_info(name, kind, ["N", outputs])
                for name in (meaning, "logits")
            ],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        producer_name="xpmlp",
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    network = {"sizes": mlp.sizes, "activation": mlp.activation, "loss": mlp.loss}
    helper.set_model_props(model, {"network": json.dumps(network)})
    onnx.checker.check_model(model, full_check=True)
    write_whole(Path(path), model.SerializeToString())


class _Graph:
    """Nodes and constants as they come together."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[tuple[tuple[str, list[str], list[str]], dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}

    def node(self, operator: str, inputs: list[str], output: str, **settings: Any) -> str:
        """Add an operation; return its output's name."""
        self.nodes.append(((operator, inputs, [output]), settings))
        return output

    def constant(self, name: str, value: Any) -> str:
        """Add a constant; return its name."""
        self.constants[name] = np.asarray(value, dtype=self.dtype)
        return name

    def scaled(self, x: str, normalization: Normalization) -> str:
        """Add (x − shift) / scale, with what it leaves as it is left out."""
        if np.any(np.asarray(normalization.shift) != 0):
            shift = self.constant("shift", normalization.shift)
            x = self.node("Sub", [x, shift], "shifted")
        if np.any(np.asarray(normalization.scale) != 1):
            scale = self.constant("one_over_scale", 1.0 / np.asarray(normalization.scale))
            x = self.node("Mul", [x, scale], "scaled")
        return x

    def activated(self, z: str, activation: str, number: int) -> str:
        """Add a = f(z), operator by operator."""
        operators = ACTIVATIONS[activation].onnx
        if not operators:
            raise UsageError(f"the activation {activation} is not known to ONNX: choose another")
        for place, (operator, setting) in enumerate(operators):
            name = f"layer{number}.a{place}"
            if isinstance(setting, float):
                factor = self.constant(f"{name}.factor", setting)
                z = self.node(operator, [z, factor], name)
            else:
                z = self.node(operator, [z], name, **setting)
        return z

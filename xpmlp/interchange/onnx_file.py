"""ONNX: a network that takes features as they are stored, scales them, and says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.normalization import Normalization
from xpmlp.data.preparation import Preparation
from xpmlp.errors import UsageError
from xpmlp.files import write_whole
from xpmlp.interchange.layers import Layer, layers_of, networks_of
from xpmlp.interchange.onnx_columns import add_columns
from xpmlp.interchange.onnx_graph import Graph
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.mlp import MLP

# Old enough for any runtime of the last years; all that is used here has not changed since.
_OPSET, _IR_VERSION = 17, 8


def save_onnx(
    path: str | Path,
    mlp: MLP,
    params: Mapping[str, np.ndarray],
    preparation: Preparation | None = None,
) -> None:
    """Write a network to an ONNX file, with what raw data needs inside.

    Input "features" (N, F) in the weights' dtype, or in float64 where float32 would lose what makes
    large features differ; of a table an input (N, 1) per column, numbers in float64 and texts as
    texts. Outputs "probabilities" (of a regression "values" or "counts", in
    their own unit) and, of a single network, before softmax or sigmoid "logits"; of a stack it is
    the mean over its members. Host arrays in.
    Raises `UsageError` without the package onnx, `OutputError` where it cannot be written.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ModuleNotFoundError as error:
        raise UsageError('ONNX needs the package onnx: pip install "xpmlp[onnx]"') from error
    preparation = preparation or Preparation()
    networks = [layers_of(mlp, own, preparation.normalization) for own in networks_of(params)]
    graph = Graph(networks[0][0].weight.dtype)
    kind = helper.np_dtype_to_tensor_dtype(graph.dtype)
    if preparation.encoding is None:
        scaling, width = preparation.normalization, networks[0][0].weight.shape[0]
        exact = _needs_float64(scaling)
        features = graph.input("features", np.dtype("float64") if exact else graph.dtype, width)
        features = _scaled(graph, features, scaling, "float64" if exact else None)
        if exact and graph.dtype != "float64":
            features = graph.node("Cast", [features], "features.cast", to=kind)
    else:
        features = add_columns(graph, preparation.encoding, kind)
    meaning, unit = mlp.loss_function.link.predicts, None
    if preparation.targets is not None:
        unit = preparation.targets.scaling
    said = "xpmlp.scaled_values" if unit else meaning
    if len(networks) == 1:
        _network(graph, features, networks[0], mlp, "", said)
    else:
        each = [
            _network(graph, features, layers, mlp, f"member{k}.", f"member{k}.{said}")
            for k, layers in enumerate(networks)
        ]
        total = graph.node("Sum", each, "members.sum")  # runtimes have no Mean of float64
        graph.node("Mul", [total, graph.constant("members.share", 1 / len(each))], said)
    if unit is not None:  # values in their own unit
        product = graph.node(
            "Mul", [said, graph.constant("xpmlp.unit", unit.scale)], "xpmlp.in_units"
        )
        graph.node("Add", [product, graph.constant("xpmlp.mean", unit.shift)], meaning)
    told = [meaning, "logits"] if len(networks) == 1 else [meaning]
    twice = sorted({name for name, _, _ in graph.inputs} & graph.inner_names)
    if twice:
        raise UsageError(
            f"a column is called {twice[0]!r}, as a part of the ONNX network is: rename the column "
            "and train again, or write a .safetensors file"
        )
    outputs = mlp.sizes[-1]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(*node, **settings) for node, settings in graph.nodes],
            "xpmlp",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(dtype), ["N", width]
                )
                for name, dtype, width in graph.inputs
            ],
            [helper.make_tensor_value_info(name, kind, ["N", outputs]) for name in told],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        producer_name="xpmlp",
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=_IR_VERSION,
    )
    network: dict[str, Any] = {"sizes": mlp.sizes, "activation": mlp.activation, "loss": mlp.loss}
    network["names"] = list(preparation.targets.names) if preparation.targets else None
    helper.set_model_props(model, {"network": json.dumps(network)})
    onnx.checker.check_model(model, full_check=True)
    write_whole(Path(path), model.SerializeToString())


def _network(graph: Graph, h: str, layers: list[Layer], mlp: MLP, prefix: str, output: str) -> str:
    """Add a network's layers, and the link of its outputs; return their name."""
    for number, layer in enumerate(layers, start=1):
        own = f"{prefix}layer{number}"
        names = [h, f"{own}.weight", f"{own}.bias"]
        graph.constants |= {names[1]: layer.weight, names[2]: layer.bias}
        z = f"{prefix}logits" if layer.activation is None else f"{own}.z"
        graph.node("Gemm", names, z)
        h = z if layer.activation is None else _activated(graph, z, layer.activation, own)
    operator = mlp.loss_function.link.onnx
    if not operator:
        raise UsageError(f"what the loss {mlp.loss} predicts is not known to ONNX: choose another")
    axis = {"axis": -1} if operator == "Softmax" else {}
    return graph.node(operator, [h], output, **axis)


def _needs_float64(normalization: Normalization) -> bool:
    """Tell whether features are so large beside what they differ by that float32 loses it."""
    return bool(np.any(np.abs(normalization.shift) > 1e3 * np.abs(normalization.scale)))


def _scaled(graph: Graph, x: str, normalization: Normalization, dtype: Any) -> str:
    """Add (x − shift) / scale, with what it leaves as it is left out."""
    if np.any(np.asarray(normalization.shift) != 0):
        shift = graph.constant("shift", normalization.shift, dtype)
        x = graph.node("Sub", [x, shift], "shifted")
    if np.any(np.asarray(normalization.scale) != 1):
        scale = graph.constant("scale", normalization.scale, dtype)
        x = graph.node("Div", [x, scale], "scaled")
    return x


def _activated(graph: Graph, z: str, activation: str, own: str) -> str:
    """Add a = f(z), operator by operator."""
    operators = ACTIVATIONS[activation].onnx
    if not operators:
        raise UsageError(f"the activation {activation} is not known to ONNX: choose another")
    a = z
    for place, (operator, setting) in enumerate(operators):
        name = f"{own}.a{place}"
        if isinstance(setting, dict):
            a = graph.node(operator, [a], name, **setting)
        else:
            other = z if setting == "z" else graph.constant(f"{name}.number", setting)
            a = graph.node(operator, [a, other], name)
    return a

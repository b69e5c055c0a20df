"""The encoding of a table's columns, in the operators of ONNX: an input per column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpmlp.data.tables.codes import BEND, FAR, PERIODS, CategoryCode, DateCode, NumberCode
from xpmlp.data.tables.encoding import Encoding
from xpmlp.interchange.onnx_graph import Graph


def add_columns(graph: Graph, encoding: Encoding, kind: int) -> str:
    """Add what makes features of columns, as numbers of ONNX's type `kind`; return their name.

    Numbers are inputs of float64 with NaN for missing ones, dates seconds since 1970, categories
    texts with the empty one for missing ones.
    """
    parts = []
    for number, code in enumerate(encoding.codes):
        found = _WRITERS[type(code)](graph, code, f"xpmlp.column{number}")
        parts += [graph.node("Cast", [part], f"{part}.cast", to=kind) for part in found]
    return graph.node("Concat", parts, "xpmlp.encoded", axis=1)


def _number(graph: Graph, code: NumberCode | DateCode, own: str) -> list[str]:
    """Add (x − median) / spread, bent, the piecewise linear code, and what is missing."""
    x, absent = _known(graph, code, own)
    raw = _with(graph, "Div", _with(graph, "Sub", x, code.median), code.spread)
    far = [graph.constant(f"{own}.{end:g}", end, np.float64) for end in (-FAR, FAR)]
    z = graph.node("Clip", [raw, *far], f"{own}.z")
    bent = _with(graph, "Div", z, BEND)
    square = _with(graph, "Add", graph.node("Mul", [bent, bent], f"{own}.square"), 1.0)
    root = graph.node("Sqrt", [square], f"{own}.root")
    parts = [graph.node("Div", [z, root], f"{own}.bent")]
    if code.quantiles:
        low, high = np.array(code.quantiles[:-1]), np.array(code.quantiles[1:])
        place = _with(graph, "Div", _with(graph, "Sub", x, low), high - low)
        ends = [graph.constant(f"{own}.{end:g}", end, np.float64) for end in (0.0, 1.0)]
        parts.append(graph.node("Clip", [place, *ends], f"{own}.places"))
    return [*parts, absent] if code.missing else parts


def _known(graph: Graph, code: NumberCode | DateCode, own: str) -> tuple[str, str]:
    """Add x with the median where it is missing, and where that is."""
    raw = graph.input(code.name, np.dtype(np.float64), 1)
    absent = graph.node("IsNaN", [raw], f"{own}.absent")
    median = graph.constant(f"{own}.median", code.median, np.float64)
    return graph.node("Where", [absent, median, raw], f"{own}.known"), absent


def _with(graph: Graph, operator: str, x: str, value: Any) -> str:
    """Add an operation with a constant."""
    name = f"{x}.{operator}{len(graph.nodes)}"
    return graph.node(operator, [x, graph.constant(f"{name}.by", value, np.float64)], name)


def _date(graph: Graph, code: DateCode, own: str) -> list[str]:
    """Add the place in time, and the phases of the day, week and year."""
    parts, x = _number(graph, code, own), f"{own}.known"
    for period in code.periods:
        turns = graph.node(
            "Div",
            [x, graph.constant(f"{own}.{period}", PERIODS[period], "f8")],
            f"{own}.{period}.turns",
        )
        whole = graph.node("Floor", [turns], f"{own}.{period}.whole")
        rest = graph.node("Sub", [turns, whole], f"{own}.{period}.rest")
        phase = _with(graph, "Mul", rest, 2 * np.pi)
        sin = graph.node("Sin", [phase], f"{own}.{period}.sin")
        quarter = _with(graph, "Add", phase, np.pi / 2)
        cos = graph.node("Sin", [quarter], f"{own}.{period}.cos")
        parts += [sin, cos]
    return parts


def _category(graph: Graph, code: CategoryCode, own: str) -> list[str]:
    """Add the row with a 1 at the category, and the feature that the others share."""
    raw = graph.input(code.name, np.dtype(np.str_), 1)
    names = ["" if category is None else category for category in code.categories]
    settings = {"domain": "ai.onnx.ml", "cats_strings": names, "zeros": 1}
    each = graph.node("OneHotEncoder", [raw], f"{own}.each", **settings)
    shape = graph.constant(f"{own}.shape", [-1, len(names)], np.int64)
    row = graph.node("Reshape", [each, shape], f"{own}.row")
    if not code.others:
        return [row]
    axes = graph.constant(f"{own}.axes", [1], np.int64)
    known = graph.node("ReduceSum", [row, axes], f"{own}.sum", keepdims=1)
    one = graph.constant(f"{own}.one", 1.0, np.float32)
    return [row, graph.node("Sub", [one, known], f"{own}.others")]


_WRITERS: dict[type, Callable[..., list[str]]] = {
    NumberCode: _number,
    DateCode: _date,
    CategoryCode: _category,
}

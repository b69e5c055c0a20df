"""An ONNX graph as it comes together: inputs, operations and constants by name."""

from __future__ import annotations

from typing import Any

import numpy as np


class Graph:
    """Operations in order. Constants are of `dtype`, unless they say another."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.inputs: list[tuple[str, Any, int]] = []
        self.nodes: list[tuple[tuple[str, list[str], list[str]], dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}

    def input(self, name: str, kind: Any, width: int) -> str:
        """Add an input (N, width) of a numpy type; return its name."""
        self.inputs.append((name, kind, width))
        return name

    @property
    def inner_names(self) -> set[str]:
        """The names of constants, and of what operations give."""
        return {
            *self.constants,
            *(output for (_, _, outputs), _ in self.nodes for output in outputs),
        }

    def node(self, operator: str, inputs: list[str], output: str, **settings: Any) -> str:
        """Add an operation; return its output's name."""
        self.nodes.append(((operator, inputs, [output]), settings))
        return output

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        """Add a constant; return its name."""
        self.constants[name] = np.asarray(value, dtype=dtype or self.dtype)
        return name

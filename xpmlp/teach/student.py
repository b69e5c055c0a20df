"""Somebody's functions, as they are called here: what goes in, what comes out, what they raise."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from xpmlp.errors import UsageError, check_known
from xpmlp.mathematics.mlp import MLP
from xpmlp.teach.layout import Layout

FUNCTIONS = (
    "one_hot",
    "prepare",
    "batches",
    "initialize",
    "softmax",
    "forward",
    "loss",
    "gradients",
    "update",
    "step",
)
TARGETS = ("one_hot", "ids", "values")


class RaisedError(Exception):
    """One of the functions has raised; `name` is its name, `error` what it raised."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(f"{name}: {error!r}")
        self.name, self.error = name, error


@dataclass
class Student:
    """Functions by their names, and what is known of the network that they are of.

    `targets`: how they take y: "one_hot" rows, class "ids", or "values". `columns`: whether
    examples are columns (None: it is found out). `params`: some in the author's structure, whose
    numbers do not matter. `learning_rate` is the one that the author trains with.
    """

    functions: Mapping[str, Callable[..., Any]]
    mlp: MLP
    targets: str = "one_hot"
    columns: bool | None = None
    params: Any = None
    learning_rate: float | None = None
    layout: Layout | None = field(default=None, init=False)
    said: io.StringIO = field(default_factory=io.StringIO, init=False)

    def __post_init__(self) -> None:
        check_known("targets", self.targets, TARGETS)
        for name in self.functions:
            check_known("function", name, FUNCTIONS)
        if not self.functions:
            raise UsageError(
                f"there is no function to look at: give some of {', '.join(FUNCTIONS)}"
            )

    def has(self, *names: str) -> bool:
        """Tell whether all of these functions are there."""
        return all(name in self.functions for name in names)

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what a function returns; what it prints is kept apart.

        Raises `RaisedError`.
        """
        with self._apart(name):
            return self.functions[name](*arguments)

    def takes(self, name: str) -> int:
        """Return how many arguments a function takes."""
        try:
            kinds = inspect.signature(self.functions[name]).parameters.values()
        except (TypeError, ValueError):
            return 0
        return sum(
            kind.kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD) for kind in kinds
        )

    def x_of(self, x: np.ndarray) -> np.ndarray:
        """Return rows of features as the functions take them."""
        return x.T.copy() if self.by_columns else x.copy()

    def y_of(self, y: np.ndarray) -> np.ndarray:
        """Return rows of targets as the functions take them."""
        if self.targets == "ids":
            return np.array(y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0].astype(int))
        return y.T.copy() if self.by_columns else y.copy()

    def each(self, name: str, *arguments: Any) -> list[Any]:
        """Return what a function gives one after another, as a list or as a generator."""
        found = self.call(name, *arguments)
        with self._apart(name):
            return list(found)

    def rows(self, outputs: Any) -> np.ndarray:
        """Return outputs as rows (N, K), in float64."""
        array = np.asarray(outputs, dtype=np.float64)
        return array.T if self.by_columns else array

    def outputs(self, params: Any, x: np.ndarray) -> np.ndarray:
        """Return what `forward` makes of rows: its first result, as rows."""
        return self.rows(first_of(self.call("forward", params, self.x_of(x))))

    def loss_of(self, params: Any, x: np.ndarray, y: np.ndarray) -> float:
        """Return the loss of rows."""
        if self.takes("loss") == 3:
            found = self.call("loss", params, self.x_of(x), self.y_of(y))
        else:
            outputs = first_of(self.call("forward", params, self.x_of(x)))
            found = self.call("loss", outputs, self.y_of(y))
        with self._apart("loss"):
            return float(np.asarray(first_of(found)).reshape(()))

    def gradients_of(self, params: Any, x: np.ndarray, y: np.ndarray) -> Any:
        """Return the gradients as they are returned; of (loss, gradients) the second."""
        found = self.call("gradients", params, self.x_of(x), self.y_of(y))
        if isinstance(found, tuple) and len(found) == 2 and _is_number(found[0]):
            found = found[1]
        if isinstance(found, dict) and isinstance(params, dict) and found.keys() == params.keys():
            return {name: found[name] for name in params}
        return found

    @property
    def by_columns(self) -> bool:
        """Whether examples are columns, as far as that is known."""
        return bool(self.layout.columns if self.layout is not None else self.columns)

    @contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        try:
            with redirect_stdout(self.said), np.errstate(all="ignore"):
                yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise RaisedError(name, error) from error


def first_of(result: Any) -> Any:
    """Return the first of several results."""
    several = isinstance(result, tuple | list) and len(result) > 0
    return result[0] if several else result


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.generic) or getattr(value, "shape", None) == ()

"""What lies between raw data and a network: encoding and scaling before it, names after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Self

import numpy as np

from xpmlp.backends.exchange import on_host
from xpmlp.data.checks import checked_features
from xpmlp.data.normalization import Normalization
from xpmlp.data.tables.encoding import Encoding
from xpmlp.data.tables.streamed import TableRows
from xpmlp.data.tables.table import table_of
from xpmlp.data.targets import Targets
from xpmlp.errors import DataError
from xpmlp.mathematics.mlp import MLP
from xpmlp.rules import several, shown, whole


@dataclass(frozen=True)
class Preparation:
    """What a network was trained with, and needs again for other rows.

    `normalization` scales raw features; `encoding` makes features of a table's columns, None for
    arrays; `targets` say what the outputs mean, None where only their numbers are known;
    `image_shape` is that of a row as a picture, where it is one.
    """

    normalization: Normalization = field(default_factory=Normalization)
    targets: Targets | None = None
    encoding: Encoding | None = None
    image_shape: tuple[int, ...] | None = None

    def features_of(self, x: Any) -> np.ndarray:
        """Return raw rows as features (N, F): those of a table encoded, not scaled yet.

        Raises `DataError` for what the network was not trained on.
        """
        if self.encoding is not None:
            return self.encoding.encoded(table_of(x))
        return checked_features(np.asarray(on_host(x)), "the features")

    def groups(self, features: int) -> dict[str, slice]:
        """Return which of so many features belong to each column, or to each raw feature."""
        if self.encoding is None:
            return {f"feature {k}": slice(k, k + 1) for k in range(features)}
        found, start = {}, 0
        for code in self.encoding.codes:
            found[code.name] = slice(start, start := start + len(code.features))
        return found

    def applied(self, examples: Any) -> Any:
        """Return examples as they were read, prepared: ready for a device and the network."""
        if isinstance(examples, TableRows):
            if self.encoding is None:
                raise DataError("the network was trained on arrays, and these are rows of a table")
            examples = examples.encoded(self.encoding)
        return examples.normalized(self.normalization, self.targets and self.targets.scaling)

    def as_record(self) -> dict[str, Any]:
        """Return it as plain values, for a run's record."""
        return {
            "normalization": self.normalization.as_record(),
            "targets": self.targets and self.targets.as_record(),
            "encoding": self.encoding and self.encoding.as_record(),
            "image_shape": self.image_shape and list(self.image_shape),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], mlp: MLP) -> Self:
        """Return what `as_record` wrote down, whatever else is there; raises `DataError`."""
        width, outputs = mlp.sizes[0], mlp.sizes[-1]
        scaling, targets, encoding = (
            record.get(name) for name in ("normalization", "targets", "encoding")
        )
        own = Normalization.from_record(scaling, width) if scaling is not None else Normalization()
        found = Targets.from_record(targets, outputs) if targets is not None else None
        if found and (found.task == "regression") != (mlp.loss_function.link.predicts == "values"):
            one_hot = found.task == "classification" and mlp.loss_function.link.predicts == "values"
            if not one_hot:
                raise DataError(f"targets: a {found.task}, and the network has the loss {mlp.loss}")
        raw = width - own.bias_column
        columns = Encoding.from_record(encoding, raw) if encoding is not None else None
        shape = record.get("image_shape")
        if shape is None:
            return cls(own, found, columns)
        if not several(whole(1)).holds(shape) or prod(shape) != raw:
            raise DataError(f"image_shape is {shown(shape)}, and the network has {raw} features")
        return cls(own, found, columns, tuple(shape))

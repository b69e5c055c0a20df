"""Names for the types of the Array API standard, which defines behaviour and no Python classes."""

from __future__ import annotations

from typing import Any, TypeAlias

# An array of whatever library is at hand, and that library's module of functions.
Array: TypeAlias = Any
Namespace: TypeAlias = Any

# Parameters, gradients and optimiser moments of a network, under the same names:
# "layer1.weight", "layer1.bias", ...
Params: TypeAlias = dict[str, Array]

"""Arrays of other libraries in and out: no copy where the memory is the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from xpmlp.arrays import Array, Namespace
from xpmlp.backends.base import Backend
from xpmlp.errors import UsageError

# Device types of DLPack's C header; all others are the host's memory.
_CUDA, _CUDA_MANAGED = 2, 13


@dataclass(frozen=True)
class Kind:
    """Which library an array is of, and where it lies: what a result is given back as.

    `namespace` is None for numpy and for whatever numpy can read; `device_name` is where it is
    computed on unless told otherwise: "cpu" for the host's memory, "gpu:N", "mps", "tpu:N", ...
    """

    namespace: Namespace = None
    device: Any = None
    device_name: str = "cpu"

    def __str__(self) -> str:
        return "numpy" if self.namespace is None else f"{self.library} on {self.device}"

    @property
    def on_host(self) -> bool:
        """Whether it lies in the host's memory."""
        return self.device_name == "cpu"

    @property
    def library(self) -> str:
        """The library's name, as `select_backend` knows it."""
        if self.namespace is None:
            return "numpy"
        name: str = self.namespace.__name__
        return name.removeprefix("array_api_compat.").removesuffix(".numpy")


def kind_of(array: Any) -> Kind:
    """Return the kind of an array; lists, data frames and the like are read by numpy."""
    if not array_api_compat.is_array_api_obj(array) or array_api_compat.is_numpy_array(array):
        return Kind()
    if not hasattr(array, "__dlpack_device__"):
        return Kind()
    namespace, device = array_api_compat.array_namespace(array), array_api_compat.device(array)
    return Kind(namespace, device, _device_name(array, device))


def _device_name(array: Any, device: Any) -> str:
    """Return the name of the device that an array lies on."""
    if array_api_compat.is_torch_array(array):
        name = device.type if device.index is None else f"{device.type}:{device.index}"
        return str(name).replace("cuda", "gpu")
    if array_api_compat.is_jax_array(array):
        platform, number = getattr(device, "platform", "cpu"), getattr(device, "id", 0)
        return "cpu" if platform == "cpu" else f"{platform}:{number}"
    where, number = array.__dlpack_device__()
    return f"gpu:{int(number)}" if int(where) in (_CUDA, _CUDA_MANAGED) else "cpu"


def on_host(array: Any) -> Any:
    """Return an array of another library as numpy's: a view of host memory, a copy of a GPU's.

    What is no array of such a library is returned as it is.
    """
    kind = kind_of(array)
    if kind.namespace is None:
        return array
    if array_api_compat.is_torch_array(array):
        array = array.detach()
    try:
        if array_api_compat.is_jax_array(array):
            return np.asarray(array)
        there = array if kind.on_host else array_api_compat.to_device(array, "cpu")
        return np.from_dlpack(there)
    except (RuntimeError, BufferError, TypeError) as error:
        raise ValueError(
            f"an array of {kind} and dtype {array.dtype} cannot be read here ({error}): give dense "
            "arrays of float32 or float64"
        ) from error


def from_any(array: Any, backend: Backend) -> Array:
    """Return an array of any library as the backend's own, without a copy where that can be.

    Raises `UsageError` for an array on a device that this backend does not compute on.
    """
    kind = kind_of(array)
    if kind.namespace is not None and _is_of(kind, backend):
        return array.detach() if backend.name == "torch" else array
    if kind.on_host:
        host = np.asarray(on_host(array))
        return host if backend.on_host else backend.to_device(host)
    if kind.device_name != backend.device_name:
        raise UsageError(
            f"an array lies on {kind.device_name} and the device to compute on is "
            f"{backend.device_name}: leave device out, or move the array"
        )
    if array_api_compat.is_torch_array(array):
        array = array.detach()
    return backend.xp.from_dlpack(array)


def _is_of(kind: Kind, backend: Backend) -> bool:
    return (kind.library, kind.device_name) == (backend.name, backend.device_name)


def to_kind(array: Array, backend: Backend, kind: Kind) -> Any:
    """Return a backend's array as one of a kind, without a copy where that can be."""
    if kind.namespace is not None and _is_of(kind, backend):
        return array
    if not kind.on_host and kind.device_name == backend.device_name:
        return kind.namespace.from_dlpack(array)
    host = array if backend.on_host else backend.to_host(array)
    if kind.namespace is None:
        return host
    return kind.namespace.asarray(host, device=kind.device)

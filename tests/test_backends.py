from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from conftest import MakeBackend
from strict_backend import StrictBackend, strict_rules

from xpmlp.backends import Backend, select_backend
from xpmlp.errors import DeviceError, UsageError


def test_cpu_is_numpy_in_the_dtype_asked_for() -> None:
    backend = select_backend("cpu", "float64")
    assert (backend.name, backend.device_name, backend.dtype_name) == ("numpy", "cpu", "float64")
    assert isinstance(backend.xp.ones(1), np.ndarray)


@pytest.mark.parametrize("device", ["tpu", "gpu:", "gpu:x", "cpu:0", ""])
def test_unknown_device_lists_the_known_ones(device: str) -> None:
    with pytest.raises(UsageError, match="is not known: choose cpu, gpu or gpu:N"):
        select_backend(device)


def test_unknown_dtype_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'float16' is not offered: .* float32, float64"):
        select_backend("cpu", "float16")


def test_arrays_on_the_cpu_begin_where_a_vector_unit_reads() -> None:
    backend = select_backend("cpu")
    for host in (np.eye(3), np.arange(10)[::-3], np.asfortranarray(np.ones((2, 3), "float32"))):
        moved = [backend.to_device(host) for _ in range(8)]
        assert {array.ctypes.data % 64 for array in moved} == {0}
        np.testing.assert_array_equal(moved[-1], host)


def test_transfer_copies_and_keeps_values(make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    host = np.array([[1.5, 2.5]])
    array = backend.to_device(host)
    assert array.dtype == backend.dtype
    host[0, 0] = 9
    back = backend.to_host(array)
    np.testing.assert_array_equal(back, [[1.5, 2.5]])
    back[0, 0] = 9
    np.testing.assert_array_equal(backend.to_host(array), [[1.5, 2.5]])
    assert backend.to_host(backend.to_device(np.array([3], dtype=np.int64))).dtype == np.int64


@dataclass
class Pieces:
    slices: list[slice]

    def add(self, other: Self) -> None:
        self.slices += other.slices

    def multiply_out(self) -> None:
        pass

    def items(self) -> Any:
        return ()

    def update(self, arrays: Any) -> None:
        pass


@pytest.mark.parametrize("examples", [1, 9, 10, 11, 35])
def test_pieces_cover_every_row_once(backend: Backend, examples: int) -> None:
    backend.piece_size = 10
    pieces = backend.sum_over_examples(lambda piece: Pieces([piece]), examples)
    rows = [row for piece in pieces.slices for row in range(piece.start, piece.stop)]
    assert sorted(rows) == list(range(examples))
    assert max(piece.stop - piece.start for piece in pieces.slices) <= 10


def test_strict_rules_bite() -> None:
    """The stand-in for a GPU refuses what a GPU would wait for or could not record."""
    backend = StrictBackend("float64")
    x = backend.to_device(np.array([1.0, -1.0]))
    with strict_rules():
        for read in (float, bool, int):
            with pytest.raises(AssertionError, match="reads an array on the host"):
                read(x[0])
        with pytest.raises(RuntimeError, match="boolean"):
            x[x > 0]
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            backend.xp.nonzero(x)
        with pytest.raises(TypeError):
            x + np.ones(2)


class CUDARuntimeError(RuntimeError):
    pass


def stand_in_cupy(count: int | str = 1, driver: int = 13020, **parts: Any) -> ModuleType:
    """A module with just enough of CuPy's names; `count` may be an error's text."""

    def device_count() -> int:
        if isinstance(count, str):
            raise CUDARuntimeError(count)
        return count

    cupy = ModuleType("cupy")
    parts["cuda"] = SimpleNamespace(
        runtime=SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=device_count,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: 13020,
        ),
        Device=lambda _: SimpleNamespace(use=lambda: None),
    )
    for name, value in parts.items():
        setattr(cupy, name, value)
    return cupy


class Gettable(float):
    """A number that can be fetched from a device."""

    def __mul__(self, other: object) -> Self:
        return self

    __add__ = __mul__

    def get(self) -> float:
        return self


def missing_library(*_: object, **__: object) -> None:
    raise ImportError('Failure finding "libcublasLt.so.13": No such file\nmore lines')


INSUFFICIENT = "cudaErrorInsufficientDriver: CUDA driver version is insufficient"
UNUSABLE = {
    "no cupy": (None, "gpu", r'needs CuPy, which is not installed: pip install "cupy-cuda13x'),
    "no driver": (stand_in_cupy(INSUFFICIENT, driver=0), "gpu", "no NVIDIA driver was found"),
    "old driver": (
        stand_in_cupy(INSUFFICIENT, driver=12020),
        "gpu",
        r"serves CUDA 12\.2 and this CuPy needs 13\.2: update the driver",
    ),
    "no gpu": (
        stand_in_cupy("cudaErrorNoDevice: no CUDA-capable device is detected"),
        "gpu",
        "reports no GPU: check nvidia-smi",
    ),
    "other cause": (
        stand_in_cupy("cudaErrorUnknown: unknown error"),
        "gpu",
        r"runtime does not start \(cudaErrorUnknown",
    ),
    "no such device": (stand_in_cupy(2), "gpu:2", "no device gpu:2: this machine has gpu:0, gpu:1"),
    "no nvrtc": (stand_in_cupy(arange=missing_library), "gpu", "cannot compile a kernel"),
    "no cublas": (
        stand_in_cupy(
            arange=lambda *_, **__: Gettable(),
            eye=np.eye,
            matmul=missing_library,
        ),
        "gpu",
        r"cannot multiply two matrices \(Failure finding .*: CuPy lacks a CUDA library",
    ),
}


@pytest.mark.parametrize(("cupy", "device", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_gpu_says_why(
    monkeypatch: pytest.MonkeyPatch, cupy: ModuleType | None, device: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", ModuleType("stand_in"))
    with pytest.raises(DeviceError, match=message) as caught:
        select_backend(device)
    assert "\n" not in str(caught.value)


def test_broken_cupy_names_the_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock")

    monkeypatch.setattr("xpmlp.backends.cuda.cupy_backend.importlib.import_module", fail)
    with pytest.raises(DeviceError, match="lacks the module fastrlock: reinstall"):
        select_backend("gpu")

"""CUDA written by hand, compiled by g++ and run on numpy's arrays: what CuPy would do with it."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# A block's threads are threads here, too, which wait for each other.
_BLOCKS = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using std::exp;
using std::log;
struct Index { int x, y; };
static thread_local Index threadIdx, blockIdx;
static Index gridDim;
static std::barrier<>* together;
#define __global__
#define __shared__ static
static void __syncthreads() { together->arrive_and_wait(); }
"""
_LAUNCH = """
extern "C" void launch(int x, int y, int threads, void** a) {
    gridDim = {x, y};
    for (int block = 0; block < x * y; ++block) {
        std::barrier<> all(threads);
        together = &all;
        std::vector<std::thread> team;
        for (int t = 0; t < threads; ++t)
            team.emplace_back([=] {
                threadIdx = {t, 0};
                blockIdx = {block % x, block / x};
                NAME(ARGUMENTS);
            });
        for (auto& one : team) one.join();
    }
}
"""
_RAW = """
template <class T> struct Raw {
    const T* values; long long sizes[2];
    const T& operator[](long long i) const { return values[i]; }
    const long long* shape() const { return sizes; }
};
"""
_TYPES = {"float32": "float", "float64": "double", "int64": "long long", "uint8": "unsigned char"}
_PLAIN = {"int32": "int", "int64": "long long", "float32": "float", "float64": "double"}


class Cupy:
    """The functions of CuPy that the kernels are made with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.empty = np.empty

    def RawKernel(self, source: str, name: str) -> Callable[..., None]:  # noqa: N802
        @cache
        def library(kinds: tuple[str, ...]) -> Any:
            given = ", ".join(
                f"*({kind}*)a[{k}]" if kind in _PLAIN.values() else f"({kind})a[{k}]"
                for k, kind in enumerate(kinds)
            )
            launch = _LAUNCH.replace("NAME", name).replace("ARGUMENTS", given)
            return self._compiled(_BLOCKS + source + launch)

        def kernel(grid: tuple[int, int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            kinds = tuple(
                _PLAIN[str(a.dtype)] if isinstance(a, np.generic) else f"{_TYPES[str(a.dtype)]}*"
                for a in arguments
            )
            held = [a if isinstance(a, np.ndarray) else np.array(a) for a in arguments]
            addresses = (ctypes.c_void_p * len(held))(*(a.ctypes.data for a in held))
            library(kinds).launch(*grid, *block, addresses)

        return kernel

    def ElementwiseKernel(  # noqa: N802
        self, given: str, made: str, source: str, name: str
    ) -> Callable[..., None]:
        assert given == "raw S x, raw Y y, raw I rows, T shift, T scale"
        assert made == "T prepared, raw Y targets"

        def kernel(*arrays: Any) -> None:
            x, y, rows, *factors, prepared, targets = arrays
            shift, scale = (
                np.ascontiguousarray(np.broadcast_to(np.asarray(f, prepared.dtype), prepared.shape))
                for f in factors
            )
            types = {"S": x, "Y": y, "I": rows, "T": prepared}
            heads = "".join(f"using {n} = {_TYPES[str(a.dtype)]};\n" for n, a in types.items())
            body = f"""
extern "C" void {name}(const S* x_, const Y* y, const I* rows, T* shift_, T* scale_, T* prepared_,
                       Y* targets, long long width, long long size) {{
    Raw<S> x{{x_, {{0, width}}}};
    for (long long i = 0; i < size; ++i) {{
        const T shift = shift_[i], scale = scale_[i];
        T& prepared = prepared_[i];
        {source}
    }}
}}
"""
            library = self._compiled(_RAW + heads + body)
            given = (x, y, rows, shift, scale, prepared, targets)
            pointers = [ctypes.c_void_p(a.ctypes.data) for a in given]
            sizes = [ctypes.c_longlong(n) for n in (x.shape[1], prepared.size)]
            getattr(library, name)(*pointers, *sizes)

        return kernel

    def _compiled(self, source: str) -> Any:
        place = self._folder / hashlib.sha256(source.encode()).hexdigest()[:16]
        library = place.with_suffix(".so")
        if not library.exists():
            place.with_suffix(".cpp").write_text(source, encoding="utf-8")
            compiler = ["g++", "-std=c++20", "-O1", "-ffp-contract=off", "-shared", "-fPIC"]
            made = [str(place.with_suffix(".cpp")), "-o", str(library), "-pthread"]
            done = subprocess.run([*compiler, *made], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(library))

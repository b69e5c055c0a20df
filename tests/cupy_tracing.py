"""CuPy's own tracer at work on all that is fused, and NVRTC on what it makes: no GPU is needed.

Run as `python cupy_tracing.py LIBNVRTC`, with CuPy on the path; prints one line of JSON per kernel:
its name, what it returns that is new, and the architectures that it was compiled for.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import array_api_compat.cupy as compat
import cupy
from cupy._core import fusion as tracing

from xpmlp import ACTIVATIONS, OPTIMIZERS, StepContext
from xpmlp.backends.cuda.fusion import Fusion, _Kernel, _step
from xpmlp.backends.cuda.kernels import source_of_assess, source_of_prepared_rows
from xpmlp.data.normalization import _Scaling
from xpmlp.mathematics.dropout import _mask
from xpmlp.mathematics.optimizers import _descended
from xpmlp.mathematics.products import _added
from xpmlp.trees import taken_apart

_ARCHITECTURES = (80, 90, 100)
# CuPy includes its half precision, which none of ours has to do with.
_HALF = """struct float16 {
    float v; __device__ float16(float x): v(x) {} __device__ operator float() const { return v; }
};"""


def array(dtype: str, *shape: int) -> Any:
    """Return an array that lies nowhere."""
    nowhere = cupy.cuda.UnownedMemory(2**20, 2**20, None, device_id=0)
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(nowhere, 0))


def fuse(kernel_name: str) -> Callable[..., Any]:
    """Return what traces a function as `cupy.fuse` does, and returns the kernel."""

    def of(function: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*values: Any) -> Any:
            history, state = tracing._FusionHistory(), tracing._thread_local
            state.history, state.is_old_fusing = history, True
            try:
                return history.get_fusion(function, values, kernel_name)[0]
            finally:
                state.history, state.is_old_fusing = None, False

        return traced

    return of


def functions(dtype: str) -> Iterator[tuple[str, Callable[..., Any], list[Any]]]:
    """Yield what is fused, with arguments as a step gives them."""
    z, a, b = array(dtype, 20, 10), array(dtype, 20, 10), array(dtype, 1, 10)
    for name, f in ACTIVATIONS.items():
        yield f"{name}_forward", f.forward, [z, b]
        yield f"{name}_backward", f.backward, [z, a]
        yield f"{name}_backward", f.backward, [z, a, a]
    for stored in ("uint8", dtype):
        x, each = array(stored, 20, 10), array(dtype, 10)
        yield "scaling", _Scaling(z.dtype, True, True, True), [x, each, each]
        yield "scaling", _Scaling(z.dtype, True, True, False), [x, 0.5, 255.0]
    numbers = [array("uint32", 1, 1), array("uint32", 20, 1), array("uint32", 10)]
    yield "dropout", _mask, [z, *numbers, 2**31 + 5, 2.0]
    yield "added", _added, [z, a, array(dtype), 1.0]
    yield "descended", _descended, [z, a, array(dtype)]
    for name, kind in OPTIMIZERS.items():
        rule, moments = kind(), {moment: array(dtype, 20, 10) for moment in kind.moments}
        shared = {"time": {"steps": array(dtype)}} if "adam" in name else {}
        at: Any = StepContext("", array(dtype), lambda: 0.0, shared, None)
        layout, values = taken_apart((rule, z, a, moments, at._replace(descent=None)))
        values = [array(dtype) if isinstance(value, float) else value for value in values]
        yield name, partial(_step, kind.step, layout, "layer1.weight"), values


def source_of(kernel: Any) -> str:
    """Return CUDA that does what a kernel does to contiguous arrays."""
    parameters = [*kernel.in_params, *kernel.out_params]
    given = ", ".join(f"{p.ctype}* _{p.name}" for p in parameters)
    named = "\n".join(f"{p.ctype} &{p.name} = _{p.name}[i];" for p in parameters)
    lines = [line for line in kernel.preamble.splitlines() if "#include" not in line]
    head = f'extern "C" __global__ void {kernel.name}({given}) {{'
    place = "int i = blockIdx.x * blockDim.x + threadIdx.x;"
    return "\n".join([_HALF, *lines, head, place, named, kernel.operation, ";}"])


def compiled(library: Any, source: str, architecture: int) -> str:
    """Return what NVRTC has to say of a source, nothing where all is well."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"k.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture=compute_{architecture}".encode())
    if not library.nvrtcCompileProgram(program, 1, options):
        return ""
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    return log.value.decode() or "an error without a word"


def written(dtype: str) -> Iterator[tuple[str, str]]:
    """Yield the kernels that are written by hand, as CUDA for contiguous arrays."""
    yield "assess", source_of_assess(dtype)
    real = "float" if dtype == "float32" else "double"
    body = source_of_prepared_rows("value -= shift;", "value *= 1 / scale;")
    yield (
        "prepared_rows",
        f"""
struct Raw {{
    const unsigned char* values; const long long sizes[2];
    __device__ unsigned char operator[](long long i) const {{ return values[i]; }}
    __device__ const long long* shape() const {{ return sizes; }}
}};
typedef {real} T;
extern "C" __global__ void prepared_rows(
    const Raw x, const long long* y, const long long* rows, T shift, T scale, T* prepared_,
    long long* targets) {{
    const long long i = blockIdx.x;
    T& prepared = prepared_[i];
    {body}
}}""",
    )


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    fusion = Fusion(SimpleNamespace(fuse=fuse, where=cupy.where), vars(compat))
    for dtype in ("float32", "float64"):
        for name, function, values in functions(dtype):
            traced = _Kernel(SimpleNamespace(fuse=fuse), partial(function, xp=fusion._xp), name)
            found: dict[str, Any] = {"name": name, "dtype": dtype, "error": "", "for": []}
            try:
                kernel = traced._call(*values)
                found["new"] = [str(p.dtype) for p in kernel.out_params]
                for architecture in _ARCHITECTURES:
                    found["error"] += compiled(library, source_of(kernel), architecture)
                    found["for"].append(architecture)
            except Exception as error:  # whatever the tracer raises
                found["error"] = f"{type(error).__name__}: {error}"
            print(json.dumps(found), flush=True)
        for name, source in written(dtype):
            errors = [compiled(library, source, architecture) for architecture in _ARCHITECTURES]
            found = {"name": name, "dtype": dtype, "error": "".join(errors), "new": None}
            print(json.dumps(found | {"for": _ARCHITECTURES}), flush=True)


if __name__ == "__main__":
    main()

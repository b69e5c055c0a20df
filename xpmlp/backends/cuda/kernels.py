"""Kernels written by hand, for functions that CuPy cannot trace: they gather, or add up.

Each stands in for the function of its name, which it is held against. It returns None for what
it does not do.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

_REAL = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
# One thread goes through the classes of an example: with more of them many kernels are quicker.
_MOST_CLASSES = 128
# A power of two: their sums are added in pairs. So many examples are one block's work.
_THREADS, _EXAMPLES_AT_ONCE = 256, 1024

# z (models, N, K) by its strides, class ids y (models, N) by theirs, and δ as (models, K, N).
# `losses` and `correct` (models, blocks) are sums of each block, in the same order every time.
ASSESS = """
extern "C" __global__ void assess(
    const REAL* z, long long z_model, long long z_example, long long z_class,
    const long long* y, long long y_model, long long y_example,
    int examples, int classes, REAL scale,
    REAL* delta, REAL* losses, long long* correct)
{
    __shared__ REAL sums[THREADS];
    __shared__ int counts[THREADS];
    const int thread = threadIdx.x;
    REAL sum = 0;
    int count = 0;
    for (int n = blockIdx.x * THREADS + thread; n < examples; n += gridDim.x * THREADS) {
        const REAL* logits = z + blockIdx.y * z_model + n * z_example;
        const long long id = y[blockIdx.y * y_model + n * y_example];
        REAL largest = logits[0];
        int likeliest = 0;
        for (int k = 1; k < classes; ++k)
            if (logits[k * z_class] > largest) {
                largest = logits[k * z_class];
                likeliest = k;
            }
        REAL total = 0;
        for (int k = 0; k < classes; ++k) total += exp(logits[k * z_class] - largest);
        for (int k = 0; k < classes; ++k) {
            const REAL shifted = logits[k * z_class] - largest;
            const bool is_true = k == id;
            delta[((long long)blockIdx.y * classes + k) * examples + n] =
                (exp(shifted) / total - (is_true ? 1 : 0)) * scale;
            if (is_true) sum += log(total) - shifted;
        }
        count += likeliest == id;
    }
    sums[thread] = sum;
    counts[thread] = count;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) {
            sums[thread] += sums[thread + half];
            counts[thread] += counts[thread + half];
        }
    }
    if (thread == 0) {
        losses[blockIdx.y * gridDim.x + blockIdx.x] = scale * sums[0];
        correct[blockIdx.y * gridDim.x + blockIdx.x] = counts[0];
    }
}
"""

# Some rows of features x, shifted and scaled by one number for all or each by its own; and of y.
PREPARED_ROWS = """
const long long width = x.shape()[1], row = i / width, wanted = rows[row];
T value = (T)x[wanted * width + i % width];
SHIFT
SCALE
prepared = value;
if (i % width == 0) targets[row] = y[wanted];
"""


def source_of_assess(dtype: Any) -> str:
    """Return the kernel for a dtype, "float32" or "float64"."""
    return ASSESS.replace("REAL", _REAL[np.dtype(dtype)]).replace("THREADS", str(_THREADS))


def source_of_prepared_rows(shift: str, scale: str) -> str:
    """Return what is done for each feature of each row, with what shifts and scales it."""
    return PREPARED_ROWS.replace("SHIFT", shift).replace("SCALE", scale)


class Kernels:
    """What is written by hand, by the names of the functions: `kernels["assess"](*arguments)`."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._assess_of = cache(lambda dtype: cupy.RawKernel(source_of_assess(dtype), "assess"))
        self._prepared_rows_of = cache(self._prepared_rows)

    def assess(
        self, loss: Any, outputs: Any, ids: Any, sample_weight: Any, scale: Any
    ) -> tuple[Any, Any, Any] | None:
        """Cross-entropy of softmax and class ids, its derivative, and how many were right."""
        *stack, examples, classes = outputs.shape
        if (
            not (loss.link.name == "softmax" and isinstance(scale, float))
            or getattr(loss.formula, "__name__", "") != "cross_entropy"  # smoothed, or another
            or sample_weight is not None
            or outputs.dtype not in _REAL
            or ids.dtype != np.int64
            or len(stack) > 1
            or not 0 < classes <= _MOST_CLASSES
            or not 0 < examples < 2**31 - _EXAMPLES_AT_ONCE
        ):
            return None
        blocks = 1 if examples <= _EXAMPLES_AT_ONCE else -(-examples // _THREADS)
        # Examples side by side in memory, as the network's outputs are.
        delta = self._cupy.empty((*stack, classes, examples), dtype=outputs.dtype)
        losses = self._cupy.empty((*stack, blocks), dtype=outputs.dtype)
        correct = self._cupy.empty((*stack, blocks), dtype=np.int64)
        self._assess_of(outputs.dtype)(
            (blocks, *stack, 1)[:2],
            (_THREADS,),
            (
                *(outputs, *_steps(outputs, 3), ids, *_steps(ids, 2)),
                *(np.int32(examples), np.int32(classes), outputs.dtype.type(scale)),
                *(delta, losses, correct),
            ),
        )
        if blocks == 1:
            return losses[..., 0], delta.swapaxes(-1, -2), correct[..., 0]
        return losses.sum(axis=-1), delta.swapaxes(-1, -2), correct.sum(axis=-1)

    def prepared_rows(self, x: Any, y: Any, rows: Any, scaling: Any, dtype: Any) -> Any:
        """Some rows of features, gathered, shifted and scaled, and of targets."""
        if (
            isinstance(rows, slice)
            or scaling is None
            or scaling.bias_column
            or (x.ndim, y.ndim) != (2, 1)
            or not all(array.flags.c_contiguous for array in (x, y, rows))
        ):
            return None
        shift, scale = scaling.shift, scaling.scale
        shifts = "value -= shift;" if _is_array(shift) or shift != 0 else ""
        scales = "value *= 1 / scale;" if _is_array(scale) else "value *= scale;"
        if not _is_array(scale):
            scales, scale = scales if scale != 1 else "", 1.0 / scale
        prepared = self._cupy.empty((rows.shape[0], x.shape[1]), dtype=dtype or x.dtype)
        targets = self._cupy.empty(rows.shape, dtype=y.dtype)
        self._prepared_rows_of(shifts, scales)(x, y, rows, shift, scale, prepared, targets)
        return prepared, targets

    def _prepared_rows(self, shifts: str, scales: str) -> Any:
        given = "raw S x, raw Y y, raw I rows, T shift, T scale"
        source = source_of_prepared_rows(shifts, scales)
        made = "T prepared, raw Y targets"
        return self._cupy.ElementwiseKernel(given, made, source, "prepared_rows")


def _is_array(value: Any) -> bool:
    return hasattr(value, "ndim")


def _steps(array: Any, axes: int) -> list[np.int64]:
    """Return by how many numbers the elements of so many axes are apart; 0 along one that lacks."""
    steps = [stride // array.itemsize for stride in array.strides]
    if array.ndim == axes and array.shape[0] == 1:
        steps[0] = 0  # the same for all models
    return [np.int64(step) for step in [0] * (axes - array.ndim) + steps]

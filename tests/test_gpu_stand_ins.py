"""What calls CUDA, held against stand-ins for its libraries, on a machine without a GPU."""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from xpmlp.backends import select_backend
from xpmlp.backends.cuda.cublas import Cublas, product_of
from xpmlp.backends.cuda.cupy_backend import CupyBackend, _namespace, working_products
from xpmlp.backends.cuda.fusion import Fusion
from xpmlp.backends.cuda.graph import Recorder
from xpmlp.errors import UsageError
from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.mathematics.losses import LOSSES, assess
from xpmlp.mathematics.optimizers import Adam
from xpmlp.mathematics.products import Product, accumulate


class DeviceArray(np.ndarray):
    """numpy's array with what CuPy's has: a pointer, and a way to the host."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])

    def get(self) -> np.ndarray:
        return np.array(self)


def on_device(array: Any, dtype: Any = None) -> DeviceArray:
    return np.array(array, dtype=dtype).view(DeviceArray)


class Library:
    """cuBLAS by its documentation: matrices by columns, factors by address."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.compute: set[int] = set()
        # Of each handle: where it reads factors, 0 for the host; how many there are.
        self.modes: dict[int, int] = {}
        self.handles = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*_: Any) -> int:
            self.calls.append(name)
            return 0

        return call

    def cublasCreate_v2(self, pointer: Any) -> int:  # noqa: N802
        self.handles += 1
        pointer._obj.value = self.handles
        return 0

    def cublasSetPointerMode_v2(self, handle: Any, mode: int) -> int:  # noqa: N802
        self.modes[handle.value] = mode
        return 0

    def cublasGemmEx(self, handle: Any, *given: Any) -> int:  # noqa: N802
        self.calls.append("cublasGemmEx")
        transa, transb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc = (
            given[:16]
        )
        step, compute, algorithm = ctypes.c_longlong(0), *given[16:]
        return self.cublasGemmStridedBatchedEx(
            *(handle, transa, transb, m, n, k, alpha, a, a_type, lda, step, b, b_type, ldb, step),
            *(beta, c, c_type, ldc, step, 1, compute, algorithm),
        )

    def cublasGemmStridedBatchedEx(  # noqa: N802
        self,
        handle: Any,
        transa: int,
        transb: int,
        m: int,
        n: int,
        k: int,
        alpha: Any,
        a: Any,
        a_type: int,
        lda: int,
        a_step: Any,
        b: Any,
        b_type: int,
        ldb: int,
        b_step: Any,
        beta: Any,
        c: Any,
        c_type: int,
        ldc: int,
        c_step: Any,
        batches: int,
        compute: int,
        algorithm: int,
    ) -> int:
        assert a_type == b_type == c_type
        assert (compute == 70) == (c_type == 1)
        assert algorithm == -1
        self.compute.add(compute)
        real = ctypes.c_float if c_type == 0 else ctypes.c_double
        size = ctypes.sizeof(real)

        def matrix(pointer: Any, rows: int, columns: int, lead: int, step: Any, i: int) -> Any:
            assert lead >= rows
            address = pointer.value + i * step.value * size
            flat = np.ctypeslib.as_array((real * (lead * columns)).from_address(address))
            return flat.reshape(columns, lead)[:, :rows].T

        def factor(pointer: Any) -> float:
            return real.from_address(pointer.value).value

        for i in range(batches):
            left = matrix(a, *((k, m) if transa else (m, k)), lda, a_step, i)
            right = matrix(b, *((n, k) if transb else (k, n)), ldb, b_step, i)
            out = matrix(c, m, n, ldc, c_step, i)
            product = (left.T if transa else left) @ (right.T if transb else right)
            kept = factor(beta) * out if factor(beta) else 0.0
            out[...] = factor(alpha) * product + kept
        return 0


class Stream:
    def __init__(self, log: list[Any], name: str, ptr: int) -> None:
        self.log, self.name, self.ptr = log, name, ptr

    def __enter__(self) -> Self:
        self.log.append(f"enter {self.name}")
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append(f"leave {self.name}")

    def record(self, event: dict[str, str]) -> dict[str, str]:
        event["of"] = self.name
        return event

    def wait_event(self, event: dict[str, str]) -> None:
        self.log.append(f"{self.name} waits for event of {event['of']}")

    def synchronize(self) -> None:
        self.log.append(f"{self.name} synchronizes")

    def begin_capture(self) -> None:
        self.log.append("begin")

    def end_capture(self) -> Any:
        self.log.append("end")
        return SimpleNamespace(launch=lambda stream: self.log.append(f"launch on {stream.name}"))


class Allocator:
    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def __call__(self, malloc: Any) -> Allocator:
        assert malloc == "pool's malloc"
        return self

    def __enter__(self) -> None:
        self.log.append("pool")

    def __exit__(self, *_: object) -> None:
        self.log.append("no pool")


COMPARING = {"max": np.max, "abs": np.abs, "isfinite": np.isfinite}


class Pool:
    malloc = "pool's malloc"

    def __init__(self, log: list[Any], name: str, allocator: Any = None) -> None:
        self.log, self.name, self.allocator, self.limit = log, name, allocator, 1000

    def free_all_blocks(self) -> None:
        self.log.append(f"{self.name} is emptied")

    def set_limit(self, *, size: int) -> None:
        self.limit = size


def cupy_of(log: list[Any]) -> Any:
    current = Stream(log, "current", 0)
    return SimpleNamespace(
        get_default_memory_pool=lambda: Pool(log, "CuPy's pool"),
        allclose=lambda a, b, rtol, atol, equal_nan: np.allclose(a, b, rtol, atol, equal_nan),
        empty=lambda shape, dtype: np.empty(shape, dtype=dtype).view(DeviceArray),
        asarray=on_device,
        ones=lambda shape, dtype: np.ones(shape, dtype=dtype).view(DeviceArray),
        sum=np.sum,
        where=np.where,
        **COMPARING,
        cuda=SimpleNamespace(
            get_current_stream=lambda: current,
            Event=lambda disable_timing: {"timing": str(not disable_timing)},
            Stream=lambda non_blocking: Stream(log, "own", 7 if non_blocking else 0),
            MemoryPool=lambda allocator: Pool(log, "own pool", allocator),
            using_allocator=Allocator(log),
        ),
    )


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr("xpmlp.backends.cuda.cublas._load", lambda _: library)
    return library


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("models", [None, 1, 4])
@pytest.mark.parametrize("turned", [False, True])
def test_products_of_matrices_however_they_lie(
    library: Library, dtype: str, models: int | None, turned: bool
) -> None:
    cublas, rng = Cublas(cupy_of([])), np.random.default_rng(0)
    stack = () if models is None else (models,)

    def array(*shape: int) -> DeviceArray:
        drawn = on_device(rng.normal(size=(*shape[:-2], *shape[-1:-3:-1])), dtype)
        return drawn.swapaxes(-1, -2) if turned else on_device(np.array(drawn.swapaxes(-1, -2)))

    a, b = array(6, 3), array(*stack, 3, 5)
    expected = np.matmul(a, b)
    found = cublas.matmul(a, b)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Rows of a slice lie apart; one example, one unit.
    for left, right in ((a[::2], b), (a[:1], b), (a, b[..., :, :1]), (a[:, :1], b[..., :1, :])):
        found = cublas.matmul(left, right)
        if found is not None:
            np.testing.assert_allclose(found, np.matmul(left, right), rtol=1e-4, atol=1e-6)
    x, y, c = array(7, 3), array(*stack, 7, 5), on_device(rng.normal(size=(*stack, 3, 5)), dtype)
    for alpha, beta in ((-0.5, 1.0), (2.0, 0.0), (on_device(-0.25, dtype), on_device(0.5, dtype))):
        target = c.copy()
        assert cublas.accumulate_product(target, x, y, alpha, beta)
        expected = beta * c + alpha * np.matmul(x.T, y)
        np.testing.assert_allclose(target, expected, rtol=1e-4, atol=1e-5)
        rows = on_device(c[..., 0, :].copy())
        expected = beta * rows + alpha * y.sum(axis=-2)
        assert cublas.accumulate_product(rows, None, y, alpha, beta)
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("other", [(), (2, 3)])
def test_products_of_stacks_of_stacks(other: tuple[int, ...]) -> None:
    """As elastic displacements are: by images, and by rows and columns of each."""
    rng = np.random.default_rng(0)
    a, b = on_device(rng.normal(size=(2, 3, 4, 5))), on_device(rng.normal(size=(*other, 5, 6)))
    products = Cublas(cupy_of([]))
    found = products.matmul(a, b)
    assert found is not None
    np.testing.assert_allclose(found, np.matmul(a, b), rtol=1e-12)
    turned = products.matmul(b.mT, a.mT)
    assert turned is not None
    np.testing.assert_allclose(turned, np.matmul(b.mT, a.mT), rtol=1e-12)


def test_what_is_not_taken_is_left_alone(library: Library) -> None:
    cublas = Cublas(cupy_of([]))
    ones = on_device(np.ones((2, 3, 3)))
    c = on_device(np.ones((2, 3, 3)))
    a_model_each = on_device(np.ones((2, 1, 1)))
    assert not cublas.accumulate_product(c, ones, ones, a_model_each, 1.0)
    assert not cublas.accumulate_product(c, ones.astype("f"), ones, 1.0, 1.0)
    assert (c == 1).all()
    assert cublas.matmul(ones[0, 0], ones[0]) is None
    otherwise = product_of(cublas, np.matmul)
    np.testing.assert_array_equal(otherwise(ones[0, 0], ones[0]), [3, 3, 3])


def test_stream_is_set_with_its_workspace_when_it_changes(library: Library) -> None:
    cupy = cupy_of([])
    cublas, a = Cublas(cupy), on_device(np.ones((2, 2)))
    for stream in (0, 0, 7):
        cupy.cuda.get_current_stream().ptr = stream
        cublas.matmul(a, a)
    assert library.calls.count("cublasSetStream_v2") == 2
    after = [c for c in library.calls if c in ("cublasSetStream_v2", "cublasSetWorkspace_v2")]
    assert after == ["cublasSetStream_v2", "cublasSetWorkspace_v2"] * 2


def test_tf32_is_a_way_to_compute_float32_alone(library: Library) -> None:
    for tf32, expected in ((False, {68, 70}), (True, {77, 70})):
        library.compute.clear()
        working_products(cupy_of([]), tf32=tf32)
        assert library.compute == expected


def test_products_that_are_wrong_are_not_used(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cublasGemmEx", "cublasGemmStridedBatchedEx"):
        monkeypatch.setattr(Library, name, lambda *_: 0)
    with pytest.raises(RuntimeError, match="not those of CuPy"):
        working_products(cupy_of([]), tf32=False)


def test_failure_of_cublas_is_named(library: Library) -> None:
    cublas = Cublas(cupy_of([]))
    library.cublasGemmEx = lambda *_: 13  # type: ignore[method-assign]
    a = on_device(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="status 13"):
        cublas.matmul(a, a)


def test_optimisers_steps_find_new_rates_on_the_device(library: Library) -> None:
    cublas = Cublas(cupy_of([]))
    xp = SimpleNamespace(accumulate_product=cublas.accumulate_product, matmul=np.matmul)
    rate, w = on_device(0.5), on_device(np.ones((3, 2)))
    product = Product(on_device(np.ones((4, 3))), on_device(np.ones((4, 2))))
    accumulate(w, product, alpha=-rate, xp=xp)
    np.testing.assert_array_equal(w, np.full((3, 2), -1.0))


@pytest.mark.parametrize("models", [None, 3])
def test_one_rate_per_model_is_folded_into_the_smaller_array(
    library: Library, models: int | None
) -> None:
    """So that the update of a recorded stack is one product, too."""
    cublas, rng = Cublas(cupy_of([])), np.random.default_rng(0)
    xp = SimpleNamespace(accumulate_product=cublas.accumulate_product)  # it can do nothing else
    stack = () if models is None else (models,)
    left, right, w = (
        on_device(rng.normal(size=(*stack, *shape))) for shape in ((6, 4), (6, 2), (4, 2))
    )
    rate = on_device(0.5 if models is None else [0.1, 0.0, 0.7])
    factors = np.reshape(rate, (*stack, 1, 1))
    expected = w - factors * np.matmul(left.swapaxes(-1, -2), right)
    accumulate(w, Product(left, right), alpha=-rate, xp=_with(np.reshape, xp))
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def _with(reshape: Any, xp: Any) -> Any:
    return SimpleNamespace(**vars(xp), reshape=reshape)


def test_factors_are_read_where_they_are_and_plain_ones_leave_nothing_on_the_device(
    library: Library,
) -> None:
    made: list[Any] = []
    cupy = cupy_of([])

    def asarray(value: float, dtype: Any) -> DeviceArray:
        made.append(value)
        return on_device(value, dtype)

    cupy.asarray = asarray
    cublas, a, c = Cublas(cupy), on_device(np.ones((2, 2))), on_device(np.zeros((2, 2)))
    for step in range(100):
        assert cublas.accumulate_product(c, a, a, -1.0 / (step + 1), 1.0 - 1e-6 * step)
    assert (library.modes, made) == ({1: 0}, [])
    assert cublas.accumulate_product(c, a, a, on_device(0.5), 1.0)
    assert (library.modes, made) == ({1: 1}, [1.0])
    assert cublas.matmul(a, a) is not None
    assert library.modes == {1: 0}


def test_each_thread_has_a_handle_and_a_workspace_of_its_own(library: Library) -> None:
    """One alone would be turned to another thread's stream in the middle of a capture."""
    products, a = [Cublas(cupy_of([]))], on_device(np.ones((2, 2)))
    at_once = threading.Barrier(2)

    def multiply() -> None:
        at_once.wait()
        for _ in range(20):
            assert products[0].matmul(a, a) is not None

    threads = [threading.Thread(target=multiply) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert library.handles == 3
    assert library.calls.count("cublasSetWorkspace_v2") == 2
    # With a thread goes what it had, unless a graph goes on using it.
    assert library.calls.count("cublasDestroy_v2") == 2
    products.clear()
    gc.collect()
    assert library.calls.count("cublasDestroy_v2") == 3


def test_graph_is_captured_on_a_stream_and_from_a_pool_of_its_own() -> None:
    log: list[Any] = []
    replay = Recorder(cupy_of(log)).record(lambda: log.append("steps"))
    assert log == [
        "CuPy's pool is emptied",
        "own waits for event of current",
        "pool",
        "enter own",
        "begin",
        "steps",
        "end",
        "leave own",
        "no pool",
        "current waits for event of own",
    ]
    log.clear()
    replay()
    assert log == [
        "own waits for event of current",
        "launch on own",
        "current waits for event of own",
    ]


def test_the_pool_is_emptied_when_its_last_graph_has_gone() -> None:
    """CuPy loses the memory that is in a pool when the pool itself goes."""
    log: list[Any] = []
    recorder = Recorder(cupy_of(log))
    one, other = (recorder.record(lambda: None) for _ in range(2))
    log.clear()
    gc.disable()
    try:
        del one
        assert log == []
        del other
        assert log == ["own synchronizes", "own pool is emptied"]
    finally:
        gc.enable()


def test_a_graph_keeps_what_it_goes_on_using() -> None:
    kept = Stream([], "handle", 0)
    gone = weakref.ref(kept)
    graph = Recorder(cupy_of([])).record(lambda: None, kept)
    del kept
    assert gone() is not None
    del graph
    assert gone() is None


def test_nothing_is_collected_inside_a_capture() -> None:
    """What goes then may wait for the device, which ends the capture."""
    collects: list[bool] = []
    Recorder(cupy_of([])).record(lambda: collects.append(gc.isenabled()))
    assert collects == [False]
    assert gc.isenabled()


def test_the_pool_of_graphs_is_never_emptied_for_want_of_memory() -> None:
    """CuPy would empty it at CUDA's own error, or at its limit, and graphs read what is in it."""
    cupy: Any = cupy_of([])
    cupy.cuda.runtime = SimpleNamespace(CUDARuntimeError=type("CUDARuntimeError", (Exception,), {}))

    def full(_: int) -> Any:
        raise cupy.cuda.runtime.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")

    cupy.cuda.Memory, cupy.cuda.MemoryPointer = full, None
    pool = Recorder(cupy)._pool
    assert pool.limit == 0  # none
    with pytest.raises(MemoryError, match="no 4,096 bytes left: cudaErrorMemoryAllocation"):
        pool.allocator(4096)


def test_waiting_is_for_this_threads_work() -> None:
    """To wait for all of a device spoils what another thread records there."""
    log: list[Any] = []
    backend_of(log).synchronize()
    assert log == ["enter device", "current synchronizes", "leave device"]


def test_another_thread_does_not_launch_into_a_capture() -> None:
    log: list[Any] = []
    recorder = Recorder(cupy_of(log))
    replay = recorder.record(lambda: None)
    other = threading.Thread(target=replay)

    def steps() -> None:
        other.start()
        other.join(0.2)
        assert "launch on own" not in log
        log.append("captured")

    recorder.record(steps)
    other.join()
    assert log.index("captured") < log.index("launch on own")


def test_the_cause_is_told_and_not_what_follows_from_it() -> None:
    log: list[Any] = []
    backend = backend_of(log)
    stream = type("Spoilt", (Stream,), {"end_capture": spoilt})
    backend._cupy.cuda.Stream = lambda **_: stream(log, "own", 7)

    def steps() -> None:
        raise MemoryError("no room on the card")

    with pytest.warns(RuntimeWarning, match="MemoryError: no room on the card"):
        assert backend.record(steps) is None

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend_of([]).record(interrupted)


def spoilt(_: Any) -> Any:
    raise RuntimeError("cudaErrorStreamCaptureInvalidated")


def backend_of(log: list[Any]) -> CupyBackend:
    """Return a backend whose CuPy is a stand-in."""
    backend = object.__new__(CupyBackend)
    backend._cupy, backend.records, backend._recorder = cupy_of(log), True, None
    backend._cublas = SimpleNamespace(handle_of_thread=lambda: None)  # type: ignore[assignment]
    backend.device = Stream(log, "device", 0)
    return backend


def test_recording_that_fails_closes_the_capture_warns_once_and_is_not_tried_again() -> None:
    log: list[Any] = []
    backend = backend_of(log)

    def steps() -> None:
        if "begin" in log:
            raise NotImplementedError("calling cuBLAS API during stream capture")

    with pytest.warns(RuntimeWarning, match=r"NotImplementedError.*graph=False") as warned:
        assert backend.record(steps) is None
    assert len(warned) == 1
    assert log.index("end") > log.index("begin")
    assert log[-1] == "own pool is emptied"
    assert not backend.records


def test_recording_that_works_is_replayed() -> None:
    log: list[Any] = []
    replay = backend_of(log).record(lambda: None)
    assert replay is not None
    replay()
    assert log.count("launch on own") == 1


def test_functions_are_traced_once_and_called_plainly_where_that_fails() -> None:
    traced: list[str] = []
    called: list[str] = []

    def fuse(kernel_name: str) -> Callable[..., Any]:
        def of(function: Callable[..., Any]) -> Callable[..., Any]:
            traced.append(kernel_name)

            def kernel(*arrays: Any) -> Any:
                called.append(kernel_name)
                if kernel_name == "relu" or arrays[0].ndim == 3:
                    raise TypeError("cannot be traced")
                if kernel_name == "tanh":
                    return np.tanh(arrays[0]).astype("float32")  # not what it was asked for
                if kernel_name == "sigmoid_derivative":
                    return np.zeros_like(arrays[0])
                return function(*arrays)

            return kernel

        return of

    names = {name: getattr(np, name) for name in ("tanh", "maximum", "astype")}
    cupy = SimpleNamespace(fuse=fuse, where=np.where, allclose=np.allclose, **COMPARING)
    fusion = Fusion(cupy, names)
    xp = select_backend("cpu", "float64").xp
    for shape in ((9,), (3, 3), (1, 3, 3)):
        z = np.linspace(-2, 2, 9).reshape(shape)
        for name in ("sigmoid", "relu", "tanh"):
            f = ACTIVATIONS[name]
            for _ in range(3):
                a = fusion.fused(f.function)(z)
                assert a.dtype == np.float64
                np.testing.assert_allclose(a, f.function(z, xp=xp), rtol=1e-15)
                slope = fusion.fused(f.derivative)(a)
                np.testing.assert_allclose(slope, f.derivative(a, xp=xp), rtol=1e-15)
    assert all(traced.count(name) == 3 for name in traced)
    # Of two kinds of arrays: once to try it, then to use it, the first time included.
    assert called.count("sigmoid") == 2 * 4 + 1
    assert called.count("tanh") == called.count("relu") == 3
    assert called.count("sigmoid_derivative") == 3  # zeros where something else is expected


def test_hyperparameters_are_on_the_device_once_and_each_new_rate_once() -> None:
    """Also where steps are launched one by one, with rates that are plain numbers."""
    made: list[float] = []

    def asarray(value: float, dtype: Any) -> DeviceArray:
        made.append(value)
        return on_device(value, dtype)

    cupy = SimpleNamespace(
        fuse=lambda kernel_name: lambda function: function,  # noqa: ARG005
        allclose=np.allclose,
        where=np.where,
        **COMPARING,
        asarray=asarray,
    )
    fusion = Fusion(cupy, {name: getattr(np, name) for name in ("sqrt", "astype")})
    rule = Adam()
    params = {f"layer{k}.weight": on_device(np.full((2, 3), 0.1 * k)) for k in (1, 2)}
    state = rule.init(params, xp=np)
    expected = {name: np.array(w) for name, w in params.items()}, rule.init(params, xp=np)
    plainly, each = SimpleNamespace(sqrt=np.sqrt), SimpleNamespace(sqrt=np.sqrt, each=fusion.each)
    for rate in (0.1, 0.1, 0.05):
        gradients = {name: on_device(np.full((2, 3), 0.5)) for name in params}
        params, state = rule.update(params, gradients, state, learning_rate=rate, xp=each)
        same = {name: np.full((2, 3), 0.5) for name in params}
        expected = rule.update(expected[0], same, expected[1], learning_rate=rate, xp=plainly)
    assert made == [0.1, 0.9, 0.999, 0.05]
    for name, w in params.items():
        np.testing.assert_allclose(w, expected[0][name], rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"device": "cpu", "precision": "tf32"}, "tf32 is a GPU's way"),
        ({"device": "gpu", "dtype": "float64", "precision": "tf32"}, "tf32 is a GPU's way"),
        ({"device": "gpu", "precision": "bf16"}, "choose from float32, tf32"),
    ],
)
def test_precision_that_cannot_be_is_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        select_backend(**settings)


def test_the_namespace_supplies_what_is_done_in_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda _: SimpleNamespace(**vars(np)))
    cupy: Any = SimpleNamespace(sum=np.sum, allclose=np.allclose, empty=np.empty)
    cublas: Any = SimpleNamespace(matmul=lambda a, b: a @ b, accumulate_product=None)
    xp = _namespace(cupy, cublas)
    asked = xp.by_hand(assess, (LOSSES["squared_error"], np.ones((2, 3)), np.ones(2), None, 1.0))
    assert asked is None
    assert {"fused", "each", "by_hand", "accumulate_product"} <= vars(xp).keys()
    # What graphs go on reading is made once.
    assert xp.ones((1, 3), dtype="f") is xp.ones((1, 3), dtype="f")
    device = type("Device", (), {"__hash__": None})()  # as CuPy's is
    assert xp.ones(3, dtype="f", device=device) is xp.ones(3, dtype="f")

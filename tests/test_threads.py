"""Sums on threads: the same results, errors that arrive, cores and memory that are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from trainings import initial_state, take_step

from xpmlp import MLP, SGD, Examples, Momentum, TrainingState, evaluate, select_backend
from xpmlp.backends import Backend
from xpmlp.backends.cpu.cores import SingleThreadedBlas, usable_cores
from xpmlp.data.batches import Draw
from xpmlp.errors import UsageError
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.mathematics.step import Step


def train(backend: Backend, optimizer: Optimizer, batch_rows: int = 2500) -> TrainingState:
    rng = np.random.default_rng(0)
    examples = Examples(rng.normal(size=(batch_rows, 20)), rng.integers(5, size=batch_rows))
    mlp = MLP((20, 16, 12, 5), "tanh")
    state = initial_state(mlp, optimizer, seed=0, backend=backend)
    drawn = Draw(examples.to_device(backend), None, batch_rows)
    for _ in range(5):
        take_step(Step(mlp, optimizer), state, drawn, 0.1, backend)
    return state


@pytest.fixture
def always_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.backends.cpu.numpy_backend._FLOP_FOR_THREADS", 0)
    monkeypatch.setattr("xpmlp.backends.cpu.numpy_backend._THREAD_PIECE", 300)


@pytest.mark.usefixtures("always_threads")
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_change_nothing_but_rounding(threads: int) -> None:
    with threadpool_limits(None):
        one = train(select_backend("cpu", "float64", threads=1), Momentum())
        several = train(select_backend("cpu", "float64", threads=threads), Momentum())
        again = train(select_backend("cpu", "float64", threads=threads), Momentum())
    for name, array in one.params.items():
        np.testing.assert_allclose(several.params[name], array, rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(several.params[name], again.params[name])


@pytest.mark.usefixtures("always_threads")
def test_evaluation_on_threads() -> None:
    rng, mlp = np.random.default_rng(0), MLP((20, 16, 5))
    examples = Examples(rng.normal(size=(2500, 20)), rng.integers(5, size=2500))
    with threadpool_limits(None):
        found = []
        for threads in (1, 3):
            backend = select_backend("cpu", "float64", threads=threads)
            state = initial_state(mlp, SGD(), seed=0, backend=backend)
            moved = examples.to_device(backend)
            found.append(evaluate(mlp, state.params, moved, backend=backend))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    assert found[1][1] == found[0][1]


def test_error_on_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.backends.cpu.numpy_backend._FLOP_FOR_THREADS", 0)
    with threadpool_limits(None):
        backend = select_backend("cpu", threads=2)

        def fail(piece: slice) -> Any:
            raise ValueError(f"row {piece.start}")

        with pytest.raises(ValueError, match="row"):
            backend.sum_over_examples(fail, 5000, 1.0)


def test_no_threads_are_refused() -> None:
    with pytest.raises(UsageError, match="0 threads cannot work"):
        select_backend("cpu", threads=0)


def cores_in_a_process(**variables: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", "from xpmlp import select_backend as s; print(s().threads)"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout)


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert cores_in_a_process(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1") == 1
    with threadpool_limits(1, user_api="blas"):
        assert usable_cores() == 1
    if hasattr(os, "sched_getaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert usable_cores() == 1
        finally:
            os.sched_setaffinity(0, before)


def test_blas_gets_its_threads_back() -> None:
    """Also when several trainings hold it to one, in whatever order they leave."""
    with threadpool_limits(2, user_api="blas"):
        held = SingleThreadedBlas()
        held.__enter__()
        held.__enter__()
        assert usable_cores() == 1
        held.__exit__()
        assert blas_threads() == {1}
        held.__exit__()
        assert blas_threads() == {2}


def test_small_steps_have_their_products_on_one_thread() -> None:
    with threadpool_limits(2, user_api="blas"):
        backend = select_backend("cpu", threads=2)
        for flop, threads in ((1e7, 1), (1e9, 2), (None, 2)):
            with backend.computing(flop):
                assert blas_threads() == {threads}
        assert blas_threads() == {2}


def blas_threads() -> set[int]:
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


COUNT_PAGE_FAULTS = """
import resource
import numpy as np
from xpmlp import select_backend

select_backend("cpu")
np.ones(750_000, dtype="f")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(750_000, dtype="f")
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about the malloc of Linux")
def test_freed_memory_is_kept() -> None:
    """An array of 3 MB is 730 pages: the second does not fetch them from the system again."""
    result = subprocess.run(
        [sys.executable, "-c", COUNT_PAGE_FAULTS], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 100


def test_ranks_divide_the_cores_that_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four ranks on eight cores have two each; with cores of their own they have all of these."""

    class Some:
        local_rank, local_count, count, rank, sharers = 0, 4, 4, 0, 4

    monkeypatch.setattr("xpmlp.backends.select.shared_cores", lambda: 8)
    monkeypatch.setattr("xpmlp.backends.select.usable_cores", lambda: 8)
    monkeypatch.setattr("xpmlp.backends.ranks.start.start_ranks", Some)

    def threads(given: int | None = None) -> int:
        backend = select_backend("cpu", threads=given, distributed="mpi")
        found: int = backend.settings()["threads"]
        return found

    with threadpool_limits():  # gives BLAS back what it has
        assert threads() == 2
        monkeypatch.setattr(Some, "sharers", 1)
        assert threads() == 8
        monkeypatch.setattr("xpmlp.backends.select.usable_cores", lambda: 3)  # OMP_NUM_THREADS
        assert threads() == 3
        assert threads(5) == 5

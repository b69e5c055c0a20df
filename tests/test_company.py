"""Other programs on the same cores: when products go over to one thread, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from xpmlp import MLP, Examples, Model, Plan, fit, select_backend
from xpmlp.backends.cpu import numpy_backend
from xpmlp.backends.cpu.company import Company, look_at_products
from xpmlp.backends.cpu.cores import usable_cores

FREE, BUSY = 0.6, 3.0


@pytest.fixture(autouse=True)
def alone() -> None:
    """Leave in place what the other tests do without."""


class Machine:
    """Steps that take what is said, and looks that find what is said, on a clock of their own."""

    def __init__(self) -> None:
        self.now, self.ratio, self.looks = 100.0, FREE, 0
        self.company = Company(self.look, lambda: self.now)

    def look(self) -> float:
        self.looks += 1
        return self.ratio

    def steps(self, milliseconds: float, seconds: float, flop: float = 1e8) -> None:
        for _ in range(round(1e3 * seconds / milliseconds)):
            with self.company.step(flop):
                self.now += milliseconds / 1e3

    def until_it_switches(self, milliseconds: float) -> None:
        before = self.company.switches
        while self.company.switches == before:
            self.steps(milliseconds, milliseconds / 1e3)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def blas_threads() -> list[int]:
    return [int(info["num_threads"]) for info in threadpool_info() if info["user_api"] == "blas"]


def test_a_quiet_machine_is_looked_at_once(machine: Machine) -> None:
    machine.steps(1.0, 0.05)
    assert machine.looks == 0
    machine.steps(1.0, 60.0)
    assert (machine.looks, machine.company.on_one) == (1, False)


def test_slow_steps_and_busy_cores_mean_one_thread(machine: Machine) -> None:
    machine.steps(1.0, 1.0)
    machine.ratio = BUSY
    machine.steps(1.2, 1.0)  # no slower than they are from time to time
    assert machine.looks == 1
    machine.steps(2.0, 0.5)
    assert (machine.company.on_one, machine.company.switches, machine.looks) == (True, 1, 3)


def test_a_machine_that_is_busy_from_the_start(machine: Machine) -> None:
    machine.ratio = BUSY
    machine.steps(4.0, 0.4)
    assert machine.company.on_one


def test_what_is_over_at_the_second_look_changes_nothing(machine: Machine) -> None:
    """Threads of another library spin for some milliseconds after their work."""
    machine.steps(1.0, 1.0)
    machine.ratio = BUSY
    machine.steps(2.0, 0.11)
    assert machine.looks == 2
    machine.ratio = FREE
    machine.steps(2.0, 2.0)
    assert not machine.company.on_one


def test_looks_that_do_not_agree_change_nothing(machine: Machine) -> None:
    machine.steps(1.0, 1.0)
    for number in range(20):
        machine.ratio = (BUSY, FREE)[number % 2]
        looks = machine.looks
        while machine.looks == looks:
            machine.steps(2.0, 0.002)
    assert machine.company.switches == 0


def test_steps_that_are_slow_for_another_reason_are_looked_at_rarely(machine: Machine) -> None:
    """A clock that has been lowered: after 0.5, 1, 2, 4, 8, 16 and 16 seconds."""
    machine.steps(1.0, 1.0)
    machine.steps(3.0, 47.6)
    assert (machine.company.on_one, machine.looks) == (False, 1 + 7)


def test_all_threads_again_when_the_cores_are_free(machine: Machine) -> None:
    machine.ratio = BUSY
    machine.steps(4.0, 0.4)
    looks = machine.looks
    machine.steps(2.0, 3.6)  # looks after 0.5, 1 and 2 seconds
    assert machine.looks == looks + 3
    machine.ratio = 0.9  # neither better nor worse: it stays
    machine.steps(2.0, 4.0)
    assert machine.company.on_one
    machine.ratio = FREE
    machine.steps(2.0, 9.0)
    assert (machine.company.on_one, machine.company.switches) == (False, 2)


def test_two_looks_are_apart_and_the_first_ones_come_soon_again(machine: Machine) -> None:
    machine.ratio = BUSY
    machine.steps(4.0, 0.4)
    machine.steps(2.0, 40.0)  # looks become rare
    machine.ratio = FREE
    machine.until_it_switches(2.0)
    machine.steps(1.0, 1.0)
    machine.ratio = BUSY
    machine.until_it_switches(4.0)
    looks, machine.ratio = machine.looks, FREE
    machine.steps(2.0, 0.48)
    assert machine.looks == looks
    machine.steps(2.0, 0.04)
    assert (machine.looks, machine.company.switches) == (looks + 1, 3)
    machine.steps(2.0, 0.11)
    assert machine.company.switches == 4


def test_time_without_steps_does_not_count(machine: Machine) -> None:
    machine.ratio = BUSY
    machine.steps(4.0, 0.4)
    looks = machine.looks
    machine.now += 1000.0
    machine.steps(2.0, 0.2)
    assert machine.looks == looks


def test_steps_of_another_size_have_another_usual_time(machine: Machine) -> None:
    machine.steps(1.0, 1.0, flop=1e8)
    machine.ratio = BUSY
    machine.steps(1.0, 1.0, flop=1e8)
    machine.ratio = FREE
    machine.steps(4.0, 1.0, flop=4e8)
    machine.ratio = BUSY
    machine.steps(4.0, 1.0, flop=4e8)
    machine.steps(1.0, 1.0, flop=1e8)
    assert not machine.company.on_one


def test_steps_of_two_sizes_are_not_mixed(machine: Machine) -> None:
    machine.steps(1.0, 0.05, flop=1e8)
    machine.steps(10.0, 0.2, flop=1e9)
    assert machine.looks == 1
    machine.steps(10.0, 2.0, flop=1e9)
    assert machine.looks == 1


def test_blas_has_one_thread_inside_of_such_a_step() -> None:
    company = Company(lambda: FREE)
    with threadpool_limits(2, "blas"):
        with company.step(1e8):
            assert set(blas_threads()) == {2}
        company.on_one = True
        with company.step(1e8):
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}


def test_a_look_leaves_the_threads_as_they_are() -> None:
    with threadpool_limits(2, "blas"):
        assert 0 < look_at_products() < 1e3
        assert set(blas_threads()) == {2}


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_backend, "usable_cores", lambda: 2)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(("flop", "times"), [(4e6, 0), (4e7, 0), (6e7, 1), (9e8, 1), (2e9, 0)])
def test_steps_that_have_products_on_all_threads_of_blas_are_watched(
    monkeypatch: pytest.MonkeyPatch, flop: float, times: int
) -> None:
    watched: list[float] = []
    monkeypatch.setattr(Company, "_is_slow", lambda _, flop, __: watched.append(flop))
    backend = numpy_backend.NumpyBackend("float32")
    with backend.computing(flop):
        pass
    assert watched == times * [flop]


@pytest.mark.usefixtures("two_cores")
def test_a_number_of_threads_that_was_asked_for_is_kept() -> None:
    kept = numpy_backend.NumpyBackend("float32", threads=usable_cores())
    kept.on_one_thread = True
    assert not kept.on_one_thread
    free = numpy_backend.NumpyBackend("float32")
    free.on_one_thread = True
    assert free.on_one_thread


@pytest.mark.usefixtures("two_cores")
def test_a_training_is_the_same_to_rounding_and_says_that_it_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numpy_backend, "_WAITING_FOR_BLAS", (0.0, 0.0))
    rng = np.random.default_rng(0)
    examples = Examples(rng.normal(size=(400, 50)), rng.integers(5, size=400))
    model, found = Model(MLP((50, 40, 5)), learning_rate=0.5), []
    looks: list[Callable[[], float]] = [lambda: FREE, lambda: BUSY]
    for look in looks:
        backend = select_backend("cpu", "float64")
        clock = iter(np.arange(0.0, 1e6, 0.06))
        backend._company = Company(look, lambda: float(next(clock)))  # type: ignore[attr-defined] # noqa: B023
        trained = fit(model, examples, Plan(steps=50, batch_size=100), backend=backend)
        found.append((trained, backend))
    for name, array in found[0][0].params.items():
        np.testing.assert_allclose(found[1][0].params[name], array, rtol=1e-11)
    assert [b.settings()["switches_of_threads"] for _, b in found] == [0, 1]


@pytest.mark.usefixtures("two_cores")
def test_a_run_goes_on_with_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from xpmlp.commands.main import main

    begun: list[bool] = []
    monkeypatch.setattr(numpy_backend, "_WAITING_FOR_BLAS", (0.0, 0.0))
    monkeypatch.setattr(Company, "_consider", lambda company: begun.append(company.on_one))
    out, flags = str(tmp_path / "run"), ["--hidden", "8", "--epochs"]
    step = Company.step

    def busy(company: Company, flop: float) -> Any:
        company.on_one = True
        return step(company, flop)

    def run(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["xpmlp", "train", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code

    with monkeypatch.context() as patched:
        patched.setattr(Company, "step", busy)
        run("--data", "digits", "--out", out, *flags, "2")
    assert capsys.readouterr().err.count("other programs keep the cores busy") == 1
    begun.clear()
    run("--resume", out, "--epochs", "3")
    assert begun[0]
    assert all(begun)

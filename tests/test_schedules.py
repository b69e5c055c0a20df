from __future__ import annotations

from collections.abc import Callable

import pytest

from xpmlp.errors import UsageError
from xpmlp.mathematics.schedules import Constant, Cosine, Exponential, StepDecay, Warmup


def test_halving_after_20_and_40_epochs_never_inside_one() -> None:
    schedule, per_epoch = StepDecay((20, 40), 0.5), 500
    rates = [0.1 * schedule(step, per_epoch) for step in range(50 * per_epoch)]
    assert rates[: 20 * per_epoch] == [0.1] * (20 * per_epoch)
    assert rates[20 * per_epoch : 40 * per_epoch] == [0.05] * (20 * per_epoch)
    assert rates[40 * per_epoch :] == [0.025] * (10 * per_epoch)


def test_constant() -> None:
    assert {Constant()(step, 7) for step in range(30)} == {1.0}


def test_exponential_by_hand() -> None:
    schedule = Exponential(0.25)
    assert [schedule(step, 2) for step in range(5)] == [1, 0.5, 0.25, 0.125, 0.0625]


def test_cosine_by_hand() -> None:
    schedule = Cosine(6)
    expected = [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873, 0, 0]
    assert [schedule(step, 2) for step in range(8)] == pytest.approx(expected, abs=1e-8)


def test_warmup_rises_to_the_schedule_that_follows() -> None:
    schedule = Warmup(StepDecay((2,), 0.5), 4)
    assert [schedule(step, 3) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5]


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: StepDecay(()), "needs at least one milestone"),
    (lambda: StepDecay((40, 20)), r"\(40, 20\) must be epochs ≥ 1 in rising order"),
    (lambda: StepDecay((20, 20)), "must be epochs ≥ 1 in rising order"),
    (lambda: StepDecay((0,)), "must be epochs ≥ 1 in rising order"),
    (lambda: StepDecay((1,), 0.0), "the factor 0.0 at a milestone must be above 0"),
    (lambda: Exponential(0.0), "the decay 0.0 must be above 0"),
    (lambda: Cosine(0), "a cosine over 0 steps needs at least 1"),
    (lambda: Warmup(Constant(), 0), "a warm-up of 0 steps needs at least 1"),
]


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_settings_without_meaning_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_the_least_settings_are_taken() -> None:
    assert StepDecay((1,), 0.1)(1, 1) == 0.1
    assert Cosine(1)(1, 1) == 0
    assert Warmup(Constant(), 1)(0, 1) == 1
    assert Exponential(0.5)(2, 1) == 0.25

"""One rule of patience, with and without a tolerance, by hand."""

from __future__ import annotations

from math import inf

import pytest

import xpmlp
from xpmlp.training.stopping import Patience


def test_without_a_tolerance_a_score_improves_on_the_best_before_it() -> None:
    patience = Patience(limit=2)
    assert [patience.note(score) for score in (0.1, 0.3, 0.3, 0.2)] == [True, True, False, False]
    assert (patience.best, patience.waiting, patience.exhausted) == (0.3, 2, True)
    assert patience.note(0.4)
    assert (patience.waiting, patience.exhausted) == (0, False)


def test_with_a_tolerance_it_must_be_so_much_greater() -> None:
    """0.25 and 0.5 are powers of two: their sums are exact."""
    patience = Patience(limit=3, tolerance=0.25)
    found = []
    for score in (0.5, 0.625, 0.875, 0.875, 1.0, 1.0):
        greatest = patience.note(score)
        found.append((greatest, patience.best, patience.waiting))
    assert found == [
        (True, 0.5, 0),  # better than nothing
        (True, 0.625, 1),  # the greatest so far, by less than the tolerance
        (True, 0.875, 0),  # by exactly the tolerance
        (False, 0.875, 1),
        (True, 1.0, 2),
        (False, 1.0, 3),
    ]
    assert patience.exhausted
    assert not Patience(limit=inf, tolerance=0.0).after([0.0] * 9).exhausted


def test_a_tolerance_of_nothing_takes_an_equal_score() -> None:
    assert Patience(limit=2, tolerance=0.0).after([0.5, 0.5, 0.5]).waiting == 0
    assert Patience(limit=2).after([0.5, 0.5, 0.5]).waiting == 2


def test_a_rule_of_ones_own_ends_a_model() -> None:
    asked: list[list[int]] = []

    def after_three(history: list[xpmlp.LogRow]) -> bool:
        asked.append([row.step for row in history])
        return len(history) == 3

    data, mlp = xpmlp.load_data("digits"), xpmlp.MLP((64, 10))
    plan = xpmlp.Plan(epochs=9, stop=after_three)
    trained = xpmlp.fit(xpmlp.Model(mlp), data, plan)
    assert (trained.status, len(trained.history)) == ("early_stopped", 3)
    assert asked == [[21], [21, 42], [21, 42, 63]]
    # Each model of a stack by itself: that of the larger rate is done first.
    low = xpmlp.Plan(epochs=9, stop=lambda history: (history[-1].val_loss or 0) < 0.3)
    models = [xpmlp.Model(mlp, learning_rate=rate) for rate in (0.5, 0.01)]
    first, second = xpmlp.fit_stack(models, data, low)
    assert first.status == "early_stopped"
    assert second.status == "completed"
    assert len(first.history) < len(second.history) == 9
    with pytest.raises(xpmlp.UsageError, match="stop is 3: give a function"):
        xpmlp.Plan(stop=3)  # type: ignore[arg-type]


def test_what_a_training_has_come_to() -> None:
    data = xpmlp.load_data("digits")
    model = xpmlp.Model(xpmlp.MLP((64, 10)), learning_rate=0.3)
    training = xpmlp.Training(model, data, xpmlp.Plan(epochs=3))
    for row in training:
        loss, accuracy = xpmlp.Trained.of(training, best=False).evaluate(data.validation)
        assert [loss, accuracy] == pytest.approx([row.val_loss, row.val_accuracy])
        best = min(one.val_loss or 0 for one in training.state.history)
        assert xpmlp.Trained.of(training).evaluate(data.validation)[0] == pytest.approx(best)

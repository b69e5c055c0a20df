"""One rule of patience, with and without a tolerance, by hand."""

from __future__ import annotations

from math import inf

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

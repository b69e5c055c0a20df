"""Initial weights: of each distribution the deviation, the range and the shape, by its formula."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from xpmlp.mathematics.initializers import INITIALIZERS, draw_parameters

FAN_IN, FAN_OUT = 300, 200
# By name: the deviation, and for a uniform distribution the bound.
EXPECTED: dict[str, tuple[float, float | None]] = {
    "uniform": (1 / sqrt(3), 1.0),
    "normal": (1.0, None),
    "lecun": (1 / sqrt(300), None),
    "lecun_normal": (1 / sqrt(300), None),
    "lecun_uniform": (1 / sqrt(300), sqrt(3 / 300)),
    "xavier": (sqrt(2 / 500), sqrt(6 / 500)),
    "xavier_uniform": (sqrt(2 / 500), sqrt(6 / 500)),
    "xavier_normal": (sqrt(2 / 500), None),
    "he": (sqrt(2 / 300), None),
    "he_normal": (sqrt(2 / 300), None),
    "he_uniform": (sqrt(2 / 300), sqrt(6 / 300)),
}


def test_every_initializer_has_its_formula_here() -> None:
    assert EXPECTED.keys() == INITIALIZERS.keys()


@pytest.mark.parametrize("name", INITIALIZERS)
def test_weights_have_the_deviation_and_the_range_of_the_formula(name: str) -> None:
    rng = np.random.default_rng(0)
    params = draw_parameters(rng, (FAN_IN, FAN_OUT, 7), INITIALIZERS[name])
    w, (deviation, bound) = params["layer1.weight"], EXPECTED[name]
    assert {key: array.shape for key, array in params.items()} == {
        "layer1.weight": (300, 200),
        "layer1.bias": (200,),
        "layer2.weight": (200, 7),
        "layer2.bias": (7,),
    }
    assert not params["layer1.bias"].any()
    # 60,000 draws: five standard errors of the mean, and of the deviation.
    assert abs(w.mean()) < 5 * deviation / sqrt(w.size)
    assert w.std() == pytest.approx(deviation, rel=5 / sqrt(w.size))
    if bound is None:
        assert np.abs(w).max() > 3.5 * deviation
        # Of a normal distribution 68.27 % lie within one deviation.
        assert (np.abs(w) < deviation).mean() == pytest.approx(0.6827, abs=0.01)
    else:
        assert 0.999 * bound < np.abs(w).max() <= bound
        assert (np.abs(w) < bound / 2).mean() == pytest.approx(0.5, abs=0.01)

"""Examples that count more than once: the same as if they were there so many times."""

from __future__ import annotations

import numpy as np
import pytest
from stacks import to_host

from xpmlp import (
    MLP,
    SGD,
    Examples,
    Penalty,
    check_gradients,
    diagnose,
    ensemble_probabilities,
    evaluate,
    evaluate_ensemble,
    fit,
    initial_state,
    select_backend,
    stacked,
)
from xpmlp.backends import Backend

TIMES = np.array([2, 0, 1, 3, 1, 0, 2, 5, 1, 1, 4, 2])
RNG = np.random.default_rng(0)
ONCE = Examples(RNG.normal(size=(12, 4)), RNG.integers(3, size=12), weights=TIMES.astype(float))
REPEATED = Examples(np.repeat(ONCE.x, TIMES, axis=0), np.repeat(ONCE.y, TIMES))
NETWORK = MLP((4, 6, 3), "tanh")


def trained(
    backend: Backend, examples: Examples, **settings: object
) -> tuple[dict[str, np.ndarray], list[float]]:
    state = initial_state(NETWORK, SGD(), seed=0, backend=backend)
    rows = fit(
        NETWORK,
        state,
        examples.to_device(backend),
        optimizer=SGD(),
        learning_rate=0.3,
        steps=20,
        log_every=5,
        backend=backend,
        **settings,  # type: ignore[arg-type]
    )
    losses = [row.train_loss for row in rows]
    return to_host(backend, state.params), losses


@pytest.mark.parametrize("penalty", [None, Penalty(l2=0.3, l1=0.1), Penalty(l2=3.0, shared=True)])
def test_full_batch_of_weighted_examples(backend: Backend, penalty: Penalty | None) -> None:
    backend.piece_size = 5
    weighted, losses = trained(backend, ONCE, penalty=penalty, penalized_loss=True)
    repeated, expected = trained(backend, REPEATED, penalty=penalty, penalized_loss=True)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    for name, array in weighted.items():
        np.testing.assert_allclose(array, repeated[name], rtol=1e-9, atol=1e-12)


def test_batches_take_their_weights_along(backend: Backend) -> None:
    # All weights 2 is the same as none, whatever the batches.
    twice = Examples(ONCE.x, ONCE.y, weights=np.full(12, 2.0))
    plain = Examples(ONCE.x, ONCE.y)
    doubled, _ = trained(backend, twice, batch_size=5)
    single, _ = trained(backend, plain, batch_size=5)
    weighted, _ = trained(backend, ONCE, batch_size=5)
    for name, array in doubled.items():
        np.testing.assert_allclose(array, single[name], rtol=1e-12, atol=1e-14)
    assert not np.allclose(weighted["layer1.weight"], single["layer1.weight"])


def test_batch_that_does_not_count_changes_nothing(backend: Backend) -> None:
    before = to_host(backend, initial_state(NETWORK, SGD(), seed=0, backend=backend).params)
    nothing = Examples(ONCE.x[:4], ONCE.y[:4], weights=np.zeros(4))
    after, losses = trained(backend, nothing)
    assert set(losses) == {0.0}
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])


def test_penalty_in_the_loss_is_that_of_the_weights_before_the_step() -> None:
    backend = select_backend("cpu", "float64")
    state = initial_state(NETWORK, SGD(), seed=0, backend=backend)
    squares = sum(float((w**2).sum()) for name, w in state.params.items() if "weight" in name)
    settings = {"optimizer": SGD(), "learning_rate": 0.1, "steps": 1, "backend": backend}
    losses = []
    for penalized in (False, True):
        fresh = initial_state(NETWORK, SGD(), seed=0, backend=backend)
        penalty = Penalty(l2=0.5)
        rows = fit(NETWORK, fresh, REPEATED, penalty=penalty, penalized_loss=penalized, **settings)  # type: ignore[arg-type]
        losses.append(next(rows).train_loss)
    assert losses[1] - losses[0] == pytest.approx(0.25 * squares, rel=1e-12)


def test_everything_that_looks_at_examples_counts_them_so(backend: Backend) -> None:
    states = [initial_state(NETWORK, SGD(), seed=s, backend=backend) for s in (0, 1)]
    once, repeated = ONCE.to_device(backend), REPEATED.to_device(backend)
    params = states[0].params
    found, expected = (evaluate(NETWORK, params, e, backend=backend) for e in (once, repeated))
    assert found == pytest.approx(expected, rel=1e-12)
    settings = {"optimizer": SGD(), "learning_rate": 0.1, "backend": backend}
    norms = [
        diagnose(NETWORK, states[0], e, **settings)[0].gradient_norm  # type: ignore[arg-type]
        for e in (once, repeated)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)
    stack = stacked([state.params for state in states], xp=backend.xp)
    scores = [evaluate_ensemble(NETWORK, stack, e, backend=backend) for e in (once, repeated)]
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-12)
    assert scores[0].accuracy == pytest.approx(scores[1].accuracy, rel=1e-12)
    assert scores[0].member_accuracies == pytest.approx(scores[1].member_accuracies, rel=1e-12)
    assert ensemble_probabilities(NETWORK, stack, once.x, xp=backend.xp).shape == (12, 3)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "poisson_deviance"])
def test_gradients_of_weighted_examples(loss: str) -> None:
    backend, mlp = select_backend("cpu", "float64"), MLP((4, 6, 3), "tanh", loss)
    params = mlp.init(np.random.default_rng(1))
    penalty = Penalty(l2=2.0, shared=True)
    rows = check_gradients(mlp, params, ONCE, backend=backend, penalty=penalty)
    assert max(row.relative for row in rows) < 3e-7

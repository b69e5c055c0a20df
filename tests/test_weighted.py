"""Examples that count more than once: the same as if they were there so many times."""

from __future__ import annotations

import numpy as np
import pytest
from stacks import to_host
from trainings import fit, initial_state

from xpmlp import (
    MLP,
    SGD,
    Examples,
    Model,
    Penalty,
    check_gradients,
    diagnose,
    ensemble_probabilities,
    evaluate,
    evaluate_ensemble,
    select_backend,
    stacked,
)
from xpmlp.backends import Backend
from xpmlp.estimators.conventions import PenaltyPerExample
from xpmlp.mathematics.step import Piece, gradient, piece_gradient

TIMES = np.array([2, 0, 1, 3, 1, 0, 2, 5, 1, 1, 4, 2])
RNG = np.random.default_rng(0)
ONCE = Examples(
    RNG.normal(size=(12, 4)), RNG.integers(3, size=12), sample_weight=TIMES.astype(float)
)
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


@pytest.mark.parametrize("penalty", [None, Penalty(l2=0.3, l1=0.1), PenaltyPerExample(l2=3.0)])
def test_full_batch_of_weighted_examples(backend: Backend, penalty: Penalty | None) -> None:
    backend.piece_size = 5
    weighted, losses = trained(backend, ONCE, penalty=penalty)
    repeated, expected = trained(backend, REPEATED, penalty=penalty)
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    for name, array in weighted.items():
        np.testing.assert_allclose(array, repeated[name], rtol=1e-9, atol=1e-12)


def test_batches_take_their_weights_along(backend: Backend) -> None:
    # All weights 2 is the same as none, whatever the batches.
    twice = Examples(ONCE.x, ONCE.y, sample_weight=np.full(12, 2.0))
    plain = Examples(ONCE.x, ONCE.y)
    doubled, _ = trained(backend, twice, batch_size=5)
    single, _ = trained(backend, plain, batch_size=5)
    weighted, _ = trained(backend, ONCE, batch_size=5)
    for name, array in doubled.items():
        np.testing.assert_allclose(array, single[name], rtol=1e-12, atol=1e-14)
    assert not np.allclose(weighted["layer1.weight"], single["layer1.weight"])


def test_batch_that_does_not_count_changes_nothing(backend: Backend) -> None:
    before = to_host(backend, initial_state(NETWORK, SGD(), seed=0, backend=backend).params)
    nothing = Examples(ONCE.x[:4], ONCE.y[:4], sample_weight=np.zeros(4))
    after, losses = trained(backend, nothing)
    assert set(losses) == {0.0}
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])


def test_penalty_per_example_is_added_to_the_sum_of_the_losses() -> None:
    """C = (Σ_n C_n + ½ λ ‖W‖²) / N for scikit-learn, of the weights before the step."""
    backend = select_backend("cpu", "float64")
    state = initial_state(NETWORK, seed=0, backend=backend)
    weights = {name: w for name, w in state.params.items() if "weight" in name}
    squares, n = sum(float((w**2).sum()) for w in weights.values()), len(REPEATED)
    moved = REPEATED.to_device(backend)
    piece = Piece(moved.x, moved.y)
    plain = piece_gradient(NETWORK, state.params, piece, scale=1 / n, xp=backend.xp)
    penalized = gradient(
        NETWORK,
        state.params,
        moved.batch(xp=backend.xp),
        xp=backend.xp,
        add_up=backend.sum_over_examples,
        penalty=PenaltyPerExample(l2=0.5),
    )
    penalized.multiply_out()
    added = penalized["loss"] - plain["loss"]
    assert added == pytest.approx(0.25 * squares / n, rel=1e-11)
    for name, w in weights.items():
        np.testing.assert_allclose(penalized[name], plain[name] + 0.5 * w / n, rtol=1e-11)


def test_everything_that_looks_at_examples_counts_them_so(backend: Backend) -> None:
    states = [initial_state(NETWORK, SGD(), seed=s, backend=backend) for s in (0, 1)]
    once, repeated = ONCE.to_device(backend), REPEATED.to_device(backend)
    params = states[0].params
    found, expected = (evaluate(NETWORK, params, e, backend=backend) for e in (once, repeated))
    assert found == pytest.approx(expected, rel=1e-12)
    model, variables = Model(NETWORK), states[0].variables
    norms = [
        diagnose(model, variables, e, backend=backend)[0].gradient_norm for e in (once, repeated)
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
    penalty = Penalty(l2=0.1)
    rows = check_gradients(mlp, params, ONCE, backend=backend, penalty=penalty)
    assert max(row.relative for row in rows) < 3e-7


def test_no_share_of_the_weights_is_more_than_all() -> None:
    """However their sums are rounded: all of these examples are right."""
    single = select_backend("cpu", "float32")
    params = {"layer1.weight": np.eye(3, dtype="f"), "layer1.bias": np.zeros(3, dtype="f")}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = rng.integers(3, size=2500)
        weight = rng.uniform(0.1, 3, 2500)
        examples = Examples(9.0 * np.eye(3)[y], y, sample_weight=weight).to_device(single)
        _, accuracy = evaluate(MLP((3, 3)), single.all_to_device(params), examples, backend=single)
        assert 1 - 1e-5 < accuracy <= 1

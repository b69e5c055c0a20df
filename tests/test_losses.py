"""The losses in their other forms: weighted, unfused, of a regression."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MakeBackend

from xpmlp import MLP, UsageError
from xpmlp.backends import Backend
from xpmlp.inspection.softmax_by_hand import cross_entropy, softmax_backward, softmax_jacobian
from xpmlp.mathematics.losses import LOSSES, softmax, softmax_cross_entropy
from xpmlp.rows import named

binary_cross_entropy = LOSSES["binary_cross_entropy"]
mean_squared_error = LOSSES["mean_squared_error"]
poisson_deviance = LOSSES["poisson_deviance"]


def test_mean_squared_error_by_hand(backend: Backend) -> None:
    # ((1 − 0)² + (3 − 5)²) / 2 = 2.5, gradient 2 (1, −2) / 2
    outputs, targets = (backend.to_device(np.array([row])) for row in ([1.0, 3.0], [0.0, 5.0]))
    loss, gradient = mean_squared_error(outputs, targets, xp=backend.xp)
    assert float(backend.to_host(loss)) == 2.5
    np.testing.assert_array_equal(backend.to_host(gradient), [[1, -2]])


# Of the outputs (ln 2, ln 3) and the targets (0, 1), and of (0, 2) for counts; by hand:
# a = (2, 3)/5; −ln ⅗; a − y
# σ = (⅔, ¾): −ln ⅓ − ln ¾; (⅔, −¼)
# (ln² 2 + (ln 3 − 1)²) / 2; (ln 2, ln 3 − 1)
# the same sum, not divided by their number, times ½; the differences
# a = (2, 3), y = (0, 2): 2 + (2 ln(2/3) + 1); a − y
# ln 2 + ln 3 − 1: both are above
# δ = ½: ½ (ln 2 − ¼), beyond; ½ (ln 3 − 1)², within
# q = (ln 2, ln 2 + ln(1 + 3) = ln 8), y = 1: ¼ (1 − ln 2) + ½ (ln 8 − 1), slopes −¼ and ½; z₁ moves
# both, −¼ + ½, and z₂ the second by σ(ln 3) = ¾
# one question with two classes is the cross-entropy
# a tenth of each target is of both classes alike: y = (0.05, 0.95)
LN2, LN3 = np.log(2), np.log(3)
BY_HAND: dict[str, tuple[list[float], float, list[float]]] = {
    "cross_entropy": ([0, 1], np.log(5 / 3), [0.4, -0.4]),
    "binary_cross_entropy": ([0, 1], np.log(3) + np.log(4 / 3), [2 / 3, -0.25]),
    "mean_squared_error": ([0, 1], (LN2**2 + (LN3 - 1) ** 2) / 2, [LN2, LN3 - 1]),
    "squared_error": ([0, 1], (LN2**2 + (LN3 - 1) ** 2) / 2, [LN2, LN3 - 1]),
    "poisson_deviance": ([0, 2], 3 + 2 * np.log(2 / 3), [2, 1]),
    "absolute_error": ([0, 1], LN2 + LN3 - 1, [1, 1]),
    "huber(0.5)": ([0, 1], 0.5 * (LN2 - 0.25) + 0.5 * (LN3 - 1) ** 2, [0.5, LN3 - 1]),
    "quantiles(0.25,0.5)": ([1, 1], 0.25 * (1 - LN2) + 0.5 * (3 * LN2 - 1), [0.25, 0.375]),
    "several_classes(2)": ([0, 1], np.log(5 / 3), [0.4, -0.4]),
    "smoothed_cross_entropy(0.1)": (
        [0, 1],
        -0.05 * np.log(0.4) - 0.95 * np.log(0.6),
        [0.35, -0.35],
    ),
    "smoothed_binary_cross_entropy(0.1)": (
        [0, 1],
        0.95 * LN3 - 0.05 * np.log(2 / 3) - 0.95 * np.log(0.75) + 0.05 * np.log(4),
        [2 / 3 - 0.05, -0.2],
    ),
}


def test_every_loss_has_a_figure_by_hand() -> None:
    families = {name.partition("(")[0] for name in BY_HAND}
    assert {name.partition("(")[0] for name in LOSSES} | LOSSES.families.keys() == families


@pytest.mark.parametrize("name", BY_HAND)
def test_every_loss_is_worked_out_by_hand(backend: Backend, name: str) -> None:
    y, expected, derivatives = BY_HAND[name]
    z = backend.to_device(np.array([[LN2, LN3]]))
    targets = backend.to_device(np.array([y], dtype=float))
    loss, gradient = LOSSES[name](z, targets, xp=backend.xp)
    assert float(backend.to_host(loss)) == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(backend.to_host(gradient), [derivatives], rtol=1e-14)


def test_losses_differ_by_the_number_of_outputs(backend: Backend) -> None:
    """One mean over the outputs, one sum of halves: three outputs tell them apart."""
    z, y = (backend.to_device(np.array([row])) for row in ([1.0, 2.0, 4.0], [0.0, 0.0, 1.0]))
    # (1 + 4 + 9) / 3 and 2 (1, 2, 3) / 3; ½ (1 + 4 + 9) and (1, 2, 3)
    for name, expected, factor in (("mean_squared_error", 14 / 3, 2 / 3), ("squared_error", 7, 1)):
        loss, gradient = LOSSES[name](z, y, xp=backend.xp)
        assert float(backend.to_host(loss)) == pytest.approx(expected, rel=1e-15)
        np.testing.assert_allclose(
            backend.to_host(gradient), [[factor, 2 * factor, 3 * factor]], rtol=1e-15
        )


FAMILIES = [
    "huber(0.7)",
    "quantiles(0.5)",
    "quantiles(0.1,0.5,0.75,0.9)",
    "several_classes(2,3,1)",
    "absolute_error",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_derivatives_are_those_of_central_differences(backend: Backend, name: str) -> None:
    width = {"several_classes(2,3,1)": 6, "quantiles(0.5)": 1}.get(name, 4)
    rng, xp = np.random.default_rng(3), backend.xp
    z, y = rng.normal(size=(5, width)), rng.normal(size=(5, width))
    if name.startswith("several"):
        y = np.concatenate([np.eye(c)[rng.integers(c, size=5)] for c in (2, 3, 1)], axis=1)
    if name.startswith("quantiles"):
        y = np.repeat(y[:, :1], width, axis=1)

    def loss(values: np.ndarray) -> float:
        found, _ = LOSSES[name](backend.to_device(values), backend.to_device(y), xp=xp)
        return float(backend.to_host(found))

    _, gradient = LOSSES[name](backend.to_device(z), backend.to_device(y), xp=xp)
    for place in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[place] = 1e-6
        numeric = (loss(z + step) - loss(z - step)) / 2e-6
        assert float(backend.to_host(gradient)[place]) == pytest.approx(numeric, abs=1e-8)


def test_several_questions_are_asked_apart(backend: Backend) -> None:
    """A softmax over two outputs and one over three, whose losses add up."""
    rng, xp = np.random.default_rng(0), backend.xp
    z, y = rng.normal(size=(4, 5)), np.eye(5)[[0, 1, 0, 1]]
    y[:, 2:] = np.eye(3)[[2, 1, 0, 2]]
    whole, gradient = LOSSES["several_classes(2,3)"](
        backend.to_device(z), backend.to_device(y), xp=xp
    )
    total = 0.0
    for part in (slice(0, 2), slice(2, 5)):
        loss, derivative = LOSSES["cross_entropy"](
            backend.to_device(z[:, part]), backend.to_device(y[:, part]), xp=xp
        )
        total += float(backend.to_host(loss))
        np.testing.assert_allclose(
            backend.to_host(gradient)[:, part], backend.to_host(derivative), rtol=1e-14
        )
    assert float(backend.to_host(whole)) == pytest.approx(total, rel=1e-14)
    p = backend.to_host(LOSSES["several_classes(2,3)"].link.function(backend.to_device(z), xp=xp))
    np.testing.assert_allclose([p[:, :2].sum(axis=1), p[:, 2:].sum(axis=1)], 1, rtol=1e-14)


def test_quantiles_never_cross_and_keep_their_type(make_backend: MakeBackend) -> None:
    backend = make_backend("float32")
    z = np.random.default_rng(0).normal(size=(200, 3)) * [1, 30, 30]
    loss = LOSSES["quantiles(0.1,0.5,0.9)"]
    q = loss.link.function(backend.to_device(z.astype("float32")), xp=backend.xp)
    assert q.dtype == backend.dtype
    assert (np.diff(backend.to_host(q), axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("huber(0)", r"delta is 0\.0: choose a number above 0"),
        ("quantiles(0.9,0.1)", "choose rising shares"),
        ("quantiles(0,0.5)", "choose rising shares"),
        ("quantiles(0.5,0.5)", "choose rising shares"),
        ("several_classes(2,0)", "choose whole numbers from 1 up"),
        ("several_classes(2.5)", "choose whole numbers from 1 up"),
        ("huber", "loss 'huber' is not known"),
        ("huber()", "is not known"),
        ("huber(1", "is not known"),
        ("huber(one)", "is not known"),
        ("cross_entropy(1)", "is not known"),
        ("nothing(1)", "is not known"),
    ],
)
def test_names_of_families(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MLP((2, 1), loss=name)


def test_a_row_of_a_family_is_made_once() -> None:
    name = named("huber", 1.35)
    assert name == "huber(1.35)"
    assert MLP((2, 1), loss=name).loss_function is LOSSES[name]


def test_deviance_of_a_count_below_one(backend: Backend) -> None:
    # y = ½, a = 1: ½ ln ½ − ½ + 1
    z, y = (backend.to_device(np.array([row])) for row in ([0.0], [0.5]))
    loss, _ = poisson_deviance(z, y, xp=backend.xp)
    assert float(backend.to_host(loss)) == pytest.approx(0.5 * np.log(0.5) + 0.5, rel=1e-14)


def test_softmax_jacobian_by_hand(backend: Backend) -> None:
    # a = (¼, ¾): a_i (δ_ij − a_j) = 3/16 on the diagonal, −3/16 beside it
    a = backend.to_device(np.array([0.25, 0.75]))
    jacobian = backend.to_host(softmax_jacobian(a, xp=backend.xp))
    np.testing.assert_allclose(jacobian, np.array([[3, -3], [-3, 3]]) / 16, rtol=1e-15)


def test_softmax_jacobian_equals_central_differences(backend: Backend) -> None:
    z, h = np.random.default_rng(0).normal(size=(5, 4)), 1e-6
    exact = backend.to_host(
        softmax_jacobian(softmax(backend.to_device(z), xp=backend.xp), xp=backend.xp)
    )
    for j in range(4):
        above, below = (
            backend.to_host(softmax(backend.to_device(z + sign * h * np.eye(4)[j]), xp=backend.xp))
            for sign in (1, -1)
        )
        np.testing.assert_allclose(exact[:, :, j], (above - below) / (2 * h), atol=1e-9)


def test_fused_gradient_is_the_unfused_chain(backend: Backend) -> None:
    """δ = a − y is what the chain rule gives through cross-entropy and the Jacobian."""
    rng, xp = np.random.default_rng(0), backend.xp
    z = backend.to_device(rng.normal(size=(2, 6, 4)))
    y = backend.to_device(np.eye(4)[rng.integers(4, size=(2, 6))])
    fused_loss, fused = softmax_cross_entropy(z, y, scale=0.1, xp=xp)
    a = softmax(z, xp=xp)
    loss, da = cross_entropy(a, y, scale=0.1, xp=xp)
    chained = softmax_backward(a, da, xp=xp)
    np.testing.assert_allclose(backend.to_host(loss), backend.to_host(fused_loss), rtol=1e-13)
    np.testing.assert_allclose(
        backend.to_host(chained), backend.to_host(fused), rtol=1e-12, atol=1e-15
    )


def test_unfused_loss_of_a_certain_and_right_answer_is_zero(backend: Backend) -> None:
    a, y = (backend.to_device(np.array([row])) for row in ([1.0, 0.0], [1.0, 0.0]))
    loss, da = cross_entropy(a, y, xp=backend.xp)
    assert float(backend.to_host(loss)) == 0
    np.testing.assert_array_equal(backend.to_host(da), [[-1, 0]])


@pytest.mark.parametrize("name", LOSSES)
def test_weights_scale_each_example(backend: Backend, name: str) -> None:
    rng, loss = np.random.default_rng(0), LOSSES[name]
    z, y = backend.to_device(rng.normal(size=(3, 4))), backend.to_device(np.array([0, 3, 1]))
    w = np.array([0.5, 0.0, 2.0])
    weighted, gradient = loss(z, y, sample_weight=backend.to_device(w), xp=backend.xp)
    each = [loss(z[i : i + 1, ...], y[i : i + 1], xp=backend.xp) for i in range(3)]
    expected = sum(w[i] * backend.to_host(each[i][0]) for i in range(3))
    assert float(backend.to_host(weighted)) == pytest.approx(float(expected), rel=1e-13)
    rows = np.concatenate([w[i] * backend.to_host(each[i][1]) for i in range(3)])
    np.testing.assert_allclose(backend.to_host(gradient), rows, rtol=1e-13)


def test_sigmoid_cross_entropy_is_exact_for_large_logits(backend: Backend) -> None:
    # −ln σ(800) = e^−800 ≈ 0, −ln σ(−800) = 800; a − y to the last digit of e^−30.
    z = backend.to_device(np.array([[800.0, -800.0, -30.0]]))
    y = backend.to_device(np.array([[1.0, 1.0, 0.0]]))
    loss, gradient = binary_cross_entropy(z, y, xp=backend.xp)
    assert float(backend.to_host(loss)) == pytest.approx(800 + np.log1p(np.exp(-30)), rel=1e-15)
    expected = [[0.0, -1.0, np.exp(-30) / (1 + np.exp(-30))]]
    np.testing.assert_allclose(backend.to_host(gradient), expected, rtol=1e-15)


def test_poisson_deviance_of_exact_counts_is_zero(backend: Backend) -> None:
    counts = np.array([[1.0, 7.0]])
    z = backend.to_device(np.log(counts))
    loss, gradient = poisson_deviance(z, backend.to_device(counts), xp=backend.xp)
    assert float(backend.to_host(loss)) == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(backend.to_host(gradient), [[0, 0]], atol=1e-14)
    z = backend.to_device(np.array([[-2.0]]))  # of the count 0 the deviance is a = e^z
    loss, _ = poisson_deviance(z, backend.to_device(np.array([[0.0]])), xp=backend.xp)
    assert float(backend.to_host(loss)) == pytest.approx(np.exp(-2.0), rel=1e-15)


@pytest.mark.parametrize("name", ["huber(1,2)", "several_classes(nan)", "several_classes(inf)"])
def test_numbers_that_make_no_loss(name: str) -> None:
    with pytest.raises(UsageError):
        MLP((2, 3), loss=name)

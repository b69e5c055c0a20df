"""Slips that are planted in right programs are named first; right programs pass."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from students import LAYOUTS, program
from teach_styles import Objects, OneOutput, functions_of

from xpmlp import MLP, UsageError
from xpmlp.teach import SLIPS, check
from xpmlp.teach.student import FUNCTIONS

ONE, THREE = (6, 5, 3), (6, 5, 4, 7, 3)
SIZES = pytest.mark.parametrize("sizes", [ONE, THREE], ids=["one hidden", "three hidden"])
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


@DTYPES
@SIZES
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_right_program_passes(layout: str, sizes: tuple[int, ...], dtype: str) -> None:
    report = check(**program(layout, sizes, dtype=dtype))
    assert report.passed, str(report)
    looked = " ".join(report.right)
    assert all(name in looked for name in ("initialize", "forward", "loss", "gradients", "update"))
    if dtype == "float64":
        assert "central differences" in looked


# Changes of the right program in rows, and what they are called.
GRADIENTS = "def gradients(params, x, y):\n    hs, zs = activations(params, x)"
PLANTED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "z without its bias": (
        "bias_not_added",
        [(' + params[f"b{k}"]\n    ', ' + 0 * params[f"b{k}"]\n    ')],
    ),
    "outputs through the sigmoid, too": (
        "activation_on_outputs",
        [("f(z) if k < layers else softmax(z)", "f(z)")],
    ),
    "linear hidden layers": (
        "activation_missing",
        [("f(z) if k < layers else softmax(z)", "z if k < layers else softmax(z)")],
    ),
    "tanh and not sigmoid": (
        "other_activation",
        [("return 1 / (1 + np.exp(-z))", "return np.tanh(z)")],
    ),
    "softmax over the examples": (
        "softmax_over_examples",
        [
            ("e.sum(axis=1, keepdims=True)", "e.sum(axis=0, keepdims=True)"),
            ("z.max(axis=1, keepdims=True)", "z.max()"),
        ],
    ),
    "softmax that overflows": (
        "softmax_overflows",
        [("np.exp(z - z.max(axis=1, keepdims=True))", "np.exp(z)")],
    ),
    "log of 0": ("log_of_zero", [("np.log(np.maximum(outputs, 1e-30))", "np.log(outputs)")]),
    "loss without its minus": (
        "loss_sign",
        [("return -np.mean(np.sum(y", "return np.mean(np.sum(y")],
    ),
    "mean over the classes, too": (
        "other_loss",
        [
            (
                "-np.mean(np.sum(y * np.log(np.maximum(outputs, 1e-30)), axis=1))",
                "-np.mean(y * np.log(np.maximum(outputs, 1e-30)))",
            )
        ],
    ),
    "squared error as the loss": (
        "other_loss",
        [
            (
                "-np.mean(np.sum(y * np.log(np.maximum(outputs, 1e-30)), axis=1))",
                "np.mean((outputs - y) ** 2)",
            )
        ],
    ),
    "gradient of the squared error": (
        "gradient_of_another_loss",
        [
            (
                "delta = (hs[-1] - y) / n",
                "a = hs[-1]\n    e = 2 * (a - y) / n / a.shape[1]\n"
                "    delta = a * (e - (a * e).sum(axis=1, keepdims=True))",
            )
        ],
    ),
    "y − a": ("sign", [("(hs[-1] - y)", "(y - hs[-1])")]),
    "softmax's Jacobian again": (
        "softmax_derivative_twice",
        [
            (
                "delta = (hs[-1] - y) / n",
                "delta = (hs[-1] - y) / n\n    a = hs[-1]\n"
                "    delta = a * (delta - (a * delta).sum(axis=1, keepdims=True))",
            )
        ],
    ),
    "product transposed": (
        "product_transposed",
        [("hs[k - 1].T @ delta", "delta.T @ hs[k - 1]")],
    ),
    "product transposed and reshaped": (
        "product_transposed",
        [("hs[k - 1].T @ delta", '(delta.T @ hs[k - 1]).reshape(params[f"W{k}"].shape)')],
    ),
    "not divided": ("not_divided", [("(hs[-1] - y) / n", "(hs[-1] - y)")]),
    "weights not divided": ("not_divided", [("hs[k - 1].T @ delta", "n * hs[k - 1].T @ delta")]),
    "divided twice": ("divided_twice", [("hs[k - 1].T @ delta", "hs[k - 1].T @ delta / n")]),
    "bias averaged": ("divided_twice", [("delta.sum(axis=0)", "delta.mean(axis=0)")]),
    "bias of the first example": ("bias_not_summed", [("delta.sum(axis=0)", "delta[0]")]),
    "bias not summed": ("bias_not_summed", [("delta.sum(axis=0)", "delta")]),
    "bias forgotten": ("gradient_zero", [("delta.sum(axis=0)", "0 * delta.sum(axis=0)")]),
    "derivative forgotten": (
        "derivative_forgotten",
        [(" * f_slope(hs[k - 1])", "")],
    ),
    "derivative forgotten in one layer": (
        "derivative_forgotten",
        [(" * f_slope(hs[k - 1])", " * (f_slope(hs[k - 1]) if k != 2 else 1)")],
    ),
    "a (1 − a) of z": ("derivative_of_output_at_z", [("f_slope(hs[k - 1])", "f_slope(zs[k - 2])")]),
    "σ(z) (1 − σ(z)) of a": (
        "derivative_of_z_at_output",
        [("return a * (1 - a)", "return f(a) * (1 - f(a))")],
    ),
    "bias summed over the units, too": (
        "bias_summed_over_units",
        [("delta.sum(axis=0)", "delta.sum(keepdims=True)")],
    ),
    "a 1 taken off at all labels' columns": (
        "all_labels_taken",
        [
            (
                "delta = (hs[-1] - y) / n",
                "delta = hs[-1] / n\n    delta[:, y.argmax(axis=1)] -= 1 / n",
            )
        ],
    ),
    "biases stay": (
        "part_not_updated",
        [
            (
                "w - learning_rate * gradients[name] for",
                'w - (name[0] == "W") * learning_rate * gradients[name] for',
            )
        ],
    ),
    "√ of the inputs the wrong way up": (
        "start_too_large",
        [("rng.normal(0, a ** -0.5, ", "rng.normal(0, (a / 2) ** 0.5, ")],
    ),
    "the last example alone": (
        "one_example",
        [("delta = (hs[-1] - y) / n", "delta = (hs[-1] - y) / n\n    delta[:-1] = 0")],
    ),
    "a layer that is never trained": (
        "gradient_zero",
        [
            (
                'grads[f"W{k}"] = hs[k - 1].T @ delta',
                'grads[f"W{k}"] = (k > 1) * (hs[k - 1].T @ delta)',
            )
        ],
    ),
    "1 − a": ("other_derivative", [("return a * (1 - a)", "return 1 - a")]),
    "derivative at δ": (
        "derivative_of_error",
        [
            (
                '(delta @ params[f"W{k}"].T) * f_slope(hs[k - 1])',
                '(d := delta @ params[f"W{k}"].T) * f_slope(f(d))',
            )
        ],
    ),
    "a (1 − a) in the output layer, too": (
        "output_derivative",
        [("delta = (hs[-1] - y) / n", "delta = (hs[-1] - y) / n * hs[-1] * (1 - hs[-1])")],
    ),
    "rate twice": (
        "rate_twice",
        [("w - learning_rate * gradients[name]", "w - learning_rate**2 * gradients[name]")],
    ),
    "uphill": ("uphill", [("return {name: w - learning_rate", "return {name: w + learning_rate")]),
    "no rate": ("rate_not_used", [("w - learning_rate * gradients[name]", "w - gradients[name]")]),
    "a name for a new array": (
        "nothing_changes",
        [
            (
                "return {name: w - learning_rate * gradients[name] for name, w in params.items()}",
                "for name, w in params.items():\n        w = w - learning_rate * gradients[name]",
            )
        ],
    ),
    "weights changed at once": (
        "updated_too_early",
        [
            (
                "    grads = gradients(params, x, y)\n    for name in params:\n"
                "        params[name] -= learning_rate * grads[name]\n",
                """    hs, zs = activations(params, x)
    layers = len(params) // 2
    delta = (hs[-1] - y) / len(x)
    for k in range(layers, 0, -1):
        params[f"W{k}"] = params[f"W{k}"] - learning_rate * (hs[k - 1].T @ delta)
        params[f"b{k}"] = params[f"b{k}"] - learning_rate * delta.sum(axis=0)
        if k > 1:
            delta = (delta @ params[f"W{k}"].T) * f_slope(hs[k - 1])
""",
            )
        ],
    ),
    "the caller's features are centred": (
        "view_not_copy",
        [("    hs, zs = [x], []", "    x -= x.mean(axis=0)\n    hs, zs = [x], []")],
    ),
    "float16": ("truncated", [(".astype(DTYPE)", ".astype(np.float16)")]),
    "whole numbers": ("truncated", [("np.zeros(sizes[k], DTYPE)", "np.zeros(sizes[k], int)")]),
    "all weights equal": (
        "all_equal",
        [
            (
                "rng.normal(0, a ** -0.5, (a, b))",
                "np.full((a, b), 0.1)",
            )
        ],
    ),
    "saturated from the start": (
        "dead_from_the_start",
        [
            ("rng.normal(0, a ** -0.5, ", "rng.uniform(50, 90, "),
            ("np.zeros(sizes[k], DTYPE)", "np.full(sizes[k], 1000.0, DTYPE)"),
        ],
    ),
}


@DTYPES
@SIZES
@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_slip_is_named_first(planted: str, sizes: tuple[int, ...], dtype: str) -> None:
    slip, changes = PLANTED[planted]
    report = check(**program("rows", sizes, *changes, dtype=dtype))
    assert report.findings, str(report)
    first = report.findings[0]
    assert first.slip == slip, str(report)
    assert first.certain
    said = str(report)
    assert first.formula in said
    assert first.section in said


MOMENTUM: dict[str, tuple[str, tuple[str, str]]] = {
    "sign": ("momentum_sign", ("momentum * v + g", "g - momentum * v")),
    "not kept": ("momentum_not_kept", ("velocity = [momentum * v + g", "velocity = [0 * v + g")),
    "uphill": ("uphill", ("w - learning_rate * v", "w + learning_rate * v")),
    "the first row left out where the last is the bias": (
        "wrong_row_left_out",
        ("delta.dot(ws[k][:-1].T)", "delta.dot(ws[k][1:].T)"),
    ),
}


def test_momentum_that_looks_ahead_is_right() -> None:
    change = (
        "[w - learning_rate * v for w, v in zip(ws, velocity)]",
        "[w - learning_rate * (g + momentum * v) for w, g, v in zip(ws, gs, velocity)]",
    )
    report = check(**program("bias inside", ONE, change))
    assert report.passed, str(report)


@pytest.mark.parametrize("planted", MOMENTUM)
def test_slips_of_momentum(planted: str) -> None:
    slip, change = MOMENTUM[planted]
    report = check(**program("bias inside", ONE, change))
    assert report.findings[0].slip == slip, str(report)


def test_weights_that_are_not_transposed_on_the_way_down() -> None:
    change = (
        '(delta @ params[f"W{k}"].T)',
        '(delta @ (params[f"W{k}"] if k == 2 else params[f"W{k}"].T))',
    )
    report = check(**program("rows", (6, 5, 5, 3), change))
    assert report.findings[0].slip == "weights_not_transposed", str(report)
    assert report.findings[0].layer == 1


def test_weights_of_a_layer_made_with_its_output() -> None:
    change = ("hs[k - 1].T @ delta", "(hs[k] if k == 2 else hs[k - 1]).T @ delta")
    report = check(**program("rows", (6, 5, 5, 3), change))
    assert report.findings[0].slip == "input_of_another_layer", str(report)
    assert report.findings[0].place == "the weights of layer 2"


BEFORE: dict[str, tuple[str, str, str]] = {
    "one_hot": (
        "one_hot_shifted",
        "return np.eye(classes)[labels]",
        "return np.eye(classes)[labels - 1]",
    ),
    "prepare": (
        "scaled_by_test_set",
        "m, s = a.mean(0), a.std(0)\n    return (a - m) / s, (b - m) / s",
        "return (a - a.mean(0)) / a.std(0), (b - b.mean(0)) / b.std(0)",
    ),
    "prepare ": ("not_scaled", "return a / 255, b / 255", "return a, b"),
    "batches": (
        "not_shuffled",
        "order = np.random.default_rng(e).permutation(len(x))",
        "order = np.arange(len(x))",
    ),
    "batches ": ("labels_shifted", "y[order[i:i + n]]", "y[order[i - 1:i + n - 1]]"),
    "batches  ": ("examples_lost", "range(0, len(x), n)", "range(0, len(x) // 2, n)"),
    "batches   ": (
        "rows_repeated",
        "permutation(len(x))",
        "permutation(len(x)).repeat(2)[1:-20]",
    ),
    "one_hot ": (
        "one_hot_other",
        "return np.eye(classes)[labels]",
        "return np.zeros((len(labels), classes))",
    ),
    "prepare  ": (
        "not_by_column",
        "return np.c_[a / 255, a[:, 0] * 0 + 1], np.c_[b / 255, b[:, 0] * 0 + 1]",
        "return a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)",
    ),
}
TEXTS = {
    "one_hot": "def one_hot(labels, classes):\n    {}",
    "prepare": "def prepare(a, b):\n    {}",
    "batches": """def batches(x, y, n, e):
    order = np.random.default_rng(e).permutation(len(x))
    for i in range(0, len(x), n):
        yield x[order[i:i + n]], y[order[i:i + n]]""",
}


@pytest.mark.parametrize("planted", BEFORE)
def test_slips_before_the_network(planted: str) -> None:
    slip, right, wrong = BEFORE[planted]
    name = planted.strip()
    found = {}
    for text in (right, wrong):
        source = TEXTS[name].replace("{}", text)
        if name == "batches":
            source = source.replace(right, text)
        made: dict[str, Any] = {"np": np}
        exec(source, made)
        found[text] = check(MLP(ONE), **{name: made[name]})
    assert found[right].passed, str(found[right])
    assert [finding.slip for finding in found[wrong].findings] == [slip]


def test_a_learning_rate_that_is_a_hundred_times_too_large() -> None:
    assert check(MLP(ONE), learning_rate=0.5, **_softmax()).passed
    report = check(MLP(ONE), learning_rate=100.0, **_softmax())
    assert [finding.slip for finding in report.findings] == ["rate_too_large"]


def _softmax() -> dict[str, Any]:
    made: dict[str, Any] = {}
    exec(LAYOUTS["rows"][0], made | {"DTYPE": "float64"}, made)
    made["np"] = np

    def softmax(z: Any) -> Any:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    return {"softmax": softmax}


def test_gradients_in_another_order() -> None:
    change = (
        "parts = [(hs[k].T @ delta).ravel(), delta.sum(0)] + parts",
        "parts = [delta.sum(0), (hs[k].T @ delta).ravel()] + parts",
    )
    report = check(**program("flat", ONE, change))
    assert [finding.slip for finding in report.findings] == ["other_order"]


def test_a_slip_that_nobody_knows_is_no_slip_of_another_name() -> None:
    change = ("delta = (hs[-1] - y) / n", "delta = (hs[-1] - y) ** 3 / n")
    report = check(**program("rows", ONE, change))
    first = report.findings[0]
    assert (first.slip, first.certain) == ("unknown", False)
    assert first.says.startswith("the gradient of the weights of layer 2 is none that a known")
    assert "a guess" in str(report)


def test_a_softmax_of_columns_or_of_one_example() -> None:
    def of_columns(z: Any) -> Any:
        e = np.exp(z - z.max(axis=0))
        return e / e.sum(axis=0)

    assert check(MLP(ONE), softmax=of_columns).right == ["softmax"]
    report = check(MLP(ONE), softmax=lambda z: np.exp(z) / np.exp(z).sum(axis=0))
    assert report.findings[0].slip == "softmax_overflows"
    report = check(MLP(ONE), softmax=lambda z: np.exp(z))
    assert report.findings[0].slip == "unknown"


def test_two_slips_at_once() -> None:
    """The first on the way back is named; that there is more is said."""
    changes = [(" * f_slope(hs[k - 1])", ""), ("delta.sum(axis=0)", "delta[0]")]
    report = check(**program("rows", THREE, *changes))
    assert report.findings[0].slip == "bias_not_summed"
    assert len(report.findings) == 2
    assert "beside that" in report.findings[1].says


def test_what_a_function_raises_is_in_the_report() -> None:
    report = check(**program("rows", ONE, ("n = len(params) // 2, len(x)", "n = 2, len(nobody)")))
    assert report.findings[0].slip == "raises"
    assert "NameError" in report.findings[0].says
    assert "forward" in report.right


def test_gradients_alone_and_all_slips_are_planted() -> None:
    given = program("columns", ONE)
    del given["forward"], given["loss"]
    assert check(**given).passed
    named = {slip for slip, _ in PLANTED.values()} | {slip for slip, _ in MOMENTUM.values()}
    named |= {slip for slip, *_ in BEFORE.values()}
    named |= {
        "rate_too_large",
        "other_order",
        "start_too_large",
        "part_not_updated",
        "weights_not_transposed",
        "raises",
        "unknown",
    }
    named |= {"input_of_another_layer", "not_written"}  # of templates: test_teach_command.py
    assert named == set(SLIPS)


PROGRAMS = Path(__file__).parent / "student_programs"
JUDGED: dict[str, Any] = json.loads((PROGRAMS / "judged.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", JUDGED)
def test_a_program_of_another_hand_is_judged_rightly(name: str) -> None:
    names = runpy.run_path(str(PROGRAMS / name))
    functions = {function: names[function] for function in FUNCTIONS if function in names}
    report = check(
        MLP(names["SIZES"], names.get("ACTIVATION", "sigmoid")),
        targets=names.get("TARGETS"),
        learning_rate=names.get("LEARNING_RATE"),
        **functions,
    )
    wanted = JUDGED[name]["first"]
    assert (report.findings[0].slip if report.findings else None) == wanted, str(report)


def test_the_programs_and_what_is_wrong_with_them_are_in_the_docs() -> None:
    page = (REPOSITORY / "docs" / "teaching.md").read_text(encoding="utf-8")
    assert len(JUDGED) == len(list(PROGRAMS.glob("s*.py"))) == 20
    for name, found in JUDGED.items():
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"`{found['first']}`" in line if found["first"] else "passes" in line


def test_objects_may_remember_and_know_each_other() -> None:
    report = check(MLP((6, 5, 4, 3)), **functions_of(Objects))
    assert report.passed, str(report)
    assert {"forward", "step"} <= set(report.right)


def test_one_output_has_both_labels() -> None:
    """And a velocity may be changed where it is."""
    mlp = MLP((6, 5, 1), loss="binary_cross_entropy")
    report = check(mlp, targets="ids", **functions_of(OneOutput))
    assert report.passed, str(report)
    assert "update with momentum" in report.right

    def of_ones(outputs: Any, y: Any) -> float:  # noqa: ARG001
        return float(-np.log(outputs).mean())

    report = check(mlp, targets="ids", **functions_of(OneOutput, loss=of_ones))
    assert [finding.function for finding in report.findings] == ["loss"]
    assert "softmax" not in str(report)


@pytest.mark.parametrize("factor", [1 / 3, 2.0, -8.0])
def test_a_gradient_that_is_a_factor_off_is_no_slip_elsewhere(factor: float) -> None:
    change = ("(hs[-1] - y) / n", f"{factor} * (hs[-1] - y) / n")
    report = check(**program("rows", ONE, change))
    assert f"it is the right one times {factor:.4g}" in report.findings[0].says, str(report)


def test_batches_that_raise_while_they_are_drawn() -> None:
    def batches(x: Any, y: Any, size: int, epoch: int) -> Any:  # noqa: ARG001
        yield x[:size], y[:size]
        raise KeyError("order")

    report = check(MLP(ONE), batches=batches)
    assert "KeyError" in report.findings[0].says


def test_a_network_of_usual_size_is_looked_at_in_time() -> None:
    report = check(**program("rows", (784, 30, 10)))
    assert report.passed, str(report)
    assert "central differences" in " ".join(report.right)


def test_usage() -> None:
    with pytest.raises(UsageError, match="there is no function"):
        check(MLP(ONE))
    with pytest.raises(UsageError, match="function 'backward' is not known"):
        check(MLP(ONE), backward=print)
    with pytest.raises(UsageError, match="there are no parameters"):
        check(MLP(ONE), forward=print)
    with pytest.raises(UsageError, match="targets 'hot' is not known"):
        check(MLP(ONE), targets="hot", forward=print)


def test_the_page_shows_where_it_is_wrong_first() -> None:
    change = (" * f_slope(hs[k - 1])", " * (f_slope(hs[k - 1]) if k != 2 else 1)")
    page = check(**program("rows", THREE, change))._repr_html_()
    boxes = page.split("</svg>")[0].split('<g data-colour="')[1:]
    colour = {box.split("δ of layer ")[1][0]: box[:7] for box in boxes if "δ of layer" in box}
    assert colour["4"] == colour["3"] == colour["2"] == "#2a7f3f"
    assert colour["1"] == "#b3261e"
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")

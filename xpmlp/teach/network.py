"""The network itself: which layout the parameters have, outputs, loss and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpmlp.mathematics.activations import ACTIVATIONS
from xpmlp.teach.findings import Finding
from xpmlp.teach.layout import Params, possible_layouts
from xpmlp.teach.numbers import same, tolerance_of, worst
from xpmlp.teach.report import Report
from xpmlp.teach.structure import copied, leaves, with_arrays
from xpmlp.teach.student import RaisedError, Student, first_of
from xpmlp.teach.truth import Truth, other_activations

_LOUD = 1e4
_COLUMNS = (
    "taken of the columns of all labels, outputs[:, y], and not of each example's own label, "
    "outputs[np.arange(N), y]"
)


class Case(NamedTuple):
    """Parameters in the author's structure, the same in ours, and what is right for a batch."""

    params: Any
    truth: Truth

    @property
    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The batch, as rows."""
        return self.truth.x, self.truth.y


def case_of(student: Student, report: Report) -> Case | None:
    """Find the layout of the parameters; of several possible ones that whose outputs are right."""
    rng = np.random.default_rng(0)
    structure = student.params
    arrays = [array for _, array in leaves(structure)]
    # The real type of whole numbers is asked for elsewhere.
    drawn = [
        rng.normal(0, 0.6, a.shape).astype(a.dtype if a.dtype.kind == "f" else np.float64)
        for a in arrays
    ]
    params = with_arrays(structure, drawn)
    shapes, sizes = [a.shape for a in arrays], student.mlp.sizes
    layouts = list(possible_layouts(shapes, sizes))
    if not layouts:
        detail = f"arrays of the shapes {shapes} are no parameters of a network {sizes}"
        report.findings.append(Finding("unknown", "params", detail=detail))
        return None
    x, y = drawn_batch(student)
    columns = (False, True) if student.columns is None else (student.columns,)
    cases = []
    for layout in (replace(one, columns=c) for one in layouts for c in columns):
        named = layout.named(drawn)
        if named is not None:
            cases.append((layout, Case(params, Truth(student.mlp, named, x, y))))
    for agree in (_agrees, _fits):
        for layout, case in cases:
            student.layout = layout
            if agree(student, case):
                report.layout = str(layout)
                return case
    student.layout, case = cases[0]
    report.layout = str(student.layout)
    return case


def drawn_batch(student: Student) -> tuple[np.ndarray, np.ndarray]:
    """Return some examples as rows, as many as no layer has units; every class is there."""
    sizes, rng = student.mlp.sizes, np.random.default_rng(5)
    near = {size + k for size in sizes for k in (-1, 0, 1)}
    count = next(n for n in range(7, 10**6) if n not in near)
    x = rng.normal(size=(count, sizes[0]))
    loss = student.mlp.loss_function
    if loss.link.predicts == "values":
        return x, rng.normal(size=(count, sizes[-1]))
    if not loss.one_class:  # each output is true or false by itself, and both is there
        return x, rng.permuted(np.arange(count)[:, None] % 2 * np.ones(sizes[-1]), axis=0)
    return x, np.eye(sizes[-1])[rng.permutation(np.arange(count) % sizes[-1])]


def _agrees(student: Student, case: Case) -> bool:
    """Tell whether outputs are right, or, without `forward`, gradients."""
    x, y = case.batch
    try:
        if student.has("forward"):
            found = student.outputs(copied(case.params), x)
            return _is_output(found, case.truth)
        if student.has("gradients"):
            named = named_gradients(student, student.gradients_of(copied(case.params), x, y))
            tolerance = tolerance_of(*(a for _, a in leaves(case.params)))
            right = case.truth.gradients
            return named is not None and any(
                same(named[name], right[name], tolerance) for name in case.truth.backwards[:1]
            )
    except (RaisedError, ValueError, TypeError):
        return False
    return True


def _fits(student: Student, case: Case) -> bool:
    """Tell whether outputs have the right shape."""
    if not student.has("forward"):
        return True
    try:
        return student.outputs(copied(case.params), case.truth.x).shape == case.truth.outputs.shape
    except (RaisedError, ValueError, TypeError):
        return False


def _is_output(found: np.ndarray, truth: Truth, tolerance: float = 1e-3) -> bool:
    return any(same(found, right, tolerance) for right in (truth.predicted, truth.outputs))


def named_gradients(student: Student, result: Any) -> Params | None:
    """Return gradients by our names, in whatever structure they come, also last layer first."""
    arrays = [array for _, array in leaves(result)]
    layout = student.layout
    if layout is None:
        return None
    for order in (arrays, arrays[::-1]):
        found = layout.named(order)
        if found is not None:
            return found
    for other in possible_layouts([a.shape for a in arrays], layout.sizes):
        if other.transposed == layout.transposed and other.bias == layout.bias:
            return other.named(arrays)
    return None


def look_at_forward(student: Student, case: Case, report: Report) -> bool:
    """See whether outputs are right; if not, what leads to them. Tell whether to go on."""
    truth, (x, _) = case.truth, case.batch
    params, given = copied(case.params), student.x_of(x)
    before = given.copy()
    returned = student.call("forward", params, given)
    result = np.asarray(first_of(returned))
    found = student.rows(result)
    if not np.array_equal(given, before):
        report.findings.append(Finding("view_not_copy", "forward", "forward", "x", certain=True))
    changed = changed_in(params, case.params)
    if changed:
        report.findings.append(
            Finding("view_not_copy", "forward", "forward", changed, certain=True)
        )
    tolerance = tolerance_of(result, *(a for _, a in leaves(case.params)))
    if _is_output(found, truth, tolerance):
        report.right.append("forward")
        return True
    slip, place, detail, layer = _forward_slip(found, truth, tolerance)
    evidence = worst(found, truth.predicted, "outputs")
    report.findings.append(
        Finding(slip, "forward", place, detail, evidence, slip != "unknown", layer)
    )
    return False


def _forward_slip(
    found: np.ndarray, truth: Truth, tolerance: float
) -> tuple[str, str, str, int | None]:
    """Return the slip whose outputs these are, its place, what else there is to say, its layer."""
    link = truth.mlp.loss_function.link.function
    for slip, place, detail, layer, outputs in _forward_variants(truth):
        predicted = link(outputs.copy(), xp=truth.xp)
        if any(same(found, right, tolerance) for right in (predicted, outputs)):
            return slip, place, detail, layer
    z = truth.outputs
    over = np.exp(z - z.max()) / np.exp(z - z.max()).sum(axis=0, keepdims=True)
    if truth.mlp.loss_function.one_class and same(found, over, tolerance):
        return "softmax_over_examples", "", "", truth.mlp.layers
    return "unknown", "", "the outputs are not those of the network that was said", None


def _forward_variants(truth: Truth) -> Iterator[tuple[str, str, str, int | None, np.ndarray]]:
    mlp, params = truth.mlp, truth.params
    layers = range(1, mlp.layers + 1)
    for some in ([k] for k in layers):
        zero = {k: 0 * w if k == f"layer{some[0]}.bias" else w for k, w in params.items()}
        yield "bias_not_added", f"layer {some[0]}", "", some[0], truth.outputs_of(mlp, zero)
    none = {k: 0 * w if k.endswith("bias") else w for k, w in params.items()}
    yield "bias_not_added", "all layers", "", 1, truth.outputs_of(mlp, none)
    plain = ACTIVATIONS["identity"]
    hidden = list(range(1, mlp.layers))
    for some in [[k] for k in hidden] + ([hidden] if len(hidden) > 1 else []):
        place = f"layer {some[0]}" if len(some) == 1 else "all hidden layers"
        other = truth.with_activations(dict.fromkeys(some, plain))
        yield "activation_missing", place, "", some[0], truth.outputs_of(other)
    if hidden:
        f = mlp.activations[-1]
        on_outputs = np.asarray(f.function(truth.outputs.copy(), xp=truth.xp))
        yield "activation_on_outputs", "", "", mlp.layers, on_outputs
    for name, outputs in other_activations(truth):
        yield "other_activation", "", name, 1, outputs


def look_at_loss(student: Student, case: Case, report: Report) -> float | None:
    """See whether the loss is right; return how many times ours it is, None where it is none."""
    truth, (x, y) = case.truth, case.batch
    found = student.loss_of(copied(case.params), x, y)
    tolerance = tolerance_of(*(a for _, a in leaves(case.params)))
    for factor in _usual_factors(truth):
        if same(found, factor * truth.loss, tolerance):
            report.right.append("loss" + ("" if factor == 1 else f" ({factor:g} times the mean)"))
            return factor
    slip, detail = _loss_slip(found, truth, tolerance)
    evidence = f"the loss is {found:.6g}, and {truth.loss:.6g} is right"
    report.findings.append(
        Finding(slip, "loss", detail=detail, evidence=evidence, certain=slip != "unknown")
    )
    return None


def _usual_factors(truth: Truth) -> list[float]:
    """Return the factors that books give a loss: of a mean or a sum, of squares also a half."""
    n, k = float(truth.count), float(truth.mlp.sizes[-1])
    more = {"mean_squared_error": [0.5, k, 0.5 * k], "binary_cross_entropy": [1 / k]}
    own = [1.0, *more.get(truth.mlp.loss, [])]
    return own + [n * factor for factor in own]


def _loss_slip(found: float, truth: Truth, tolerance: float) -> tuple[str, str]:
    n, k, loss = float(truth.count), float(truth.mlp.sizes[-1]), truth.loss
    squares = ((truth.predicted - truth.y) ** 2).sum() / n
    picked = truth.predicted[:, truth.y.argmax(axis=1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = float(-np.log(picked).mean())
        p, y = truth.predicted, truth.y
        binary = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum() / n
    known: dict[str, float] = {}
    if truth.mlp.loss_function.one_class:
        of_softmax = "the binary cross-entropy, with (1 − y) ln(1 − a), of a softmax"
        known |= {of_softmax: binary, f"the mean of {of_softmax}": binary / k}
        known[_COLUMNS] = columns
    known |= {
        "divided by the number of classes as well": loss / k,
        "taken with the logarithm to the base 2": loss / np.log(2),
        "taken with the logarithm to the base 10": loss / np.log(10),
        "the mean squared error": squares / k,
        "the squared error of each example": squares,
        "half of the squared error of each example": squares / 2,
        "divided by the number of examples twice": loss / n,
    }
    if any(same(-found, factor * loss, tolerance) for factor in _usual_factors(truth)):
        return "loss_sign", ""
    for detail, value in known.items():
        if same(found, value, tolerance) or same(found, n * value, tolerance):
            return "other_loss", detail
    return "unknown", "the loss is not the one that was said"


def look_at_extremes(student: Student, case: Case, report: Report) -> None:
    """See whether outputs and loss are numbers where a network is very sure, and wrong."""
    truth, (x, y) = case.truth, case.batch
    if not truth.mlp.loss_function.one_class:
        return
    loud = with_arrays(case.params, [_LOUD * a for _, a in leaves(case.params)])
    outputs = student.outputs(copied(loud), x)
    if not np.isfinite(outputs).all():
        report.findings.append(
            Finding("softmax_overflows", "forward", certain=True, layer=truth.mlp.layers)
        )
    elif student.has("loss") and not np.isfinite(student.loss_of(copied(loud), x, y)):
        report.findings.append(Finding("log_of_zero", "loss", certain=True, layer=truth.mlp.layers))
    else:
        report.right.append("outputs and loss of a network that is very sure")


def changed_in(after: Any, before: Any) -> str:
    """Return the first parameter that was changed, "" where none was.

    An object may remember other arrays, such as the inputs of its layer.
    """
    found = dict(leaves(after))
    changed = (p for p, b in leaves(before) if p in found and not np.array_equal(found[p], b))
    return next((f"params{path}" for path in changed), "")

"""Gradients: the first place, on the way back, that differs from what is right, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpmlp.teach.findings import Finding
from xpmlp.teach.layout import Params, number_of, said
from xpmlp.teach.network import Case, changed_in, named_gradients
from xpmlp.teach.numbers import same, tolerance_of, worst
from xpmlp.teach.report import Report
from xpmlp.teach.structure import copied, leaves, with_arrays
from xpmlp.teach.student import Student
from xpmlp.teach.truth import Truth
from xpmlp.teach.variants import Variant, variants

# So many entries are held against central differences, of more a sample.
_DIFFERENCES = 300


def look_at_gradients(
    student: Student, case: Case, report: Report, factor: float | None
) -> Params | None:
    """See whether gradients are right; if not, name the slip at the first place that differs."""
    truth, (x, y) = case.truth, case.batch
    params = copied(case.params)
    result = student.gradients_of(params, x, y)
    changed = changed_in(params, case.params)
    if changed:
        report.findings.append(
            Finding("view_not_copy", "gradients", "gradients", changed, certain=True)
        )
    named = named_gradients(student, result)
    if named is None:
        report.findings.append(_shape_slip(student, case, result))
        return None
    tolerance = tolerance_of(*(a for _, a in leaves(result)))
    times = 1.0 if factor is None else factor
    if judge(named, truth, times, tolerance, report, "gradients"):
        report.right.append("gradients" + _beside_differences(student, case, named))
        return named
    return None


def judge(
    named: Params,
    truth: Truth,
    factor: float,
    tolerance: float,
    report: Report,
    function: str,
    rate: float | None = None,
) -> bool:
    """Tell whether gradients are right; if not, add what is likely wrong to the report."""
    right = {name: factor * g for name, g in truth.gradients.items()}
    bias_free = {n for n in named if n.endswith("bias") and not np.any(truth.params[n])}
    order = [name for name in truth.backwards if name not in bias_free]
    wrong = [name for name in order if not same(named[name], right[name], tolerance)]
    if not wrong:
        return True
    report.wrong_parameters = wrong
    first = wrong[0]
    evidence = worst(named[first], right[first], f"the gradient of {said(first)}, entry ")
    best: tuple[int, Variant] | None = None
    for variant in variants(truth, rate):
        scaled = {name: factor * g for name, g in variant.gradients.items()}
        if not same(named[first], scaled[first], tolerance) or same(
            right[first], scaled[first], tolerance
        ):
            continue
        agreed = sum(same(named[name], scaled[name], tolerance) for name in order)
        if best is None or agreed > best[0]:
            best = agreed, variant
    if best is None:
        best = _up_to_a_factor(named, truth, first, tolerance)
    if best is None and _in_another_order(named, right, tolerance):
        layer = number_of(first)
        report.findings.append(
            Finding("other_order", function, "", "", evidence, certain=True, layer=layer)
        )
        return False
    if best is None:
        ratio = _ratio(named[first], right[first])
        detail = f"the gradient of {said(first)} is none that a known slip leads to{ratio}"
        report.findings.append(
            Finding("unknown", function, said(first), detail, evidence, layer=number_of(first))
        )
        return False
    agreed, variant = best
    place = variant.place
    report.findings.append(
        Finding(
            variant.slip,
            function,
            place,
            variant.detail,
            evidence,
            agreed == len(order),
            number_of(first),
        )
    )
    if agreed < len(order):
        rest = [n for n in order if not same(named[n], factor * variant.gradients[n], tolerance)]
        detail = f"beside that the gradient of {said(rest[0])} is off in another way"
        report.findings.append(
            Finding("unknown", function, said(rest[0]), detail, layer=number_of(rest[0]))
        )
    return False


def _up_to_a_factor(
    named: Params, truth: Truth, first: str, tolerance: float
) -> tuple[int, Variant] | None:
    """Return a slip whose gradients these are but for a factor: two slips at once."""
    for variant in variants(truth):
        other, found = variant.gradients[first], named[first]
        if other.shape != found.shape or not np.any(other) or not np.any(found):
            continue
        if same(other, truth.gradients[first], tolerance):
            continue  # it is a slip at another parameter
        ratio = float((found * other).sum() / (other**2).sum())
        usual = [truth.count, 1.0 / truth.count, -1.0, -truth.count, 0.5, 2.0]
        usual += [truth.mlp.sizes[-1], 1.0 / truth.mlp.sizes[-1]]
        near = any(abs(ratio - value) < 1e-3 * abs(value) for value in usual)
        if (
            near
            and same(found, ratio * other, tolerance)
            and variant.slip not in ("sign", "not_divided", "divided_twice")
        ):
            return 1, variant
    return None


def _in_another_order(named: Params, right: Params, tolerance: float) -> bool:
    """Tell whether all numbers are there, at other places."""
    found, expected = (
        np.sort(np.concatenate([g.reshape(-1) for g in some.values()])) for some in (named, right)
    )
    return same(found, expected, tolerance)


def _ratio(found: np.ndarray, right: np.ndarray) -> str:
    if found.shape != right.shape or not np.any(right):
        return ""
    ratio = float((found * right).sum() / (right**2).sum())
    if same(found, ratio * right, 1e-6):
        return f"; it is the right one times {ratio:.4g}"
    return ""


def _shape_slip(student: Student, case: Case, result: Any) -> Finding:
    """Return what is wrong with gradients that have not the shapes of the parameters."""
    arrays = [array for _, array in leaves(result)]
    shapes = [array.shape for array in arrays]
    wanted = [array.shape for _, array in leaves(case.params)]
    evidence = f"gradients have the shapes {shapes}, and the parameters {wanted}"
    count = case.truth.count
    turned = [a.T if a.ndim == 2 and min(a.shape) > 1 else a for a in arrays]
    for places in ([*range(len(arrays))], *([k] for k in range(len(arrays)))):
        some = [turned[k] if k in places else a for k, a in enumerate(arrays)]
        if named_gradients(student, some) is not None:
            place = (
                "all layers" if len(places) > 1 else f"an array of the shape {shapes[places[0]]}"
            )
            return Finding("product_transposed", "gradients", place, "", evidence, certain=True)
    summed = [a.sum(axis=a.shape.index(count)) if count in a.shape else a for a in arrays]
    if named_gradients(student, summed) is not None:
        several = sum(count in shape for shape in shapes) > 1
        place = "all layers" if several else "a layer"
        return Finding("bias_not_summed", "gradients", place, "", evidence, certain=True)
    spread = [np.full(w, a) if a.size == 1 else a for a, w in zip(arrays, wanted, strict=False)]
    if len(spread) == len(wanted) and named_gradients(student, spread) is not None:
        return Finding("bias_summed_over_units", "gradients", "", "", evidence, certain=True)
    detail = "the gradients have not the shapes of the parameters"
    return Finding("unknown", "gradients", detail=detail, evidence=evidence)


def _beside_differences(student: Student, case: Case, named: Params) -> str:
    """Return how close gradients are to central differences of the author's own loss."""
    if not student.has("forward", "loss"):
        return ""
    arrays = [a for _, a in leaves(case.params)]
    if any(a.dtype != np.float64 for a in arrays):
        return ""
    numeric, (x, y), epsilon = [np.full(a.shape, np.nan) for a in arrays], case.batch, 1e-6
    places = [(k, at) for k, array in enumerate(arrays) for at in range(array.size)]
    if len(places) > _DIFFERENCES:
        drawn = np.random.default_rng(0).choice(len(places), _DIFFERENCES, replace=False)
        places = [places[one] for one in drawn]
    for number, at in places:
        values = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[number].flat[at] += sign * epsilon
            values.append(student.loss_of(with_arrays(case.params, moved), x, y))
        numeric[number].flat[at] = (values[0] - values[1]) / (2 * epsilon)
    layout = student.layout
    assert layout is not None
    expected = layout.named(numeric)
    if expected is None:
        return ""
    known = {name: ~np.isnan(g) for name, g in expected.items() if not np.isnan(g).all()}
    off = max(float(np.abs(named[k] - expected[k])[at].max()) for k, at in known.items())
    most = max(float(np.abs(expected[k])[at].max()) for k, at in known.items())
    return f" (beside central differences of your own loss: {off / most:.0e} off)"

"""Updates: whether they go down the gradient, by the learning rate, and remember it."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpmlp.teach.findings import Finding
from xpmlp.teach.gradients import judge
from xpmlp.teach.layout import Params, said
from xpmlp.teach.network import Case, named_gradients
from xpmlp.teach.numbers import same, tolerance_of
from xpmlp.teach.report import Report
from xpmlp.teach.structure import copied, leaves, like, with_arrays
from xpmlp.teach.student import Student, first_of

_RATE, _MOMENTUM = 0.1, 0.5
# What parameters move by: "" if it is right, and with each slip.
Steps = dict[str, Params]


def look_at_update(student: Student, case: Case, report: Report) -> None:
    """See whether `update` takes the step w ← w − α g, with momentum where it takes one."""
    rng, before = np.random.default_rng(2), case.params
    structure = before
    if student.has("gradients"):  # they may come in another structure than the parameters
        given = student.gradients_of(copied(before), case.truth.x, case.truth.y)
        structure = before if named_gradients(student, given) is None else given
    kinds = [(a.shape, a.dtype) for _, a in leaves(structure)]
    first, second = (
        with_arrays(structure, [rng.normal(size=shape).astype(kind) for shape, kind in kinds])
        for _ in range(2)
    )
    remembers = student.takes("update") >= 5
    zero = with_arrays(structure, [np.zeros(*kind) for kind in kinds])
    more: tuple[Any, ...] = (_MOMENTUM, zero) if remembers else ()
    after, velocity = _updated(student, before, first, *more)
    g1, g2 = (named_gradients(student, g) for g in (first, second))
    if g1 is None or g2 is None:
        return
    steps = _one_step(g1)
    if not remembers:
        del steps["ahead"]
    if _is_wrong(student, before, after, steps, report):
        return
    if remembers:
        kept = zero if velocity is None else velocity
        after = with_arrays(before, like(before, after) or [])
        last, _ = _updated(student, after, second, _MOMENTUM, kept)
        if _is_wrong(student, after, last, _second_step(g1, g2), report):
            return
    report.right.append("update" + (" with momentum" if remembers else ""))


def _updated(student: Student, params: Any, gradients: Any, *more: Any) -> tuple[Any, Any]:
    """Return parameters and velocity after an update, returned or changed in place."""
    given, passed = copied(params), [copied(each) for each in more]
    result = student.call("update", given, copied(gradients), _RATE, *passed)
    found, velocity = result, passed[-1] if more else None
    if more and isinstance(result, tuple) and len(result) == 2:
        found, velocity = result
    return given if found is None or like(params, found) is None else found, velocity


def _one_step(g: Params) -> Steps:
    # Momentum that looks ahead moves by more.
    return {
        "": {name: _RATE * v for name, v in g.items()},
        "ahead": {name: _RATE * (1 + _MOMENTUM) * v for name, v in g.items()},
        "nothing_changes": {name: 0 * v for name, v in g.items()},
        "uphill": {name: -_RATE * v for name, v in g.items()},
        "rate_not_used": g,
        "rate_twice": {name: _RATE**2 * v for name, v in g.items()},
    }


def _second_step(g1: Params, g2: Params) -> Steps:
    def after(gamma: float) -> Params:
        return {name: _RATE * (v + gamma * g1[name]) for name, v in g2.items()}

    ahead = {
        name: _RATE * ((1 + _MOMENTUM) * v + _MOMENTUM**2 * g1[name]) for name, v in g2.items()
    }
    return {
        "": after(_MOMENTUM),
        "ahead": ahead,
        "momentum_sign": after(-_MOMENTUM),
        "momentum_not_kept": after(0.0),
    }


def _is_wrong(student: Student, before: Any, after: Any, steps: Steps, report: Report) -> bool:
    """Tell whether a step is another one than it should be; add the slip to the report."""
    tolerance = 10 * tolerance_of(*(a for _, a in leaves(after)))
    moved = named_gradients(student, _moved(before, after))
    if moved is None:
        return False
    for slip, step in steps.items():
        if all(same(moved[name], step[name], tolerance) for name in moved):
            if slip in ("", "ahead"):
                return False
            report.findings.append(Finding(slip, "update", certain=True))
            return True
    right = steps[""]
    still = [n for n in moved if not np.any(moved[n]) and np.any(right[n])]
    if still and all(n in still or same(moved[n], right[n], tolerance) for n in moved):
        biases = all(name.endswith("bias") for name in still)
        place = "the biases" if biases else ", ".join(map(said, still))
        report.findings.append(Finding("part_not_updated", "update", place, certain=True))
        return True
    wrong = next(n for n in moved if not same(moved[n], steps[""][n], tolerance))
    detail = f"{said(wrong)}: it is moved in another way than by −α g"
    report.findings.append(Finding("unknown", "update", said(wrong), detail))
    return True


def _moved(before: Any, after: Any) -> list[np.ndarray]:
    """Return by how much each array went down."""
    pairs = zip(leaves(before), like(before, after) or [], strict=True)
    return [np.asarray(b, float) - np.asarray(a, float) for (_, b), a in pairs]


def look_at_step(student: Student, case: Case, report: Report, factor: float | None) -> None:
    """See whether a whole `step` follows the gradient: what it moves by, over the learning rate."""
    truth, (x, y) = case.truth, case.batch
    given = copied(case.params)
    result = student.call("step", given, student.x_of(x), student.y_of(y), _RATE)
    first = first_of(result) if isinstance(result, tuple) else result
    returned = [some for some in (result, first) if like(case.params, some) is not None]
    after = returned[0] if returned else given
    moved = [d / _RATE for d in _moved(case.params, after)]
    if all(not np.any(d) for d in moved):
        report.findings.append(Finding("nothing_changes", "step", certain=True))
        return
    layout = student.layout
    named = None if layout is None else layout.named(moved)
    if named is None:
        return
    tolerance = 10 * tolerance_of(*(a for _, a in leaves(after)))
    times = 1.0 if factor is None else factor
    right = truth.gradients
    if all(same(named[k], -times * right[k], tolerance) for k in right):
        report.findings.append(Finding("uphill", "step", certain=True))
        return
    if judge(named, truth, times, tolerance, report, "step", _RATE * times):
        report.right.append("step")

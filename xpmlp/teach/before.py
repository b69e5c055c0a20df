"""What comes before the network: features, labels, batches, first weights, the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from xpmlp.mathematics.mlp import MLP
from xpmlp.teach.findings import Finding
from xpmlp.teach.layout import Params, possible_layouts
from xpmlp.teach.report import Report
from xpmlp.teach.structure import leaves
from xpmlp.teach.student import RaisedError, Student, first_of
from xpmlp.teach.truth import Truth

_ROWS, _BATCH = 23, 5
_UNSCALED = 20.0
# A unit is dead whose slope is below this share of the steepest for all examples.
_DEAD, _FLAT = 0.5, 1e-3
_STEPS = 40
# So many times as many units, and what their weights may deviate by: uniform on −1 to 1 does by
# 0.58, which some courses begin with.
_WIDE, _LARGE = 40, 1.0
_MOST_WEIGHTS = 10**7

Turn = Callable[[np.ndarray], np.ndarray]


def look_at_labels(student: Student, report: Report) -> None:
    """See whether `one_hot` has the ones at the classes' places."""
    classes = 4
    labels = np.array([0, 3, 1, 2, 2, 0])
    found = np.asarray(student.call("one_hot", labels.copy(), classes))
    right = np.eye(classes)[labels]
    found = found.T if found.shape == right.T.shape else found
    if found.shape == right.shape and (found == right).all():
        report.right.append("one_hot")
        return
    moved = [np.roll(right, k, axis=1) for k in (1, -1)]
    moved += [np.eye(classes, k=k)[labels] for k in (1, -1)]
    shifted = any(np.array_equal(found, m) for m in moved)
    slip = "one_hot_shifted" if shifted else "one_hot_other"
    said = f"the row of the class 0 is {np.array2string(found[0])}" if found.ndim == 2 else ""
    detail = f"of 6 labels and 4 classes it has the shape {found.shape}"
    report.findings.append(Finding(slip, "one_hot", "", detail, said, certain=True))


def look_at_scaling(student: Student, report: Report) -> None:
    """See whether `prepare` scales features, and the test set as the training set."""
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, size=(40, 5)).astype(np.float64)
    # Some rows of the test set are training rows: the same numbers must come out of them.
    test = np.concatenate([train[:7], 100 + 2 * rng.random((9, 5)) * 255])
    given = train.copy(), test.copy()
    result = student.call("prepare", *given)
    scaled, scaled_test = (np.asarray(part, dtype=np.float64) for part in (result[0], result[1]))
    if not np.array_equal(given[0], train) or not np.array_equal(given[1], test):
        report.findings.append(
            Finding("view_not_copy", "prepare", "prepare", "the arrays that it is given")
        )
    if scaled.shape == train.T.shape:
        scaled, scaled_test = scaled.T, scaled_test.T
    low, high = float(scaled.min()), float(scaled.max())
    if max(abs(low), abs(high)) > _UNSCALED:
        detail = f"{low:g} to {high:g}"
        report.findings.append(Finding("not_scaled", "prepare", detail=detail, certain=True))
    elif not np.allclose(scaled_test[:7, -train.shape[1] :], scaled[:7, -train.shape[1] :]):
        said = "a row that is in both sets comes out differently"
        report.findings.append(
            Finding("scaled_by_test_set", "prepare", evidence=said, certain=True)
        )
    elif not any(_by_column(train, scaled[:, some]) for some in (slice(5), slice(-5, None))):
        report.findings.append(Finding("not_by_column", "prepare"))
    else:
        report.right.append("prepare")


def _by_column(before: np.ndarray, after: np.ndarray) -> bool:
    """Tell whether each column is what it was times a number, plus a number."""
    if before.shape != after.shape or not np.ptp(after, axis=0).all():
        return False
    shift, width = after - after.mean(axis=0), before - before.mean(axis=0)
    slope = (shift * width).sum(axis=0) / (width**2).sum(axis=0)
    return bool(np.allclose(shift, slope * width, atol=1e-3 * np.abs(shift).max()))


def look_at_batches(student: Student, report: Report) -> None:
    """See whether `batches` has each example once, with its label, in a new order each time."""
    x = np.arange(_ROWS, dtype=np.float64)[:, None] * np.ones(3)
    y = np.eye(4)[np.arange(_ROWS) % 4]
    orders = []
    for epoch in (0, 1):
        rows, labels = [], []
        for batch in student.each("batches", student.x_of(x), student.y_of(y), _BATCH, epoch):
            part, targets = np.asarray(batch[0]), np.asarray(batch[1])
            part = part.T if student.by_columns else part
            if student.targets != "ids":
                targets = (targets.T if student.by_columns else targets).argmax(axis=1)
            rows += part[:, 0].astype(int).tolist()
            labels += np.asarray(targets).reshape(-1).tolist()
        orders.append((rows, labels))
    for rows, labels in orders:
        off = sum(row % 4 != label for row, label in zip(rows, labels, strict=False))
        if off:
            said = f"{off} of {len(rows)} rows have another row's label"
            report.findings.append(
                Finding("labels_shifted", "batches", evidence=said, certain=True)
            )
            return
        if len(set(rows)) != len(rows):
            detail = f"{len(rows) - len(set(rows))} of {len(rows)} rows"
            report.findings.append(Finding("rows_repeated", "batches", detail=detail, certain=True))
            return
        if len(set(rows)) < _ROWS - _BATCH + 1:
            detail = f"{len(set(rows))} of {_ROWS}"
            report.findings.append(Finding("examples_lost", "batches", detail=detail, certain=True))
            return
    if orders[0][0] == orders[1][0]:
        report.findings.append(Finding("not_shuffled", "batches", certain=True))
        return
    report.right.append("batches")


def look_at_start(student: Student, report: Report) -> None:
    """See whether the first weights differ, let units live, and are of a type for small steps."""
    mlp = student.mlp
    structure = student.call("initialize", mlp.sizes, 0)
    arrays = [array for _, array in leaves(structure)]
    before = len(report.findings)
    for path, array in leaves(structure):
        if array.dtype.kind in "iub" or array.dtype.itemsize < 4:
            report.findings.append(
                Finding(
                    "truncated",
                    "initialize",
                    f"params{path}",
                    f"numbers of the type {array.dtype.name}",
                    certain=True,
                )
            )
            return
    named = next(
        (
            found
            for layout in possible_layouts([array.shape for array in arrays], mlp.sizes)
            if (found := layout.named(arrays)) is not None
        ),
        None,
    )
    if named is None:
        shapes = [array.shape for array in arrays]
        detail = f"initialize({mlp.sizes}, seed) returns arrays of the shapes {shapes}"
        report.findings.append(Finding("unknown", "initialize", detail=detail))
        return
    _look_at_weights(mlp, named, report)
    if len(report.findings) == before:
        _look_at_wide_weights(student, report)
    if len(report.findings) == before:
        report.right.append("initialize")


def _look_at_wide_weights(student: Student, report: Report) -> None:
    """See whether weights into many units are not large: a sum of many makes flat units of them."""
    sizes = tuple(_WIDE * size for size in student.mlp.sizes)
    if sum(a * b for a, b in pairwise(sizes)) > _MOST_WEIGHTS:
        return
    try:
        arrays = [array for _, array in leaves(student.call("initialize", sizes, 0))]
    except RaisedError:  # it is of these sizes alone
        return
    for layout in possible_layouts([array.shape for array in arrays], sizes):
        found = layout.named(arrays)
        if found is None:
            continue
        for layer in range(1, student.mlp.layers + 1):
            deviation, fan_in = float(found[f"layer{layer}.weight"].std()), sizes[layer - 1]
            if deviation > _LARGE:
                detail = f"of {fan_in} inputs they deviate by {deviation:.3g}"
                place = f"layer {layer}"
                report.findings.append(
                    Finding("start_too_large", "initialize", place, detail, "", True, layer)
                )
                return
        return


def _look_at_weights(mlp: MLP, params: Params, report: Report) -> None:
    for layer in range(1, mlp.layers + 1):
        w = params[f"layer{layer}.weight"]
        if w.size > 1 and np.ptp(w) == 0:
            place = f"layer {layer}"
            report.findings.append(
                Finding("all_equal", "initialize", place, certain=True, layer=layer)
            )
            return
    x = np.random.default_rng(1).normal(size=(200, mlp.sizes[0]))
    truth = Truth(mlp, params, x, np.zeros((200, mlp.sizes[-1])))
    for layer, ((z, _), f) in enumerate(zip(truth.hidden(), mlp.activations, strict=True), start=1):
        slopes = np.abs(np.asarray(f.slope(z.copy(), xp=truth.xp)))
        dead = (slopes < _FLAT * f.steepest).all(axis=0)
        if dead.mean() > _DEAD:
            detail = f"{int(dead.sum())} of {len(dead)}"
            report.findings.append(
                Finding(
                    "dead_from_the_start",
                    "initialize",
                    f"layer {layer}",
                    detail,
                    certain=True,
                    layer=layer,
                )
            )
            return


def look_at_rate(student: Student, report: Report) -> None:
    """See whether the loss falls at the learning rate; if not, whether it does at a hundredth."""
    rate, mlp = student.learning_rate, student.mlp
    if rate is None or not mlp.loss_function.one_class:
        return
    rng = np.random.default_rng(0)
    ids = np.arange(60) % mlp.sizes[-1]
    centres = rng.normal(size=(mlp.sizes[-1], mlp.sizes[0]))
    x, y = centres[ids] + rng.normal(size=(60, mlp.sizes[0])), np.eye(mlp.sizes[-1])[ids]
    start: Params = {k: np.asarray(w) for k, w in mlp.init(np.random.default_rng(0)).items()}
    before = Truth(mlp, start, x, y).loss
    after = {share: _descended(mlp, start, x, y, share * rate) for share in (1.0, 0.01)}
    if not after[1.0] < before and after[0.01] < before:
        said = (
            f"from {before:.3g} the loss goes to {after[1.0]:.3g} in {_STEPS} steps on drawn "
            f"examples, and at a hundredth of the rate to {after[0.01]:.3g}"
        )
        report.findings.append(
            Finding(
                "rate_too_large", "learning rate", detail=f"{rate:g}", evidence=said, certain=True
            )
        )
    else:
        report.right.append("learning rate")


def _descended(mlp: MLP, params: Params, x: Any, y: Any, rate: float) -> float:
    """Return the least of the last losses of a descent."""
    losses = []
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            truth = Truth(mlp, params, x, y)
            losses.append(truth.loss)
            params = {k: w - rate * truth.gradients[k] for k, w in params.items()}
    return float(np.mean(losses[-5:]))


def look_at_softmax(student: Student, report: Report) -> None:
    """See whether `softmax` is right, and of large inputs a number.

    It may be of rows, of columns, or of one example: which of these is meant `forward` shows.
    """
    z = np.array([[0.3, -1.2, 2.0], [1.0, 0.0, -0.5], [0.0, 0.4, 0.1], [2.0, 1.0, 0.0]])
    # Rows, columns, one example, one as a column: as it is given, and back to rows.
    ways: list[tuple[Turn, Turn]] = [
        (np.copy, np.copy),
        (np.transpose, np.transpose),
        (lambda a: a[0], lambda a: a[None, :]),
        (lambda a: a[:1].T, np.transpose),
    ]
    right = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    raised: RaisedError | None = None
    for given, back in ways:
        try:
            found = back(np.asarray(first_of(student.call("softmax", given(z).copy()))))
        except (RaisedError, ValueError, IndexError, TypeError) as error:
            raised = raised or (error if isinstance(error, RaisedError) else None)
            continue
        if found.shape[1:] == z.shape[1:] and np.allclose(found, right[: len(found)], atol=1e-4):
            large = np.asarray(first_of(student.call("softmax", given(500.0 * z))))
            # Of whole networks it is looked at when it is known what is an example.
            if student.has("forward") or np.isfinite(large).all():
                report.right.append("softmax")
            else:
                report.findings.append(Finding("softmax_overflows", "softmax", certain=True))
            return
    if raised is not None:
        raise raised
    detail = "softmax returns other numbers than e^z / Σ e^z"
    report.findings.append(Finding("unknown", "softmax", detail=detail))

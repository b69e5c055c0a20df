"""`check`: somebody's functions, held against what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xpmlp.errors import UsageError
from xpmlp.mathematics.mlp import MLP
from xpmlp.teach.before import (
    look_at_batches,
    look_at_labels,
    look_at_rate,
    look_at_scaling,
    look_at_softmax,
    look_at_start,
)
from xpmlp.teach.findings import Finding
from xpmlp.teach.gradients import look_at_gradients
from xpmlp.teach.network import (
    Case,
    case_of,
    look_at_extremes,
    look_at_forward,
    look_at_loss,
)
from xpmlp.teach.report import Report
from xpmlp.teach.steps import look_at_step, look_at_update
from xpmlp.teach.student import RaisedError, Student


def check(
    mlp: MLP,
    *,
    targets: str | None = None,
    params: Any = None,
    columns: bool | None = None,
    learning_rate: float | None = None,
    **functions: Callable[..., Any],
) -> Report:
    """Hold functions that somebody has written against central differences and what is right.

    `mlp`: the network that they are of. `targets`: what y is, "one_hot" rows
    (the default), class "ids", or "values". `params`: parameters in the author's own structure, a
    list, a dictionary, one vector or an object; their numbers do not matter; by default those of
    `initialize`. `columns`: whether examples are columns; by default both are tried.
    `learning_rate`: the one that the author trains with. `functions`: any of

        one_hot(labels, classes)            rows of 0 and 1
        prepare(x_train, x_test)            both scaled
        batches(x, y, batch_size, epoch)    the batches (x, y) of an epoch
        initialize(sizes, seed)             first parameters
        softmax(z)
        forward(params, x)                  outputs, first of what is returned
        loss(outputs, y)                    or loss(params, x, y)
        gradients(params, x, y)             or (loss, gradients)
        update(params, gradients, learning_rate), or with (..., momentum, velocity)
        step(params, x, y, learning_rate)   gradients and update at once

    Weights may be (fan_in, fan_out) or transposed, biases apart or a row of the weights, gradients
    in any structure. Raises `UsageError` for settings that mean nothing; what a function raises is
    in the report.

    >>> import numpy as np
    >>> def forward(params, x):
    ...     a = np.exp(x @ params["W"] + params["b"])
    ...     return a / a.sum(axis=1, keepdims=True)
    >>> def gradients(params, x, y):
    ...     delta = forward(params, x) - y
    ...     return {"W": x.T @ delta / len(x), "b": delta.sum(axis=0)}
    >>> params = {"W": np.zeros((4, 3)), "b": np.zeros(3)}
    >>> report = check(MLP((4, 3)), params=params, forward=forward, gradients=gradients)
    >>> report.findings[0].says
    'the gradient of the biases is not divided by the number of examples'
    """
    values = mlp.loss_function.link.predicts == "values"
    student = Student(
        functions,
        mlp,
        targets or ("values" if values else "one_hot"),
        columns,
        params,
        learning_rate,
    )
    report, network = Report(mlp), Report(mlp)
    # Whether examples are columns is known when the network has been looked at.
    case = _case(student, network)
    report.layout = network.layout
    _look_before(student, report)
    report.findings += network.findings
    if case is not None:
        _look_at_network(student, case, report)
    with _raising(report):
        look_at_rate(student, report)
    report.printed = student.said.getvalue()
    return report


def _case(student: Student, report: Report) -> Case | None:
    """Return parameters and what is right for a batch; None where there is no network."""
    if not any(student.has(name) for name in ("forward", "gradients", "update", "step")):
        return None
    if student.params is None:
        if not student.has("initialize"):
            raise UsageError("there are no parameters: give params, or the function initialize")
        try:
            student.params = student.call("initialize", student.mlp.sizes, 0)
        except RaisedError:  # it is looked at by itself
            return None
    found: list[Case | None] = []
    with _raising(report):
        found.append(case_of(student, report))
    return found[0] if found else None


def _look_before(student: Student, report: Report) -> None:
    looks = {
        "one_hot": look_at_labels,
        "prepare": look_at_scaling,
        "batches": look_at_batches,
        "initialize": look_at_start,
        "softmax": look_at_softmax,
    }
    for name, look in looks.items():
        if student.has(name):
            with _raising(report):
                look(student, report)


def _look_at_network(student: Student, case: Case, report: Report) -> None:
    factor: float | None = None
    right = True
    with _raising(report):
        if student.has("forward") and not look_at_forward(student, case, report):
            return
        if student.has("forward", "loss"):
            factor = look_at_loss(student, case, report)
    with _raising(report):
        if student.has("gradients"):
            right = False
            right = look_at_gradients(student, case, report, factor) is not None
    with _raising(report):
        if student.has("update"):
            look_at_update(student, case, report)
    with _raising(report):
        if student.has("step") and right:  # else it would be said twice
            look_at_step(student, case, report, factor)
    with _raising(report):
        if student.has("forward"):
            look_at_extremes(student, case, report)


@contextmanager
def _raising(report: Report) -> Iterator[None]:
    """Put what a function raises into the report."""
    try:
        yield
    except RaisedError as raised:
        error = raised.error
        detail = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        slip = "not_written" if isinstance(error, NotImplementedError) else "raises"
        found = Finding(slip, raised.name, raised.name, detail, certain=True)
        if found not in report.findings:
            report.findings.append(found)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        detail = f"what a function returns cannot be read ({type(error).__name__}: {error})"
        report.findings.append(Finding("unknown", "result", detail=detail))

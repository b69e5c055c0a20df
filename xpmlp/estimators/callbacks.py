"""scikit-learn's callbacks, from its version 1.9 on: what they are told of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from xpmlp.arrays import Params

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn import callback as _theirs
except ImportError:  # an older scikit-learn has none
    _theirs = None

# The base of an estimator that callbacks can be set on.
CallbackSupport: Any = type("NoCallbacks", (), {})
if _theirs is not None:
    CallbackSupport = _theirs.CallbackSupportMixin


def with_callbacks(method: Method) -> Method:
    """Return a method of an estimator that takes leave of the callbacks at its end."""
    return method if _theirs is None else _theirs.with_callbacks(method)


def has_callbacks(estimator: Any) -> bool:
    """Tell whether somebody is to be told of an estimator's training."""
    return bool(getattr(estimator, "_skl_callbacks", None))


class Seen(NamedTuple):
    """What a training is of: features, targets, and what else `fit` was given."""

    X: Any
    y: Any
    metadata: dict[str, Any] | None


class Told:
    """Tells an estimator's callbacks of its training, epoch by epoch; nothing where it has none.

    `fitted(params)` are the attributes of an estimator that has ended with these weights.
    """

    def __init__(
        self, estimator: Any, seen: Seen, epochs: int, fitted: Callable[[Params], dict[str, Any]]
    ) -> None:
        self._estimator, self._fitted = estimator, fitted
        self._said = {"estimator": estimator, **seen._asdict()}
        self._whole: Any = None
        self._epoch: Any = None
        if has_callbacks(estimator):
            self._whole = estimator._init_callback_context(max_subtasks=epochs)
            self._whole.call_on_fit_task_begin(**self._said)

    def begin(self) -> None:
        """Say that an epoch begins."""
        if self._whole is not None:
            self._epoch = self._whole.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._said)

    def end(self, params: Params) -> bool:
        """Say that it has ended with these weights; return whether a callback says to stop."""
        if self._epoch is None:
            return False
        epoch, self._epoch = self._epoch, None
        return bool(
            epoch.call_on_fit_task_end(
                reconstruction_attributes=lambda: self._fitted(params), **self._said
            )
        )

    def close(self, params: Params) -> None:
        """Say that the training has ended with these weights, maybe within an epoch."""
        if self._epoch is not None:
            self._epoch.call_on_fit_task_end(estimator=self._estimator)
        if self._whole is not None:
            self._whole.call_on_fit_task_end(
                reconstruction_attributes=lambda: self._fitted(params), **self._said
            )


class Evaluations:
    """Tells a search's callbacks of its candidates, one for each split; nothing where it has none.

    `count` is how many there are.
    """

    def __init__(self, search: Any, X: Any, y: Any, count: int) -> None:
        self._said: dict[str, Any] = {"estimator": search, "X": X, "y": y}
        self._whole: Any = None
        if has_callbacks(search):
            self._whole = search._init_callback_context(max_subtasks=count)
            self._whole.call_on_fit_task_begin(**self._said)

    def note(self) -> None:
        """Say that one more candidate has been trained on a split."""
        if self._whole is not None:
            one = self._whole.subcontext(task_name="candidate-split-evaluation")
            one.call_on_fit_task_begin(**self._said)
            one.call_on_fit_task_end(**self._said)

    def close(self) -> None:
        """Say that the search has ended."""
        if self._whole is not None:
            self._whole.call_on_fit_task_end(**self._said)

"""From what `fit` and `predict` are given to arrays of a backend, checked as scikit-learn does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import is_regressor
from sklearn.utils.validation import column_or_1d, validate_data

from xpmlp.arrays import Array, Params
from xpmlp.backends import Backend, select_backend
from xpmlp.backends.cpu.sparse import SparseRows
from xpmlp.backends.exchange import Kind, from_any, kind_of, on_host
from xpmlp.data.examples import check_weights

# Of the values that are watched: so many beyond twice the range of those that are trained on.
_FAR_SHARE = 0.1
# Repeated calls, as of `partial_fit`, need not look for the machine's libraries each time.
backend_of = cache(select_backend)


def backend_for(estimator: Any, kind: Kind, dtype: Any) -> Backend:
    """Return the backend of `device` and `backend`, or of where the features lie.

    On a GPU that is CuPy where it is installed, and otherwise the library of the features.
    """
    device, library = estimator.device or kind.device_name, estimator.backend
    if library == "auto" and not kind.on_host and device == kind.device_name:
        cuda = device.startswith("gpu") and find_spec("cupy") is not None
        library = "auto" if cuda else kind.library
    name = "float32" if dtype == np.float32 else "float64"
    return backend_of(device, name, backend=library, threads=estimator.threads)


def features_and_targets(estimator: Any, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
    """Return X and y checked; on the host as numpy's, on a GPU as they are.

    y follows X to where it lies; a single column is taken as a row, with a warning.
    """
    if kind_of(X).on_host:
        y = y.toarray() if issparse(y) else y
        X, y = validate_data(
            estimator,
            on_host(X),
            on_host(y),
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            multi_output=True,
            y_numeric=is_regressor(estimator),
            reset=reset,
        )
        column = y.ndim == 2 and y.shape[1] == 1
        return X, column_or_1d(y, warn=True) if column else y
    _check_on_device(estimator, X, reset)
    if len(y) != len(X):
        raise ValueError(f"X has {len(X)} samples and y has {len(y)}: they must be as many")
    return X, y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def features(estimator: Any, X: Any, method: str) -> Any:
    """Return the features that a method is given, checked against those of `fit`."""
    kind = kind_of(X)
    _check_same_kind(estimator, kind, method)
    if kind.on_host:
        dtypes = (np.float64, np.float32)
        return validate_data(estimator, on_host(X), accept_sparse="csr", dtype=dtypes, reset=False)
    _check_on_device(estimator, X, reset=False)
    return X


def validation_of(X_val: Any, y_val: Any, sample_weight_val: Any) -> tuple[Any, Any, Any] | None:
    """Return what is watched, None for nothing."""
    if X_val is None and y_val is None and sample_weight_val is None:
        return None
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val (and its weights) belong together: give both or none")
    return X_val, y_val, sample_weight_val


def warn_of_another_scale(X: Any, X_val: Any) -> None:
    """Warn where much of what is watched lies far outside of what is trained on.

    In a pipeline the steps before transform X and leave X_val alone.
    """
    if issparse(X) or issparse(X_val) or not (kind_of(X).on_host and kind_of(X_val).on_host):
        return
    low, high = X.min(axis=0), X.max(axis=0)
    changes, margin = high > low, high - low
    outside = (X_val < low - margin) | (X_val > high + margin)
    if np.any(changes) and np.mean(outside[:, changes]) > _FAR_SHARE:
        warnings.warn(
            "X_val lies far outside of the values of X: was it transformed as X was? In a "
            'Pipeline transform_input=["X_val"] does that',
            stacklevel=5,
        )


def weights_of(sample_weight: Any, examples: int, backend: Backend) -> Array | None:
    """Return sample weights (N,) on a backend, or None for none."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        sample_weight = np.full(examples, float(sample_weight))
    weights = real_array(sample_weight, backend)
    check_weights(weights, examples, backend)
    with backend.computing():
        if not bool(backend.to_host(backend.xp.any(weights > 0))):
            raise ValueError("sample_weight is zero for every sample: there is nothing to train on")
    return weights


def real_array(array: Any, backend: Backend) -> Array:
    """Return numbers as a backend's array of its dtype; without a copy where they are that."""
    if issparse(array):
        if not backend.on_host:
            raise ValueError(
                f"X is sparse, which {backend.name} on {backend.device_name} does not compute "
                "with: leave device and backend out, or give X.toarray()"
            )
        return SparseRows(array.astype(backend.dtype, copy=False))
    found = from_any(array, backend)
    return found if found.dtype == backend.dtype else backend.xp.astype(found, backend.dtype)


def real_arrays(arrays: Mapping[str, Any], backend: Backend, *, writable: bool = False) -> Params:
    """Return the same of several by name, if need be such as may be changed in place."""
    found = {name: real_array(array, backend) for name, array in arrays.items()}
    if writable:
        for name, array in found.items():
            if isinstance(array, np.ndarray) and not array.flags.writeable:
                found[name] = array.copy()
    return found


def as_matrix(array: Any, backend: Backend) -> Array:
    """Return numbers (N,) or (N, K) as a backend's array (N, K) of its dtype."""
    found = real_array(array, backend)
    return backend.xp.reshape(found, (-1, 1)) if found.ndim == 1 else found


def checked_real_array(array: Any, backend: Backend, name: str) -> Array:
    """Return features or targets; those that came from a GPU have not been looked at before."""
    found = real_array(array, backend)
    if not kind_of(array).on_host:
        check_finite(found, backend, name)
    return found


def _check_on_device(estimator: Any, X: Any, reset: bool) -> None:
    """Check features on a GPU, as `validate_data` does those on the host."""
    if X.ndim != 2:
        raise ValueError(f"X has the shape {tuple(X.shape)}: Expected 2D array, got {X.ndim}D")
    examples, width = X.shape
    if not examples or not width:
        raise ValueError(f"X has {examples} sample(s) and {width} feature(s): one is required")
    if reset:
        estimator.n_features_in_ = width
    elif width != estimator.n_features_in_:
        raise ValueError(
            f"X has {width} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )


def check_finite(x: Array, backend: Backend, name: str) -> None:
    """Raise `ValueError` where there are no numbers; reads the device once."""
    xp = backend.xp
    with backend.computing():
        if not bool(backend.to_host(xp.all(xp.isfinite(x)))):
            raise ValueError(f"Input {name} contains NaN or infinity.")


def _check_same_kind(estimator: Any, kind: Kind, method: str) -> None:
    """While scikit-learn dispatches by array kind, hold that a method gets the kind of `fit`."""
    fitted = kind_of(estimator.coefs_[0])
    if get_config().get("array_api_dispatch") and kind != fitted:
        raise ValueError(
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace "
            f"and the same device as those passed to fit(): {kind}, and {fitted} in fit()."
        )

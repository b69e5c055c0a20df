"""What classifier and regressor share: from checked arrays through `fit` to coefficients."""

from __future__ import annotations

from abc import abstractmethod
from math import inf
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from xpmlp.arrays import Array, Params, copied
from xpmlp.backends import Backend
from xpmlp.backends.exchange import Kind, kind_of, on_host, to_kind
from xpmlp.data.examples import Examples
from xpmlp.estimators.callbacks import CallbackSupport, Seen, Told, with_callbacks
from xpmlp.estimators.draws import held_out, initial_weights
from xpmlp.estimators.epochs import EpochTraining, outputs_of
from xpmlp.estimators.imported import imported
from xpmlp.estimators.inputs import (
    backend_for,
    check_finite,
    checked_real_array,
    features,
    features_and_targets,
    real_arrays,
    warn_of_another_scale,
    weights_of,
)
from xpmlp.estimators.parameters import activation_names, check_parameters, drawn_for
from xpmlp.estimators.rates import Adaptive
from xpmlp.estimators.stored import Stored
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import OptimizerState
from xpmlp.training.stopping import Patience


class BaseMLP(Stored, CallbackSupport, BaseEstimator):  # type: ignore[misc]
    """The common part of the two estimators; not to be used by itself."""

    if TYPE_CHECKING:  # parameters, which scikit-learn wants to find as attributes

        def __getattr__(self, name: str) -> Any: ...

    # What the kinds of estimators do differently.

    @abstractmethod
    def _prepare(self, y: Any, backend: Backend, reset: bool, classes: Any) -> None:
        """Note what the targets say of the network: classes (if none are given), outputs."""

    @abstractmethod
    def _targets(self, y: Any, backend: Backend) -> Array:
        """Return targets as the loss takes them."""

    @abstractmethod
    def _weighted(self, train: Examples, backend: Backend) -> Examples:
        """Return training examples with the weights of their classes."""

    @abstractmethod
    def _stratify(self, y: Array, backend: Backend) -> np.ndarray | None:
        """Return what held-out examples keep the shares of."""

    @abstractmethod
    def _network(self, features: int) -> tuple[tuple[int, ...], str]:
        """Return layer sizes and loss."""

    @abstractmethod
    def _score_outputs(self, outputs: Array, examples: Examples, backend: Backend) -> float:
        """Return how good outputs are: the larger the better, as `score` has it."""

    @classmethod
    def from_scikit_learn(cls, fitted: Any) -> Self:
        """Return one of ours with the weights and settings of scikit-learn's fitted estimator."""
        found: Self = imported(cls, fitted)
        return found

    # Training.

    @with_callbacks
    def _fit(self, *given: Any, **settings: Any) -> Self:
        """Train on what `_begin` is given."""
        training, params, kind = self._begin(*given, **settings)
        try:
            training.run(params)
        finally:
            # Whatever ended it: the weights are those of the last epoch that was any good.
            if training.result:
                self._keep(training.mlp, training.result, training.backend, kind)
        training.told.close(training.result)
        return self

    def _begin(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation: tuple[Any, Any, Any] | None = None,
        *,
        classes: Any = None,
        incremental: bool = False,
    ) -> tuple[EpochTraining, Params, Kind]:
        """Check everything, and return what trains, its first weights, and the kind of X."""
        check_parameters(self)
        reset = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        kind = kind_of(X)
        X, y = features_and_targets(self, X, y, reset=reset)
        backend = backend_for(self, kind, X.dtype if reset else self._dtype)
        self._prepare(y, backend, reset, classes)
        train = self._examples(X, y, sample_weight, backend)
        rng = check_random_state(self.random_state)
        mlp = self._mlp(train.features)
        if reset:
            self._forget()
            drawn = initial_weights(rng, mlp.sizes, drawn_for(self), self.init)
            params = backend.all_to_device(drawn)
        else:
            params = real_arrays(self._named(), backend, writable=True)
            self._check_network(params, mlp)
        watched = None
        if validation is not None:
            X_val, y_val = features_and_targets(self, validation[0], validation[1], reset=False)
            warn_of_another_scale(X, X_val)
            watched = self._examples(X_val, y_val, validation[2], backend)
        elif self.early_stopping and self.solver != "lbfgs":  # which validates nothing
            train, watched = self._hold_out(train, rng, backend)
        train = self._weighted(train, backend)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        told = Told(
            self,
            Seen(X, y, metadata),
            1 if incremental else int(self.max_iter),
            lambda params: self._kept(mlp, copied(params, xp=backend.xp), backend, kind),
        )
        training = EpochTraining(self, mlp, train, watched, backend, rng, incremental, told)
        return training, params, kind

    def _mlp(self, features: int) -> MLP:
        """Return the network; one name of an activation serves all layers that have it."""
        (sizes, loss), names = self._network(features), activation_names(self)
        alike = names[0] if len(set(names)) == 1 else names
        return MLP(sizes, alike or "identity", loss)

    def _examples(self, X: Any, y: Any, sample_weight: Any, backend: Backend) -> Examples:
        """Return checked arrays as examples on the backend."""
        x = checked_real_array(X, backend, "X")
        targets = self._targets(y, backend)
        if not backend.xp.isdtype(targets.dtype, "integral") and not kind_of(y).on_host:
            check_finite(targets, backend, "y")
        weights = weights_of(sample_weight, len(y), backend)
        # They lie on the device already. On the host those that are multiplied where they lie, and
        # not gathered, are copied to where they are best read.
        whole = self.solver == "lbfgs" or self.batch_size == "full"
        dtype = None if whole and backend.on_host and not issparse(X) else backend.dtype
        return Examples(x, targets, sample_weight=weights, dtype=dtype)

    def _hold_out(
        self, examples: Examples, rng: np.random.RandomState, backend: Backend
    ) -> tuple[Examples, Examples]:
        train, validation = held_out(
            rng, len(examples), self.validation_fraction, self._stratify(examples.y, backend)
        )
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        parts = [examples.take(backend.to_device(rows), backend) for rows in (train, validation)]
        return parts[0], parts[1]

    def _forget(self) -> None:
        """Begin the record of a new training."""
        self.loss_curve_: list[float] = []
        # None where nothing is watched, as scikit-learn has it.
        self.validation_scores_: Any = None
        self.validation_loss_curve_: Any = None
        self.best_loss_: Any = None
        self.best_validation_score_: Any = None
        self.t_ = 0
        # What goes on from call to call with `warm_start` and `partial_fit`.
        self._optimizer_state: OptimizerState | None = None
        self._patience = Patience(inf, 0.0)
        self._adaptive: Adaptive | None = None
        self._best_params: Params | None = None

    def _keep(self, mlp: MLP, params: Params, backend: Backend, kind: Kind) -> None:
        """Put weights where scikit-learn's users look for them, in the kind of X."""
        for name, value in self._kept(mlp, params, backend, kind).items():
            setattr(self, name, value)

    @staticmethod
    def _kept(mlp: MLP, params: Params, backend: Backend, kind: Kind) -> dict[str, Any]:
        """Return the attributes that say what has been trained."""
        coefs, intercepts = (
            [to_kind(params[f"layer{k}.{part}"], backend, kind) for k in range(1, mlp.layers + 1)]
            for part in ("weight", "bias")
        )
        return {
            "coefs_": coefs,
            "intercepts_": intercepts,
            "mlp_": mlp,
            "n_layers_": len(mlp.sizes),
            "n_outputs_": mlp.sizes[-1],
            "out_activation_": mlp.loss_function.link.scikit_learn,
        }

    def _named(self) -> dict[str, Any]:
        """Return `coefs_` and `intercepts_`, in whatever kind they are, under our names."""
        named = {}
        for layer, pair in enumerate(zip(self.coefs_, self.intercepts_, strict=True), start=1):
            named[f"layer{layer}.weight"], named[f"layer{layer}.bias"] = pair
        return named

    def _check_network(self, params: Params, mlp: MLP) -> None:
        shapes = [tuple(params[f"layer{k}.weight"].shape) for k in range(1, len(self.coefs_) + 1)]
        wanted = mlp.weight_shapes
        if shapes != wanted:
            raise ValueError(
                f"the weights so far have the shapes {shapes} and the parameters ask for {wanted}: "
                "start again with warm_start=False"
            )

    # Prediction.

    def _outputs(self, X: Any, method: str) -> tuple[Array, Backend, Kind]:
        """Return what the network says of X, the backend that it is on, and the kind of X."""
        check_is_fitted(self)
        kind = kind_of(X)
        X = features(self, X, method)
        backend = backend_for(self, kind, self._dtype)
        x = checked_real_array(X, backend, "X")
        params = real_arrays(self._named(), backend)
        return outputs_of(self.mlp_, params, x, backend), backend, kind

    @property
    def params_(self) -> Params:
        """The weights under the library's names, on the host; `mlp_` is the network of them."""
        return {name: np.asarray(on_host(array)) for name, array in self._named().items()}

    @property
    def _dtype(self) -> type[np.floating[Any]]:
        """The dtype of the weights, in whatever kind they are."""
        return np.float32 if str(self.coefs_[0].dtype).endswith("float32") else np.float64

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are weights."""
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self) -> Any:
        """Say what input is taken: arrays of any library of the standard, sparse matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

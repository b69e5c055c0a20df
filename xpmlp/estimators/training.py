"""What classifier and regressor share: from checked arrays through `fit` to coefficients."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from itertools import pairwise
from math import inf
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from xpmlp.arrays import Array, Params, copied
from xpmlp.backends import Backend
from xpmlp.backends.exchange import Kind, given, kind_of, on_host, received
from xpmlp.data.batches import steps_per_epoch
from xpmlp.data.examples import Examples
from xpmlp.estimators.draws import held_out, initial_weights, orders
from xpmlp.estimators.inputs import (
    backend_for,
    check_finite,
    features,
)
from xpmlp.estimators.parameters import activation_names, check_parameters
from xpmlp.estimators.stopping import Adaptive, InverseScaling, Patience
from xpmlp.loop import fit
from xpmlp.mlp import MLP
from xpmlp.optimizers import SGD, Adam, Momentum, Nesterov, Optimizer, OptimizerState, RMSprop
from xpmlp.penalties import Penalty
from xpmlp.schedules import Constant, Schedule
from xpmlp.training import TrainingState

_BATCH = 200  # of batch_size="auto", as scikit-learn has it


class BaseMLP(BaseEstimator):  # type: ignore[misc]
    """The common part of the two estimators; not to be used by itself."""

    # Parameters, which scikit-learn wants to find as attributes of the same names.
    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    dropout: float
    init: str | None
    monitor: str
    device: str | None
    threads: int | None

    # What the kinds of estimators do differently.

    @abstractmethod
    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Return features and targets checked."""

    @abstractmethod
    def _prepare(self, y: Any, backend: Backend, reset: bool, classes: np.ndarray | None) -> None:
        """Note what the targets say of the network: classes (if none are given), outputs."""

    @abstractmethod
    def _targets(self, y: Any, backend: Backend) -> Array:
        """Return targets as the loss takes them."""

    @abstractmethod
    def _weights(self, y: Any, sample_weight: Any, backend: Backend) -> Array | None:
        """Return how many times each example counts, None for once."""

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
        from xpmlp.estimators.imported import imported

        found: Self = imported(cls, fitted)
        return found

    # Training.

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation: tuple[Any, Any, Any] | None = None,
        *,
        classes: np.ndarray | None = None,
        incremental: bool = False,
    ) -> Self:
        check_parameters(self)
        reset = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        kind = kind_of(X)
        X, y = self._checked(X, y, reset)
        backend = backend_for(self, kind, X.dtype)
        self._prepare(y, backend, reset, classes)
        train = self._examples(X, y, sample_weight, backend)
        rng = check_random_state(self.random_state)
        sizes, loss = self._network(train.features)
        mlp = MLP(sizes, activation_names(self), loss)
        if reset:
            self._forget()
            drawn = initial_weights(rng, sizes, mlp.activation_names, self.init)
            params = {name: backend.to_device(array) for name, array in drawn.items()}
        else:
            params = self._params(backend, writable=True)
            self._check_network(params, sizes)
        watched = None
        if validation is not None:
            X, y = self._checked(validation[0], validation[1], reset=False)
            watched = self._examples(X, y, validation[2], backend)
        elif self.early_stopping:
            train, watched = self._hold_out(train, rng, backend)
        training = _Training(self, mlp, train, watched, backend, rng, incremental)
        try:
            training.run(params)
        finally:
            # Whatever ended it: the weights are those of the last epoch that was any good.
            self._keep(mlp, training.result, backend, kind)
        return self

    def _examples(self, X: Any, y: Any, sample_weight: Any, backend: Backend) -> Examples:
        """Return checked arrays as examples on the backend."""
        x = received(X, backend)
        if x.dtype != backend.dtype:
            x = backend.xp.astype(x, backend.dtype)
        if kind_of(X).gpu is not None:
            check_finite(x, backend, "X")
        targets = self._targets(y, backend)
        if not backend.xp.isdtype(targets.dtype, "integral") and kind_of(y).gpu is not None:
            check_finite(targets, backend, "y")
        return Examples(x, targets, weights=self._weights(y, sample_weight, backend))

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
        self._optimizer_state: OptimizerState | None = None

    def _keep(self, mlp: MLP, params: Params, backend: Backend, kind: Kind) -> None:
        """Put weights where scikit-learn's users look for them, in the kind of X."""
        layers = range(1, mlp.layers + 1)
        self.coefs_, self.intercepts_ = (
            [given(params[f"layer{layer}.{part}"], backend, kind) for layer in layers]
            for part in ("weight", "bias")
        )
        self.mlp_ = mlp
        self.n_layers_, self.n_outputs_ = len(mlp.sizes), mlp.sizes[-1]
        self.out_activation_ = {
            "cross_entropy": "softmax",
            "binary_cross_entropy": "logistic",
            "squared_error": "identity",
            "poisson_deviance": "exp",
        }[mlp.loss]

    def _named(self) -> dict[str, Any]:
        """Return `coefs_` and `intercepts_`, in whatever kind they are, under our names."""
        named = {}
        for layer, pair in enumerate(zip(self.coefs_, self.intercepts_, strict=True), start=1):
            named[f"layer{layer}.weight"], named[f"layer{layer}.bias"] = pair
        return named

    def _params(self, backend: Backend, *, writable: bool = False) -> Params:
        """Return the weights as a network's parameters on a backend."""
        params = {}
        for name, array in self._named().items():
            found = received(array, backend)
            if isinstance(found, np.ndarray) and writable and not found.flags.writeable:
                found = found.copy()
            if found.dtype != backend.dtype:
                found = backend.xp.astype(found, backend.dtype)
            params[name] = found
        return params

    def _check_network(self, params: Params, sizes: tuple[int, ...]) -> None:
        shapes = [tuple(params[f"layer{k}.weight"].shape) for k in range(1, len(self.coefs_) + 1)]
        wanted = list(pairwise(sizes))
        if shapes != wanted:
            raise ValueError(
                f"the weights so far have the shapes {shapes} and the parameters ask for {wanted}: "
                "start again with warm_start=False"
            )

    # Prediction.

    def _outputs(self, X: Any, method: str) -> tuple[Array, Backend, Kind]:
        """Return what the network says of X, the backend that it is on, and the kind of X."""
        check_is_fitted(self)
        kind, first = kind_of(X), self.coefs_[0]
        X = features(self, X, method)
        dtype = np.float32 if str(first.dtype).endswith("float32") else np.float64
        backend = backend_for(self, kind, dtype)
        x = received(X, backend)
        if x.dtype != backend.dtype:
            x = backend.xp.astype(x, backend.dtype)
        if kind.gpu is not None:
            check_finite(x, backend, "X")
        return outputs_of(self.mlp_, self._params(backend), x, backend), backend, kind

    @property
    def params_(self) -> Params:
        """The weights under the library's names, on the host; `mlp_` is the network of them."""
        return {name: np.asarray(on_host(array)) for name, array in self._named().items()}

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are weights."""
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self) -> Any:
        """Say what input is taken: dense arrays of any library of the Array API standard."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.array_api_support = True
        return tags


class _Training:
    """One call of `fit` or `partial_fit`: epochs until it has converged, or is told to end."""

    def __init__(
        self,
        estimator: BaseMLP,
        mlp: MLP,
        train: Examples,
        watched: Examples | None,
        backend: Backend,
        rng: np.random.RandomState,
        incremental: bool,
    ) -> None:
        self._estimator, self._mlp, self._backend, self._rng = estimator, mlp, backend, rng
        self._train, self._watched, self._incremental = train, watched, incremental
        self.result: Params = {}

    def run(self, params: Params) -> None:
        """Train; `result` holds the weights whatever happens."""
        e, backend, n = self._estimator, self._backend, len(self._train)
        optimizer = _optimizer_of(e)
        state = TrainingState(params, {}, seed=int(self._rng.randint(2**31)) if e.dropout else 0)
        self.result = params
        with backend.computing():
            state.optimizer_state = optimizer.init(params, xp=backend.xp)
        kept = e._optimizer_state
        if self._incremental and kept is not None and kept.keys() >= state.optimizer_state.keys():
            state.optimizer_state = {
                moment: {name: received(a, backend) for name, a in kept[moment].items()}
                for moment in state.optimizer_state
            }
        size = _batch_size(e, n)
        steps = steps_per_epoch(n, size)
        schedule = _schedule_of(e, n)
        rows = fit(
            self._mlp,
            state,
            self._train,
            optimizer=optimizer,
            learning_rate=float(e.learning_rate_init),
            batch_size=None if size >= n else size,
            order=orders(self._rng, n, bool(e.shuffle)),
            steps=(1 if self._incremental else e.max_iter) * steps,
            schedule=schedule,
            penalty=Penalty(l2=float(e.alpha), shared=True) if e.alpha else None,
            penalized_loss=True,
            dropout=float(e.dropout),
            backend=backend,
        )
        stopping = bool(e.early_stopping)
        patience = Patience(float(e.tol), float(e.n_iter_no_change))
        best: Params | None = None
        e.n_iter_ = 0
        try:
            for row in rows:
                e.n_iter_ += 1
                e.t_ += n
                e.loss_ = row.train_loss
                e.loss_curve_.append(e.loss_)
                if e.verbose:
                    print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
                score = self._watch(state.params)
                if patience.improved(score if stopping else -e.loss_) and stopping:
                    best = copied(state.params, xp=backend.xp)
                    e.best_validation_score_ = e.validation_scores_[-1]
                if not stopping:
                    e.best_loss_ = -patience.best
                factor = schedule(state.step - 1, steps)
                if patience.exhausted and not self._incremental:
                    if not (isinstance(schedule, Adaptive) and schedule.lowered()):
                        break
                    patience.waiting = 0
                self._scale_velocity(state, factor / schedule(state.step, steps))
            else:
                if not self._incremental:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the "
                        "optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            self.result = state.params if best is None else best
            e._optimizer_state = state.optimizer_state  # for `partial_fit` to go on with

    def _scale_velocity(self, state: TrainingState, ratio: float) -> None:
        """Carry the velocity over to another learning rate, which is smaller by a ratio.

        scikit-learn's velocity remembers steps, with the rate that they were taken with; ours
        remembers gradients, to which the rate of today is applied.
        """
        if ratio != 1:
            with self._backend.computing():
                for velocity in state.optimizer_state.get("velocity", {}).values():
                    velocity *= ratio

    def _watch(self, params: Params) -> float:
        """Evaluate the examples that are watched; return the figure that decides."""
        e, watched, backend = self._estimator, self._watched, self._backend
        if watched is None:
            return -inf
        outputs = outputs_of(self._mlp, params, watched.x, backend, meaning=False)
        batch, xp = watched.whole(backend), backend.xp
        with backend.computing():
            loss, _ = self._mlp.loss_function(
                outputs, watched.y, scale=batch.scale(xp=xp), weights=watched.weights, xp=xp
            )
            loss = float(backend.to_host(loss))
            score = e._score_outputs(outputs, watched, backend)
        e.validation_loss_curve_ = [*(e.validation_loss_curve_ or []), loss]
        e.validation_scores_ = [*(e.validation_scores_ or []), score]
        if e.verbose:
            print(f"Validation score: {score:f}, loss: {loss:f}")
        return score if e.monitor == "score" else -loss


def outputs_of(
    mlp: MLP, params: Params, x: Array, backend: Backend, *, meaning: bool = True
) -> Array:
    """Return the network's outputs (N, outputs) for x (N, F), a piece at a time.

    With `meaning` they are what they stand for: probabilities, counts or values.
    """
    xp, size, n = backend.xp, backend.piece_size, int(x.shape[0])
    with backend.computing():
        pieces = [x[at : min(at + size, n), :] for at in range(0, n, size)]
        if meaning:
            found = [mlp.predict(params, piece, xp=xp) for piece in pieces]
        else:
            found = [mlp.forward(params, piece, xp=xp)[0] for piece in pieces]
        return found[0] if len(found) == 1 else xp.concat(found, axis=0)


def _optimizer_of(e: BaseMLP) -> Optimizer:
    if e.solver == "adam":
        return Adam(float(e.beta_1), float(e.beta_2), float(e.epsilon), epsilon_hat=True)
    if e.solver == "rmsprop":
        return RMSprop(float(e.beta_2), float(e.epsilon))
    if not e.momentum:
        return SGD()
    return (Nesterov if e.nesterovs_momentum else Momentum)(float(e.momentum))


def _schedule_of(e: BaseMLP, examples: int) -> Schedule:
    if e.solver != "sgd" or e.learning_rate == "constant":
        return Constant()
    if e.learning_rate == "adaptive":
        return Adaptive(float(e.learning_rate_init))
    return InverseScaling(float(e.power_t), examples, e.t_)


def _batch_size(e: BaseMLP, examples: int) -> int:
    if e.batch_size == "full":
        return examples
    if e.batch_size == "auto":
        return min(_BATCH, examples)
    if e.batch_size > examples:
        warnings.warn(
            f"batch_size is {e.batch_size} and there are {examples} samples: all of them are "
            "taken at once",
            stacklevel=5,
        )
    return min(int(e.batch_size), examples)

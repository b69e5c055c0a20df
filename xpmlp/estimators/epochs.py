"""One `fit` or `partial_fit`: epochs until it has converged, or is told to end."""

from __future__ import annotations

import warnings
from math import inf
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from xpmlp.arrays import Array, Params, copied
from xpmlp.backends import Backend
from xpmlp.data.batches import steps_per_epoch
from xpmlp.data.examples import Examples
from xpmlp.estimators.callbacks import Told
from xpmlp.estimators.conventions import AdamEpsilonHat, PenaltyPerExample
from xpmlp.estimators.draws import orders
from xpmlp.estimators.inputs import real_arrays
from xpmlp.estimators.rates import Adaptive, InverseScaling
from xpmlp.mathematics.mlp import MLP
from xpmlp.mathematics.optimizers import SGD, Momentum, Nesterov, Optimizer, OptimizerState, RMSprop
from xpmlp.mathematics.schedules import Constant, Schedule
from xpmlp.mathematics.step import Variables, gradient
from xpmlp.regularization import Regularization
from xpmlp.training.loop import Training
from xpmlp.training.plan import Model, Plan
from xpmlp.training.state import ModelState, TrainingState

_BATCH = 200  # of batch_size="auto", as scikit-learn has it


class EpochTraining:
    """Trains an estimator's network; `result` holds the weights as soon as it has begun."""

    def __init__(
        self,
        estimator: Any,
        mlp: MLP,
        train: Examples,
        watched: Examples | None,
        backend: Backend,
        rng: np.random.RandomState,
        incremental: bool,
        told: Told,
    ) -> None:
        self.told = told
        self.estimator, self.mlp, self.backend, self.rng = estimator, mlp, backend, rng
        self.train, self._watched, self._incremental = train, watched, incremental
        alpha = float(estimator.alpha)
        self.penalty = PenaltyPerExample(l2=alpha) if alpha else None
        self.result: Params = {}

    def model(self, optimizer: Optimizer) -> Model:
        """Return what is trained, with an update rule."""
        e = self.estimator
        return Model(
            self.mlp,
            optimizer,
            float(e.learning_rate_init),
            self.penalty,
            regularization=Regularization(dropout=float(e.dropout)),
        )

    def run(self, params: Params) -> None:
        """Train the parameters, in place."""
        if self.estimator.solver == "lbfgs":
            self._run_lbfgs(params)
        else:
            self._run_epochs(params)

    def _run_epochs(self, params: Params) -> None:
        e, backend, n = self.estimator, self.backend, len(self.train)
        optimizer, size = optimizer_of(e), batch_size_of(e, n)
        steps, schedule = steps_per_epoch(n, size), self.schedule(n)
        # Other masks in every call: a number alone would draw the same ones again.
        seed = int(self.rng.randint(2**31)) + e.t_ if e.dropout else 0
        model = self.model(optimizer)
        variables = Variables(params, self.optimizer_state(optimizer, params))
        state = TrainingState(variables, [ModelState(model)])
        order = orders(self.rng, n, bool(e.shuffle))
        plan = Plan(
            epochs=1 if self._incremental else int(e.max_iter),
            batch_size=None if size >= n else size,
            schedule=schedule,
            seed=seed,
            order=order,
        )
        training = Training(model, self.train, plan, backend=backend, state=state)
        self.result = params
        stopping, patience = bool(e.early_stopping), e._patience
        patience.tolerance, patience.limit = float(e.tol), float(e.n_iter_no_change) + 1
        e.n_iter_ = 0
        self.told.begin()
        try:
            for row in training:
                if size >= n:
                    order(e.n_iter_)  # all at once need no order; whoever draws next expects one
                e.n_iter_ += 1
                e.t_ += n
                e.loss_ = row.train_loss
                e.loss_curve_.append(e.loss_)
                if e.verbose:
                    print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
                score = self._watch(state.params)
                if patience.note(score if stopping else -e.loss_) and stopping:
                    e._best_params = copied(state.params, xp=backend.xp)
                    e.best_validation_score_ = e.validation_scores_[-1]
                if not stopping:
                    e.best_loss_ = -patience.best
                factor = schedule(state.step - 1, steps)
                stalled = patience.exhausted
                if stalled and isinstance(schedule, Adaptive) and schedule.lowered():
                    patience.waiting, stalled = 0, False
                self._scale_velocity(state, factor / schedule(state.step, steps))
                if self.told.end(state.params) or stalled:
                    break
                if e.n_iter_ < plan.epochs:
                    self.told.begin()
            else:
                if not self._incremental:
                    warn_of_no_convergence(e.max_iter, stacklevel=6)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
        finally:
            best = e._best_params if stopping else None
            self.result = state.params if best is None else real_arrays(best, backend)
            e._optimizer_state = state.variables.optimizer_state  # for `partial_fit` to go on with
            e._adaptive = schedule if isinstance(schedule, Adaptive) else None

    def _run_lbfgs(self, params: Params) -> None:
        """Minimise the loss over all examples with SciPy's L-BFGS-B."""
        e, backend, xp = self.estimator, self.backend, self.backend.xp
        shapes = {name: tuple(array.shape) for name, array in params.items()}
        batch, latest = self.train.batch(xp=xp), [inf]

        def unpacked(values: np.ndarray) -> Params:
            found, at = {}, 0
            for name, shape in shapes.items():
                size = int(np.prod(shape))
                found[name] = backend.to_device(values[at : at + size].reshape(shape))
                at += size
            return found

        def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
            here, add_up = unpacked(values), backend.sum_over_examples
            with backend.computing():
                sums = gradient(self.mlp, here, batch, xp=xp, add_up=add_up, penalty=self.penalty)
                sums.multiply_out()
                latest[0] = loss = float(backend.to_host(sums["loss"]))
                flat = [backend.to_host(sums[name]).reshape(-1) for name in shapes]
            return loss, np.concatenate(flat).astype(np.float64)

        start = np.concatenate([backend.to_host(array).reshape(-1) for array in params.values()])
        options = {"maxfun": e.max_fun, "maxiter": e.max_iter, "gtol": float(e.tol)}
        e.n_iter_, e.loss_, self.result = 0, latest[0], params

        def keep(values: np.ndarray) -> None:
            e.n_iter_ += 1
            e.loss_, self.result = latest[0], unpacked(values)
            if self.told.end(self.result):
                raise StopIteration
            if e.n_iter_ < e.max_iter:
                self.told.begin()

        self.told.begin()
        try:
            found = minimize(
                objective, start, jac=True, method="L-BFGS-B", options=options, callback=keep
            )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
            return
        e.n_iter_, e.loss_ = int(found.nit), float(found.fun)
        self.result = unpacked(found.x)
        if found.status != 0:
            warnings.warn(
                f"lbfgs has not converged after {e.n_iter_} iterations ({found.message}): raise "
                "max_iter, or scale the features",
                ConvergenceWarning,
                stacklevel=5,
            )

    def optimizer_state(self, optimizer: Optimizer, params: Params) -> OptimizerState:
        """Return what the optimiser remembers: in `partial_fit` from the call before."""
        with self.backend.computing():
            new = optimizer.init(params, xp=self.backend.xp)
        kept = self.estimator._optimizer_state
        if not self._incremental or kept is None or not kept.keys() >= new.keys():
            return new
        return {name: real_arrays(kept[name], self.backend, writable=True) for name in new}

    def schedule(self, examples: int) -> Schedule:
        """Return the factors of the learning rate, of so many examples."""
        e = self.estimator
        if e.solver != "sgd" or e.learning_rate == "constant":
            return Constant()
        if e.learning_rate == "adaptive":
            fresh = Adaptive(float(e.learning_rate_init))
            return (e._adaptive or fresh) if self._incremental else fresh
        return InverseScaling(float(e.power_t), examples, e.t_, fresh=not self._incremental)

    def _scale_velocity(self, state: TrainingState, ratio: float) -> None:
        """Carry the velocity over to another learning rate, which is smaller by a ratio.

        scikit-learn's velocity remembers steps, with the rate that they were taken with; ours
        remembers gradients, to which the rate of today is applied.
        """
        if ratio != 1:
            with self.backend.computing():
                for velocity in state.variables.optimizer_state.get("velocity", {}).values():
                    velocity *= ratio

    def _watch(self, params: Params) -> float:
        """Evaluate the examples that are watched; return the figure that decides."""
        e, watched, backend = self.estimator, self._watched, self.backend
        if watched is None:
            return -inf
        outputs = outputs_of(self.mlp, params, watched.x, backend, meaning=False)
        xp, weight = backend.xp, watched.sample_weight
        with backend.computing():
            scale = watched.batch(xp=xp).scale(xp=xp)
            loss, _ = self.mlp.loss_function(
                outputs, watched.y, scale=scale, sample_weight=weight, xp=xp
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
    xp, size, n = backend.xp, backend.piece_rows(int(x.shape[1])), int(x.shape[0])
    with backend.computing():
        pieces = [x[at : min(at + size, n), :] for at in range(0, n, size)]
        if meaning:
            found = [mlp.predict(params, piece, xp=xp) for piece in pieces]
        else:
            found = [mlp.forward(params, piece, xp=xp)[0] for piece in pieces]
        return found[0] if len(found) == 1 else xp.concat(found, axis=0)


def optimizer_of(e: Any) -> Optimizer:
    """Return the update rule of an estimator's parameters."""
    if e.solver == "adam":
        return AdamEpsilonHat(float(e.beta_1), float(e.beta_2), float(e.epsilon))
    if e.solver == "rmsprop":
        return RMSprop(float(e.beta_2), float(e.epsilon))
    if not e.momentum:
        return SGD()
    return (Nesterov if e.nesterovs_momentum else Momentum)(float(e.momentum))


def batch_size_of(e: Any, examples: int) -> int:
    """Return how many examples a step has, of so many; warns where it is asked for more."""
    if e.batch_size == "full":
        return examples
    if e.batch_size == "auto":
        return min(_BATCH, examples)
    if e.batch_size > examples:
        warnings.warn(
            f"batch_size is {e.batch_size} and there are {examples} samples: all of them are "
            "taken at once",
            stacklevel=6,
        )
    return min(int(e.batch_size), examples)


def warn_of_no_convergence(max_iter: int, *, stacklevel: int) -> None:
    """Warn that training has ended before it stood still, as scikit-learn does."""
    warnings.warn(
        f"Stochastic Optimizer: Maximum iterations ({max_iter}) reached and the optimization "
        "hasn't converged yet.",
        ConvergenceWarning,
        stacklevel=stacklevel,
    )

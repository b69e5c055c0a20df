"""One model, or the models of one stack, on their way: steps, log points, ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import fsum, isfinite
from time import perf_counter
from typing import Any

import numpy as np

from xpmlp.backends import Backend
from xpmlp.data.dataset import Dataset
from xpmlp.errors import DivergedError
from xpmlp.mathematics.step import Variables
from xpmlp.regularization import averaged
from xpmlp.training.divergence import divergence_sentence, first_bad_layer
from xpmlp.training.evaluation import evaluate_unchecked
from xpmlp.training.history import LogRow, best_row
from xpmlp.training.looping import AnyStepper, stepper_for
from xpmlp.training.pending import MOST_PENDING, Pending
from xpmlp.training.plan import Plan
from xpmlp.training.settled import Settled, put_back, settled_state
from xpmlp.training.stacking import selected
from xpmlp.training.state import (
    ENDED,
    Interval,
    ModelState,
    TrainingState,
    variables_of,
)
from xpmlp.training.stepper import stepper_of
from xpmlp.training.stopping import Patience

OnStep = Callable[[int], bool | None]

# Models that have ended are removed from a stack when fewer than this share of it still
# trains: to gather the others costs about one step.
_WORTH_GATHERING = 0.8
# A training whose loss is so many times that of its first batch has diverged, finite or not.
_WORSE = 1000.0


class Group:
    """Takes a state from step to step, and settles from time to time what they have brought.

    `data` is on the backend's device. A backend is handed over at each advance: several groups
    may share the threads of one.
    """

    def __init__(self, state: TrainingState, data: Dataset, plan: Plan, backend: Backend) -> None:
        self.state, self._data, self._plan, self._backend = state, data, plan, backend
        self.batches = data.train.batches(
            plan.batch_size, seed=plan.seed, backend=backend, order=plan.order
        )
        self._pending = Pending()  # of steps not yet settled
        self.turns = 1.0  # how many groups take turns on a thread, each waiting for the others
        self._configure()

    @property
    def running(self) -> list[ModelState]:
        """The models that train."""
        return [model for model in self.state.models if model.status == "running"]

    def begin(self, steps: int) -> None:
        """Set the models going that have not reached so many steps, and are not to stop before."""
        for model in self.state.models:
            if self.state.is_stack and model.status in ENDED:
                continue
            stale = self._is_stale(model)
            if self.state.step < steps and not stale:
                model.status, model.params = "running", None
                if self._data.validation is None:  # what was best before is not of these steps
                    model.best_params = None
            elif model.status in ("running", "interrupted"):  # left at a step that is its last now
                model.status = "early_stopped" if stale else "completed"
        self._at_work = len(self.running)

    def advance(self, until: int, backend: Backend, on_step: OnStep | None = None) -> bool:
        """Train up to a step; tell whether `on_step`, or another rank, has asked to stop before."""
        self._backend = backend
        self._plain.backend = backend
        state = self.state
        while state.step < until:
            begun, start = state.step, perf_counter()
            state.variables, taken = self._stepper.advance(state.variables, begun, until - begun)
            self._pending.add(taken)
            state.step += len(taken.sizes)
            state.seconds += self.turns * (perf_counter() - start - taken.aside)
            if self._pending.steps >= MOST_PENDING:
                self.settle()
            stop = False
            if on_step is not None:
                for done in range(begun + 1, state.step + 1):
                    stop = bool(on_step(done)) or stop
            if backend.ranks.agreed(stop):
                return True
        return False

    def log(self, last: bool) -> None:
        """Add a row to the history of each model that trains; end those that are to stop here."""
        self.settle()
        data = self._data
        figures: dict[str, tuple[Any, Any]] = {}
        sets = {"training": data.train if self._plan.train_exact else None}
        sets |= {"validation": data.validation, "test": data.test}
        for name, examples in sets.items():
            if examples is not None and len(examples):
                figures[name] = self._evaluate(examples)
        for place, model in enumerate(self.state.models):
            if model.status == "running":
                self._log_model(place, model, {k: _of_model(v, place) for k, v in figures.items()})
        for model in self.running:
            if self._is_stale(model):
                model.status = "early_stopped"
            elif last:
                model.status = "completed"
        if self.state.is_stack and len(self.running) < self._at_work:
            self._at_work = len(self.running)
            self._part()

    def _log_model(
        self, place: int, model: ModelState, figures: dict[str, tuple[float, float | None]]
    ) -> None:
        state, interval, xp = self.state, model.interval, self._backend.xp
        for name, (loss, _) in figures.items():
            if not isfinite(loss):
                self._diverged(place, state.step, state.step, f"the {name} loss is {loss}")
                return
        right = None if interval.correct is None else interval.correct / interval.examples
        train = figures.get("training", (fsum(interval.losses) / interval.examples, right))
        # The mean says little where a few examples are far from all others.
        latest = sorted(interval.losses[len(interval.losses) // 2 :])
        usual = latest[len(latest) // 2] * len(interval.losses) / interval.examples
        if model.first_loss is not None and usual > _WORSE * model.first_loss > 0:
            what = f"the training loss is {usual:g} and was {model.first_loss:g} at the start"
            self._diverged(place, state.step, state.step, what)
            return
        val, test = (figures.get(name, (None, None)) for name in ("validation", "test"))
        row = LogRow(
            step=state.step,
            epoch=state.step / self.batches.steps_per_epoch,
            learning_rate=model.model.rate * self._rates.factor(state.step - 1),
            train_loss=train[0],
            train_accuracy=train[1],
            val_loss=val[0],
            val_accuracy=val[1],
            seconds=state.seconds,
            test_loss=test[0],
            test_accuracy=test[1],
        )
        model.history.append(row)
        model.interval = Interval()
        if best_row(model.history) is row:
            with self._backend.computing():
                model.best_params = state.params_of(place, xp=xp)

    def settle(self) -> None:
        """Read the waiting losses and counts; where they are not finite a model has diverged."""
        if not self._pending.steps:
            return  # nothing has changed since it was done last
        # A device may still be at work on steps that were handed to it: they count too.
        start, backend = perf_counter(), self._backend
        backend.synchronize()
        state, first = self.state, self.state.step - self._pending.steps
        state.seconds += perf_counter() - start
        losses, right, finite, sizes = self._pending.read(state.params, len(state.models), backend)
        for place, model in enumerate(state.models):
            if model.status != "running":
                continue
            bad = next((n for n, loss in enumerate(losses[place]) if not isfinite(loss)), None)
            if bad is not None:
                what = f"the training loss is {losses[place][bad]}"
                self._diverged(place, first + bad, first + bad + 1, what)
                continue
            if first == 0:
                model.first_loss = losses[place][0]
            interval = model.interval
            interval.losses += [loss * n for loss, n in zip(losses[place], sizes, strict=True)]
            interval.examples += sum(sizes)
            if right is None:
                interval.correct = None
            elif interval.correct is not None:
                interval.correct += right[place]
            if not finite[place]:
                what = "the weights are no longer finite"
                self._diverged(place, state.step, state.step, what)

    def _evaluate(self, examples: Any) -> tuple[Any, Any]:
        # The step's network may have a loss of smoothed targets.
        mlp = replace(self._plain.step.mlp, loss=self.state.models[0].mlp.loss)
        params, backend = self.state.averaged, self._backend
        with backend.ranks.untimed():
            return evaluate_unchecked(mlp, params, examples, backend)

    def _is_stale(self, model: ModelState) -> bool:
        stop = self._plan.stop
        if stop is not None and model.history:
            # A rule may look at the seconds, which are each rank's own.
            wish = float(bool(stop(model.history)))
            if self._backend.ranks.largest(wish) > 0:
                return True
        if self._plan.patience is None:
            return False
        losses = [row.val_loss for row in model.history if row.val_loss is not None]
        return Patience(self._plan.patience).after(-loss for loss in losses).exhausted

    def _diverged(self, place: int, after: int, step: int, what: str) -> None:
        """End a model at its last good state, saying where it went wrong; raise if it is alone.

        To see where, its steps up to `after` are taken again from there, by itself.
        """
        state, xp, model = self.state, self._backend.xp, self.state.models[place]
        with self._backend.computing():
            variables = variables_of(self._good.variables, place, xp=xp)
        alone = stepper_of([model], self._plan, self.batches, self._backend)
        for number in range(self._good.step, after):
            variables, _ = alone.advance(variables, number)
        with self._backend.computing():
            drawn = self.batches.draw(after)
        where = first_bad_layer(model.mlp, variables.params, drawn, self._backend)
        rate = model.model.rate * self._rates.factor(max(step - 1, 0))
        model.cause = divergence_sentence(what, step, rate, where)
        model.status = "diverged"
        if not state.is_stack:
            cause = model.cause
            self.restore(self._good)
            model.status, model.cause = "diverged", cause
            raise DivergedError(cause)
        with self._backend.computing():
            variables = variables_of(self._good.variables, place, xp=xp)
            model.params = averaged(variables.params, variables.optimizer_state)

    def _part(self) -> None:
        """Keep the parameters of ended models; take them out of the stack where that pays."""
        state, xp = self.state, self._backend.xp
        for place, model in enumerate(state.models):
            if model.status != "running" and model.params is None:
                with self._backend.computing():
                    model.params = state.params_of(place, xp=xp)
        if not self.running:
            return
        if len(self.running) < _WORTH_GATHERING * len(state.models):
            places = [place for place, m in enumerate(state.models) if m.status == "running"]
            numbers = self._backend.to_device(np.asarray(places, dtype=np.int64))
            with self._backend.computing():
                state.variables = Variables(
                    selected(state.params, numbers, xp=xp),
                    {
                        name: selected(arrays, numbers, xp=xp)
                        for name, arrays in state.variables.optimizer_state.items()
                    },
                )
            state.models = self.running
        self._configure()  # rates, or arrays, are others now

    def _configure(self) -> None:
        """Put together what the steps of the models need; one that has ended has the rate 0."""
        like = self.state.params["layer1.weight"] if self.state.is_stack else None
        self._plain = stepper_of(
            self.state.models, self._plan, self.batches, self._backend, like=like
        )
        self._rates = self._plain.rates
        self._stepper: AnyStepper = stepper_for(self._plain)

    def settled(self) -> Settled:
        """Return copies of what steps and log points change, to go back to."""
        self._good = settled_state(self.state, self._backend)
        return self._good

    def restore(self, settled: Settled) -> None:
        """Go back to a settled state."""
        self._pending.clear()
        put_back(settled, self.state, self._backend)
        self._configure()
        self._good = settled


def _of_model(figures: tuple[Any, Any], place: int) -> tuple[float, float | None]:
    """Return loss and accuracy of one model, from those of all in a list."""
    loss, accuracy = figures
    if not isinstance(loss, list):
        return loss, accuracy
    return loss[place], None if accuracy is None else accuracy[place]

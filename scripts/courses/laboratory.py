"""Where recipes are carried out: a device, a data set, and trainings by their settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from courses.report import Report

import xpmlp
from xpmlp import LogRow
from xpmlp.backends import Backend
from xpmlp.commands.command_line import message
from xpmlp.data import Dataset, Examples
from xpmlp.data.batches import steps_per_epoch
from xpmlp.mathematics.optimizers import Optimizer
from xpmlp.training.history import best_row

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting:
    """A network and how it is trained.

    `steps` counts instead of `epochs` where it is given. `validations` is how often an epoch is
    logged. The rate is halved at each of the `halved_at` epochs.
    """

    hidden: tuple[int, ...]
    activation: str = "sigmoid"
    initializer: str = "xavier"
    optimizer: Optimizer = field(default_factory=xpmlp.SGD)
    learning_rate: float = 0.1
    batch_size: int | None = 64
    epochs: int = 10
    steps: int | None = None
    validations: float = 1
    halved_at: tuple[int, ...] = ()
    patience: int | None = None
    train_exact: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What came out of a training."""

    setting: Setting
    state: xpmlp.ModelState

    @property
    def mlp(self) -> xpmlp.MLP:
        """The network."""
        return self.state.mlp

    @property
    def rows(self) -> list[LogRow]:
        """The history."""
        return self.state.history

    @property
    def best(self) -> LogRow:
        """The row of the lowest validation loss, or the last without validation."""
        return best_row(self.rows) or self.rows[-1]

    def first_above(self, accuracy: float, of: str = "val") -> LogRow | None:
        """Return the first row whose accuracy is above a value."""
        found = ((getattr(row, f"{of}_accuracy") or 0.0, row) for row in self.rows)
        return next((row for value, row in found if value > accuracy), None)


@dataclass(frozen=True)
class Laboratory:
    """What a recipe is given. A `quick` run is the same experiment in miniature."""

    backend: Backend
    dataset: Dataset
    report: Report
    quick: bool
    options: dict[str, Any] = field(default_factory=dict)

    def either(self, full: Value, quick: Value) -> Value:
        """Return the full run's value, or the quick one's."""
        return quick if self.quick else full

    @property
    def is_mnist(self) -> bool:
        """Whether figures may be held against those of the courses."""
        return self.dataset.name == "mnist"

    def mlp(self, setting: Setting) -> xpmlp.MLP:
        """Return the network of a setting for this data."""
        sizes = (self.dataset.train.features, *setting.hidden, self.dataset.classes)
        return xpmlp.MLP(sizes, setting.activation)

    def model(self, setting: Setting) -> xpmlp.Model:
        """Return what a setting trains."""
        return xpmlp.Model(
            self.mlp(setting),
            setting.optimizer,
            setting.learning_rate,
            initializer=setting.initializer,
            seed=setting.seed,
        )

    def split(
        self,
        normalize: str,
        val_size: int = 0,
        train_size: int | None = None,
        *,
        train: Examples | None = None,
    ) -> Dataset:
        """Hold out a validation set from the end of a seeded shuffle, scale, move."""
        source = replace(self.dataset, train=train or self.dataset.train, test=None)
        prepared = xpmlp.prepare(
            source, normalize=normalize, train_size=train_size, val_size=val_size, test_size=0
        )
        return prepared.to_device(self.backend)

    def in_float64(self) -> Backend:
        """Return the same library and device in float64: derivatives are held to differences."""
        return xpmlp.select_backend(self.backend.device_name, "float64", backend=self.backend.name)

    def moved(self, examples: Examples, split: Dataset) -> Examples:
        """Return examples on the device, scaled as a split is."""
        assert split.normalization is not None
        return examples.normalized(split.normalization).to_device(self.backend)

    def few(self, count: int, of: int) -> Examples:
        """Return a few training examples on the host, scaled by numbers of some more."""
        scaled = xpmlp.prepare(self.dataset, train_size=of, val_size=0)
        found: Examples = scaled.train.first(count)
        return found

    @property
    def test(self) -> Examples:
        """The test examples as they are stored."""
        if self.dataset.test is None:
            raise xpmlp.errors.DataError(f"{self.dataset.name} has no test set")
        found: Examples = self.dataset.test
        return found

    def train(
        self,
        name: str,
        setting: Setting,
        split: Dataset,
        *,
        test: Examples | None = None,
        on_row: Callable[[LogRow], None] | None = None,
    ) -> Trained:
        """Train as a setting says; with `test` the test set is evaluated at every log point."""
        start, data = time.perf_counter(), replace(split, test=test)
        plan = replace(self._plan(setting, split), log_test=test is not None)
        training = xpmlp.Training(self.model(setting), data, plan, backend=self.backend)
        for row in training:
            if on_row is not None:
                on_row(row)
        state = training.state
        state.only.params = state.params
        message(
            f"{name}: {training.model.mlp}, {state.step:,} steps, {state.status}, "
            f"{time.perf_counter() - start:.1f} s"
        )
        return Trained(setting, state.only)

    def train_all(self, settings: Mapping[str, Setting], split: Dataset) -> dict[str, Trained]:
        """Train as several settings say; those of one shape and plan as one stack."""
        groups: dict[Any, list[str]] = {}
        for name, setting in settings.items():
            # Models of one stack differ in these at most.
            shape = replace(
                setting, learning_rate=0.0, activation="", initializer="", optimizer=xpmlp.SGD()
            )
            groups.setdefault((shape, type(setting.optimizer)), []).append(name)
        trained: dict[str, Trained] = {}
        for names in groups.values():
            trained |= self._train_stack({name: settings[name] for name in names}, split)
        return {name: trained[name] for name in settings}

    def _plan(self, setting: Setting, split: Dataset) -> xpmlp.Plan:
        size = setting.batch_size
        an_epoch = steps_per_epoch(len(split.train), size)
        return xpmlp.Plan(
            epochs=None if setting.steps else setting.epochs,
            steps=setting.steps,
            batch_size=size,
            log_every=max(1, round(an_epoch / setting.validations)),
            schedule=xpmlp.StepDecay(setting.halved_at) if setting.halved_at else xpmlp.Constant(),
            patience=setting.patience,
            train_exact=setting.train_exact,
            seed=setting.seed,
        )

    def _train_stack(self, settings: dict[str, Setting], split: Dataset) -> dict[str, Trained]:
        common, start = next(iter(settings.values())), time.perf_counter()
        models = [self.model(setting) for setting in settings.values()]
        training = xpmlp.StackTraining(
            models, split, self._plan(common, split), backend=self.backend
        )
        ended = training.run()
        message(
            f"{', '.join(settings)}: {xpmlp.stacked_mlp([model.mlp for model in models])}, a "
            f"stack of {len(settings)}, "
            f"{time.perf_counter() - start:.1f} s"
        )
        return {
            name: Trained(setting, state)
            for (name, setting), state in zip(settings.items(), ended, strict=True)
        }

    def evaluate(self, trained: Trained, examples: Examples) -> tuple[float, float]:
        """Return loss and accuracy of the result of a training."""
        loss, accuracy = xpmlp.evaluate(
            trained.mlp, trained.state.result, examples, backend=self.backend
        )
        return loss, accuracy

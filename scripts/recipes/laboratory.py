"""Where recipes are carried out: a device, a data set, and trainings by their settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from command_line import message

import xpmlp
from recipes.report import Report
from xpmlp import LogRow
from xpmlp.backends import Backend
from xpmlp.data import Dataset, Normalization, Source, Unshared
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
class Split:
    """Examples on the device, scaled alike, by numbers of the training part."""

    train: Source
    validation: Source | None
    normalization: Normalization


@dataclass(frozen=True)
class Trained:
    """What came out of a training."""

    setting: Setting
    mlp: xpmlp.MLP
    state: xpmlp.TrainingState

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

    def split(
        self,
        normalize: str,
        val_size: int = 0,
        train_size: int | None = None,
        *,
        train: Unshared | None = None,
    ) -> Split:
        """Hold out a validation set from the end of a seeded shuffle, scale, move."""
        source = (train or self.dataset.train).first(train_size)
        kept, held = source.hold_out(val_size, seed=0)
        scale = xpmlp.fit_normalization(normalize, kept.rows, self.dataset.maximum)
        validation = self.moved(held, scale) if val_size else None
        return Split(self.moved(kept, scale), validation, scale)

    def moved(self, examples: Source, scale: Normalization) -> Source:
        """Return examples on the device, scaled."""
        return examples.normalized(scale).to_device(self.backend)

    @property
    def test(self) -> Unshared:
        """The test examples as they are stored."""
        if self.dataset.test is None:
            raise xpmlp.errors.DataError(f"{self.dataset.name} has no test set")
        return self.dataset.test

    def train(
        self,
        name: str,
        setting: Setting,
        split: Split,
        *,
        test: Source | None = None,
        on_row: Callable[[LogRow], None] | None = None,
    ) -> Trained:
        """Train as a setting says."""
        mlp, start = self.mlp(setting), time.perf_counter()
        state = xpmlp.initial_state(
            mlp,
            setting.optimizer,
            seed=setting.seed,
            backend=self.backend,
            initializer=setting.initializer,
        )
        for row in xpmlp.fit(
            mlp,
            state,
            split.train,
            optimizer=setting.optimizer,
            learning_rate=setting.learning_rate,
            train_exact=setting.train_exact,
            test=test,
            **self._course(setting, split),
        ):
            if on_row is not None:
                on_row(row)
        trained = Trained(setting, mlp, state)
        message(
            f"{name}: {mlp}, {state.step:,} steps, {state.status}, "
            f"{time.perf_counter() - start:.1f} s"
        )
        return trained

    def train_all(self, settings: Mapping[str, Setting], split: Split) -> dict[str, Trained]:
        """Train as several settings say; those of one shape and course as one stack."""
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

    def _course(self, setting: Setting, split: Split) -> dict[str, Any]:
        """Return what `fit` and `fit_stack` are both told of a training."""
        size = setting.batch_size
        an_epoch = steps_per_epoch(len(split.train), size or len(split.train))
        return {
            "batch_size": size,
            "steps": setting.steps or setting.epochs * an_epoch,
            "log_every": max(1, round(an_epoch / setting.validations)),
            "schedule": xpmlp.StepDecay(setting.halved_at) if setting.halved_at else None,
            "validation": split.validation,
            "patience": setting.patience,
            "backend": self.backend,
        }

    def _train_stack(self, settings: dict[str, Setting], split: Split) -> dict[str, Trained]:
        common, start = next(iter(settings.values())), time.perf_counter()
        *_, models = xpmlp.fit_stack(
            self.mlp(common).sizes,
            [
                xpmlp.ModelSetting(
                    activation=s.activation,
                    initializer=s.initializer,
                    seed=s.seed,
                    learning_rate=s.learning_rate,
                    optimizer=s.optimizer,
                )
                for s in settings.values()
            ],
            split.train,
            seed=common.seed,
            **self._course(common, split),
        )
        message(
            f"{', '.join(settings)}: {self.mlp(common)}, a stack of {len(settings)}, "
            f"{time.perf_counter() - start:.1f} s"
        )
        return {
            name: Trained(setting, model.mlp, _state_of(model))
            for (name, setting), model in zip(settings.items(), models, strict=True)
        }

    def evaluate(self, trained: Trained, examples: Source) -> tuple[float, float]:
        """Return loss and accuracy of the result of a training."""
        loss, accuracy = xpmlp.evaluate(
            trained.mlp, trained.state.result, examples, backend=self.backend
        )
        assert accuracy is not None
        return loss, accuracy


def _state_of(model: xpmlp.StackModel) -> xpmlp.TrainingState:
    """Return the state of a model of a stack, as if it had been trained alone."""
    assert model.params is not None
    last = model.history[-1]
    return xpmlp.TrainingState(
        model.params,
        {},
        model.setting.seed,
        step=last.step,
        seconds=last.seconds,
        history=model.history,
        best_params=model.best_params,
        status=model.status,
    )

"""What has been trained: it predicts, is evaluated, is saved, and is brought back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from xpmlp.arrays import Array
from xpmlp.backends import Backend, chosen_backend
from xpmlp.data.dataset import Dataset
from xpmlp.data.examples import Examples
from xpmlp.data.preparation import Preparation
from xpmlp.data.prepare import as_dataset
from xpmlp.errors import DataError, UsageError
from xpmlp.files import read_whole
from xpmlp.inspection.predictions import evaluate_mean_output, mean_output, outputs_of
from xpmlp.inspection.scores import scores
from xpmlp.interchange import load_safetensors, save_onnx, save_safetensors
from xpmlp.mathematics.initializers import HostParams
from xpmlp.mathematics.mlp import MLP
from xpmlp.progress import Progress
from xpmlp.training.history import LogRow
from xpmlp.training.loop import StackTraining, Training
from xpmlp.training.plan import Model, Plan, check_asked
from xpmlp.training.stacking import stacked, stacked_mlp
from xpmlp.training.state import ModelState, TrainingState

_WRITERS = {".safetensors": save_safetensors, ".onnx": save_onnx}


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its weights, and what raw data needs before it can take them.

    `mlp` and `params` (on the host): the network, or a stack of them that are averaged.
    `preparation`: scaling and encoding of raw features, names and units of the outputs. `backend`:
    where it computes. `history`: its log points, `status`: how its training ended.
    """

    mlp: MLP
    params: HostParams = field(repr=False)
    preparation: Preparation = field(repr=False)
    backend: Backend = field(repr=False, compare=False)
    history: list[LogRow] = field(default_factory=list, repr=False)
    status: str = "completed"

    @classmethod
    def of(cls, training: Training, *, best: bool = True) -> Self:
        """Return what a training has come to: its best weights, or those of its last step.

        >>> import xpmlp
        >>> data = xpmlp.load_data("digits")
        >>> training = xpmlp.Training(xpmlp.Model(xpmlp.MLP((64, 10))), data, xpmlp.Plan(epochs=3))
        >>> f1 = [xpmlp.Trained.of(training).scores(data.validation)["f1"] for row in training]
        >>> len(f1)
        3
        """
        state, backend = training.state, training.backend
        params = state.result if best else state.averaged
        return cls._of_model(state.only, params, training.data, backend)

    @classmethod
    def _of_model(
        cls, model: ModelState, params: dict[str, Array], data: Dataset, backend: Backend
    ) -> Self:
        host = {name: backend.to_host(array) for name, array in params.items()}
        return cls(model.mlp, host, data.preparation, backend, model.history, model.status)

    def predict(self, x: Any) -> np.ndarray:
        """Return the class of each row of raw features (N,), or its values (N, outputs).

        x is as it was given to the training: (N, F) or images, of any array library, or a data
        frame. Classes are named as they were there. Raises `DataError` for features that do not
        fit.
        """
        outputs = self.outputs(x)
        if self.preparation.targets is not None:
            return self.preparation.targets.decided(outputs)
        if self.mlp.loss_function.link.predicts != "probabilities":
            return outputs
        if self.mlp.loss_function.one_class:
            ids: np.ndarray = outputs.argmax(axis=1)
            return ids
        return (outputs > 0.5).astype(np.int64)

    def predict_proba(self, x: Any) -> np.ndarray:
        """Return the probability of each class (N, outputs) of rows of raw features.

        Raises `UsageError` for a regression.
        """
        if self.mlp.loss_function.link.predicts != "probabilities":
            raise UsageError(f"a network trained on {self.mlp.loss} gives no probabilities")
        return self.outputs(x)

    def evaluate(self, examples: Examples) -> tuple[float, float | None]:
        """Return mean loss and accuracy over examples, such as `data.test`; see `evaluate`.

        Raises `DataError` for examples that do not fit, or were scaled for another network.
        """
        moved = self._prepared(examples)
        return evaluate_mean_output(self.mlp, self._on_device, moved, backend=self.backend)

    def scores(self, examples: Any) -> dict[str, Any]:
        """Return the figures of the task over examples, such as `data.test`, by name.

        Of classes accuracy, balanced accuracy, F1, the area under the ROC curve and those of each
        class; of values RMSE, MAE and R², in their own unit. Raises what `evaluate` raises.
        """
        moved, targets = self._prepared(examples), self.preparation.targets
        if targets is None:
            raise UsageError("the network does not say what its outputs mean: use evaluate")
        found = outputs_of(self.mlp, self._on_device, moved, backend=self.backend, targets=targets)
        return scores(found, targets)

    def _prepared(self, examples: Any) -> Any:
        """Return examples on the device, ready for the network; `UsageError` for other things."""
        if not hasattr(examples, "hold_out"):
            kind = type(examples).__name__
            raise UsageError(f"a {kind} is no examples: give some, such as data.test")
        return self.preparation.applied(examples).to_device(self.backend)

    def save(self, path: str | Path) -> None:
        """Write a file by its ending: .safetensors, which `load` reads back, or .onnx.

        Raises `UsageError` for another ending, `OutputError` where it cannot be written.
        """
        writer = _WRITERS.get(Path(path).suffix)
        if writer is None:
            known = " or ".join(_WRITERS)
            raise UsageError(f"{path} names no format: choose a file that ends in {known}")
        writer(path, self.mlp, self.params, self.preparation)

    @cached_property
    def _on_device(self) -> dict[str, Array]:
        # Once: rows may come in many pieces.
        return self.backend.all_to_device(self.params)

    def outputs(self, x: Any) -> np.ndarray:
        """Return what the outputs stand for, of rows of raw features: probabilities or values."""
        backend, own = self.backend, self.preparation
        raw = own.features_of(x)
        examples = Examples(raw, np.zeros(len(raw), "int64"), own.normalization)
        if examples.features != self.mlp.sizes[0]:
            raise DataError(
                f"the network takes {self.mlp.sizes[0]} features and the data has "
                f"{examples.features}: they do not fit"
            )
        batch, params = examples.to_device(backend).batch(xp=backend.xp), self._on_device
        found = []
        with backend.computing():
            size = backend.piece_rows(examples.features)
            for start in range(0, batch.size, size):
                rows = slice(start, min(start + size, batch.size))
                predicted = backend.compiled(mean_output)(self.mlp, params, batch.read(rows).x)
                found.append(backend.to_host(predicted))
        outputs = np.concatenate(found)
        return own.targets.unscaled(outputs) if own.targets else outputs


def fit(
    model: Model,
    data: Any,
    plan: Plan | None = None,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    backend: Backend | str = "auto",
    state: TrainingState | None = None,
    progress: bool = True,
) -> Trained:
    """Train a model to the end of a plan, and return what was trained, with its best weights.

    `model`, `data`, `state`: as for `Training`, which who wants to look in between iterates over.
    `plan`: by default 20 epochs of batches of 64. `device` ("cpu", "gpu", "gpu:N"), `dtype`
    ("float32", "float64") and `backend` (the library's name) are those of `select_backend`;
    `backend` may also be one that is made already. `progress` shows a bar on a terminal. Raises
    what `Training` and `select_backend` raise.

    >>> import xpmlp
    >>> data = xpmlp.load_data("digits")
    >>> trained = fit(xpmlp.Model(xpmlp.MLP((64, 30, 10))), data, xpmlp.Plan(epochs=10))
    >>> loss, accuracy = trained.evaluate(data.test)
    >>> accuracy > 0.9
    True
    """
    plan, backend = plan or Plan(), chosen_backend(backend, device, dtype)
    check_asked(model, plan)
    data = as_dataset(data)
    examples = data.train
    steps, size = plan.steps_for(len(examples)), plan.batch_size or len(examples)
    with Progress(steps, state.step if state else 0, size, bar=progress) as bar:
        training = Training(model, data, plan, backend=backend, state=state, on_step=bar.step)
        for row in training:
            bar.row(row)
    return Trained.of(training)


def fit_ensemble(
    models: Sequence[Model],
    data: Any,
    plan: Plan | None = None,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    backend: Backend | str = "auto",
) -> Trained:
    """Train models that differ in their seed together; return what predicts the mean of theirs.

    Each keeps its best weights; those that diverge are left out. `models` and `data`: as for
    `StackTraining`; `plan`, `device`, `dtype`, `backend`: as for `fit`. Raises what
    `StackTraining` raises, and `DivergedError` where all have diverged.

    >>> import xpmlp
    >>> models = [xpmlp.Model(xpmlp.MLP((64, 10)), seed=seed) for seed in range(3)]
    >>> data = xpmlp.load_data("digits")
    >>> trained = fit_ensemble(models, data, xpmlp.Plan(epochs=3))
    >>> trained.params["layer1.weight"].shape
    (3, 64, 10)
    """
    backend, data = chosen_backend(backend, device, dtype), as_dataset(data)
    trained = StackTraining(models, data, plan or Plan(), backend=backend).run()
    good = [one for one in trained if one.status != "diverged"] or trained[:1]
    with backend.computing():
        params = stacked([one.result for one in good], xp=backend.xp)
    longest = max(good, key=lambda one: len(one.history))
    mlp = stacked_mlp([one.mlp for one in good])
    return replace(Trained._of_model(longest, params, data, backend), mlp=mlp)


def fit_stack(
    models: Sequence[Model],
    data: Any,
    plan: Plan | None = None,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    backend: Backend | str = "auto",
) -> list[Trained]:
    """Train models of one shape together, and return each of them; see `fit`, `StackTraining`.

    `models` and `data`: as for `StackTraining`; `plan`, `device`, `dtype`, `backend`: as for `fit`.
    Raises what `StackTraining` raises, and `DivergedError` where one has diverged before its first
    log point: iterate over `StackTraining` to look at the others.

    >>> import xpmlp
    >>> models = [xpmlp.Model(xpmlp.MLP((64, 10)), seed=seed) for seed in range(2)]
    >>> [one.status for one in fit_stack(models, xpmlp.load_data("digits"), xpmlp.Plan(epochs=2))]
    ['completed', 'completed']
    """
    backend, data = chosen_backend(backend, device, dtype), as_dataset(data)
    trained = StackTraining(models, data, plan or Plan(), backend=backend).run()
    return [Trained._of_model(only, only.result, data, backend) for only in trained]


def _holds_checkpoint(path: Path) -> bool:
    from xpmlp.runs.containers import is_checkpoint

    try:
        return is_checkpoint(read_whole(path))
    except OSError:
        return False  # whoever reads it says why it cannot be


def load(path: str | Path, *, device: str = "cpu", backend: str = "auto") -> Trained:
    """Bring back what was trained: a run's folder, its checkpoint, or a .safetensors file.

    Of a run the weights of the lowest validation loss, or without validation the last. `device` is
    where it computes, and `backend` with which library. Raises `CheckpointError` for what is
    missing, damaged, or something else, and what `select_backend` raises.

    >>> import tempfile, xpmlp
    >>> data, model = xpmlp.load_data("digits"), xpmlp.Model(xpmlp.MLP((64, 10)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fit(model, data, xpmlp.Plan(epochs=1)).save(f"{folder}/digits.safetensors")
    ...     load(f"{folder}/digits.safetensors").mlp == model.mlp
    True
    """
    path = Path(path)
    if path.suffix == ".safetensors" and not _holds_checkpoint(path):
        mlp, params, preparation = load_safetensors(path)
        history: list[LogRow] = []
    else:
        from xpmlp.runs.checkpoint import load_result, preparation_of
        from xpmlp.runs.folder import weights_file

        kept = load_result(weights_file(path) if path.is_dir() else path)
        mlp, params, history = kept.mlp, kept.params, kept.history
        preparation = preparation_of(kept)
    dtype = str(params["layer1.weight"].dtype)
    return Trained(mlp, params, preparation, chosen_backend(backend, device, dtype), history)

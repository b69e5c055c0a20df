"""How a network is trained in a race: the best recipe known, and what users of a library write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpmlp import Constant, Cosine, Warmup
from xpmlp.mathematics.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """A network's activation and first weights, the optimiser, its rates, batches and epochs.

    The rate rises for the first `warmup` steps; with `cosine` it falls to 0 over the epochs. The
    last four are as in `xpmlp.Regularization`, and `elastic` as in its `Deformation`.
    """

    activation: str
    initializer: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int = 50
    warmup: int = 0
    cosine: bool = False
    input_dropout: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    elastic: float = 0.0

    def schedule(self, examples: int) -> Schedule:
        """Return the learning rate's schedule over so many examples."""
        schedule: Schedule = Constant()
        if self.cosine:
            schedule = Cosine(self.epochs * self.steps_per_epoch(examples))
        return Warmup(schedule, self.warmup) if self.warmup else schedule

    def factors(self, examples: int) -> tuple[float, ...]:
        """Return the schedule's factor at each step; none where the rate is constant."""
        if not (self.cosine or self.warmup):
            return ()
        schedule, per_epoch = self.schedule(examples), self.steps_per_epoch(examples)
        return tuple(schedule(step, per_epoch) for step in range(self.epochs * per_epoch))

    def steps_per_epoch(self, examples: int) -> int:
        """Return the steps of an epoch, the last of which may be short."""
        return -(-examples // self.batch_size)


_FALLING: dict[str, Any] = {"warmup": 100, "cosine": True}
# The quickest found that reach an accuracy on MNIST's test set with 784-400-400-10, compared on
# held-out training images: 0.98 of some fifty, the last dozen on the test set with four seeds; the
# others of some forty.
BEST = {
    0.98: Recipe("relu", "he", "momentum", 0.15, 256, epochs=3, **_FALLING),
    0.985: Recipe(
        "relu", "he", "momentum", 0.1, 128, epochs=5, label_smoothing=0.1, elastic=0.8, **_FALLING
    ),
    0.99: Recipe("relu", "he", "adam", 0.002, 128, epochs=16, elastic=1.2, **_FALLING),
}
# What the documentation of each library leads to: its defaults, and rates of its tutorials.
USUAL = {
    "torch": Recipe("relu", "torch", "adam", 0.001, 64),
    "jax": Recipe("relu", "he", "adam", 0.001, 128),
    "scikit-learn": Recipe("relu", "xavier", "adam", 0.001, 200),
}
# Their constant rates are compared to this accuracy: beyond, they arrive by chance or not at all.
USUAL_TO = 0.98
# Their rate cannot follow a schedule from step to step.
WITHOUT_SCHEDULES = ("scikit-learn", "xpmlp.MLPClassifier")


def usual_of(library: str) -> Recipe | None:
    """Return what users of a library write, None for ours."""
    return next((recipe for name, recipe in USUAL.items() if library.startswith(name)), None)

"""Templates: the functions to write, in the shapes and names of a course."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Course:
    """How a course keeps its arrays: the network, and the shapes in words."""

    title: str
    sizes: tuple[int, ...]
    activation: str
    x: str
    y: str
    weights: str
    structure: str
    fill: str
    columns: bool = False
    momentum: bool = False
    also: str = ""


COURSES = {
    "augsburg-04": Course(
        "two hidden layers of sigmoid units, the full batch; examples are columns",
        (6, 5, 4, 3),
        "sigmoid",
        "(features, N): an example in each column",
        "(classes, N), one-hot columns",
        "W (fan_out, fan_in), b (fan_out, 1)",
        '{"W": [W1, W2, W3], "b": [b1, b2, b3]}',
        """weights, biases = [], []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
        weights.append(rng.normal(0.0, fan_in**-0.5, (fan_out, fan_in)))
        biases.append(np.zeros((fan_out, 1)))
    return {"W": weights, "b": biases}""",
        columns=True,
        also="batches",
    ),
    "tuebingen-08": Course(
        "one hidden layer of sigmoid units; examples are rows",
        (6, 5, 3),
        "sigmoid",
        "(N, features): an example in each row",
        "(N, classes), one-hot rows",
        "W (fan_in, fan_out), b (fan_out,)",
        '{"W1": ..., "b1": ..., "W2": ..., "b2": ...}',
        """params = {}
    for layer, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:]), start=1):
        params[f"W{layer}"] = rng.normal(0.0, fan_in**-0.5, (fan_in, fan_out))
        params[f"b{layer}"] = np.zeros(fan_out)
    return params""",
    ),
    "mse-05": Course(
        "any number of layers, each an object of its own; examples are columns",
        (6, 5, 4, 3),
        "sigmoid",
        "(features, N): an example in each column",
        "(classes, N), one-hot columns",
        "(W, b) of each layer, W (fan_out, fan_in), b (fan_out, 1)",
        "[(W1, b1), (W2, b2), ...]",
        """return [
        (rng.normal(0.0, fan_in**-0.5, (fan_out, fan_in)), np.zeros((fan_out, 1)))
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:])
    ]""",
        columns=True,
    ),
    "tdt4265-02": Course(
        "one hidden layer, the bias as a 1 behind the features, momentum; examples are rows",
        (6, 5, 3),
        "sigmoid",
        "(N, features): an example in each row, without the 1",
        "(N, classes), one-hot rows",
        "W (fan_in + 1, fan_out), whose last row is the bias",
        "[W1, W2]",
        """return [
        rng.uniform(-1.0, 1.0, (fan_in + 1, fan_out)) * (fan_in + 1) ** -0.5
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:])
    ]""",
        momentum=True,
        also="prepare, one_hot, batches",
    ),
    "ee541-05": Course(
        "hidden layers of tanh or ReLU units, minibatches; examples are rows",
        (6, 5, 4, 3),
        "tanh",
        "(N, features): an example in each row",
        "(N, classes), one-hot rows",
        "W (fan_in, fan_out), b (1, fan_out)",
        "[W1, b1, W2, b2, W3, b3]",
        """params = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
        params.append(rng.normal(0.0, fan_in**-0.5, (fan_in, fan_out)))
        params.append(np.zeros((1, fan_out)))
    return params""",
        also="batches",
    ),
}

_TEMPLATE = '''\
"""Backpropagation by hand: {title}.

Fill in the functions, and look at them with

    xpmlp teach {file}

Functions that are not needed may be taken out. They are called with small arrays of the sizes
below; the same functions work for images of digits.
"""

import numpy as np

SIZES = {sizes}  # features, hidden units ..., classes
ACTIVATION = "{activation}"  # of the hidden layers
LOSS = "cross_entropy"  # of a softmax, the mean over the examples
TARGETS = "one_hot"  # or "ids"
COLUMNS = {columns}  # whether examples are columns
LEARNING_RATE = 0.1  # the one that you train with

# Parameters: {structure}
# {weights}


def initialize(sizes, seed):
    """Return the first parameters. This one works; try others."""
    rng = np.random.default_rng(seed)
    {fill}


def forward(params, x):
    """Return the probabilities of the classes, {outputs}, of x {x}."""
    raise NotImplementedError


def loss(outputs, y):
    """Return the mean cross-entropy, a number, of probabilities and targets y {y}."""
    raise NotImplementedError


def gradients(params, x, y):
    """Return the gradients of the loss, as the parameters are kept."""
    raise NotImplementedError


{update}
{more}'''
_UPDATE = '''\
def update(params, gradients, learning_rate):
    """Return the parameters after a step down the gradients."""
    raise NotImplementedError
'''
_WITH_MOMENTUM = '''\
def update(params, gradients, learning_rate, momentum, velocity):
    """Return the parameters after a step, and the velocity (at first all 0) for the next one."""
    raise NotImplementedError
'''
_MORE = {
    "one_hot": '''
def one_hot(labels, classes):
    """Return a row for each label, with a 1 at the place of its class, from 0."""
    raise NotImplementedError
''',
    "prepare": '''
def prepare(x_train, x_test):
    """Return both sets of features scaled, by the mean and deviation of the training set."""
    raise NotImplementedError
''',
    "batches": '''
def batches(x, y, batch_size, epoch):
    """Yield the batches (x, y) of an epoch: each example once, in an order of its own."""
    raise NotImplementedError
''',
}


def template(course: str, file: str) -> str:
    """Return the program of a course, with its functions to be filled in."""
    given = COURSES[course]
    more = [_MORE[name] for name in given.also.split(", ") if name]
    return _TEMPLATE.format(
        title=given.title,
        file=file,
        sizes=given.sizes,
        columns=given.columns,
        activation=given.activation,
        structure=given.structure,
        weights=given.weights,
        fill=given.fill,
        outputs="(classes, N)" if given.columns else "(N, classes)",
        x=given.x,
        y=given.y,
        update=_WITH_MOMENTUM if given.momentum else _UPDATE,
        more="\n".join(more),
    )

"""
Homework 5: Multi-layer perceptron with manual backpropagation
==============================================================
I tried to write a comment for every step so that I can still
understand it before the exam :-)
"""
import numpy as np

# network: 6 inputs -> 8 hidden -> 4 hidden -> 3 classes
SIZES = (6, 8, 4, 3)
ACTIVATION = "tanh"
TARGETS = "one_hot"
LEARNING_RATE = 0.2


class Layer:
    """One dense layer. Holds the weights W (in, out) and the biases b (out)."""

    def __init__(self, W, b):
        self.W = W
        self.b = b

    def linear(self, x):
        # x: (N, in)  ->  (N, out)
        return x @ self.W + self.b


def one_hot(labels, classes):
    # row k of the identity matrix is the one-hot vector of class k
    return np.eye(classes)[np.asarray(labels, dtype=int)]


def prepare(x_train, x_test):
    # statistics come from the training data only!
    mean = x_train.mean(axis=0)
    std = x_train.std(axis=0)
    std[std == 0] = 1.0          # constant features: do not divide by zero
    return (x_train - mean) / std, (x_test - mean) / std


def batches(x, y, batch_size, epoch):
    # new order in every epoch, but the same order for x and y
    order = np.random.default_rng(epoch).permutation(len(x))
    for start in range(0, len(x), batch_size):
        chosen = order[start:start + batch_size]
        yield x[chosen], y[chosen]


def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    network = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        # Xavier initialization keeps the variance about constant for tanh
        std = np.sqrt(2.0 / (fan_in + fan_out))
        network.append(Layer(rng.normal(0.0, std, (fan_in, fan_out)), np.zeros(fan_out)))
    return network


def softmax(z):
    # subtracting the row maximum does not change the result
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(params, x):
    activations = [x]
    for layer in params[:-1]:
        activations.append(np.tanh(layer.linear(activations[-1])))
    # the output layer has no tanh, only the softmax
    probabilities = softmax(params[-1].linear(activations[-1]))
    return probabilities, activations


def loss(outputs, y):
    probabilities = outputs[0] if isinstance(outputs, tuple) else outputs
    # only the probability of the true class counts; clip because log(0) = -inf
    return -np.sum(y * np.log(np.clip(probabilities, 1e-12, None))) / len(y)


def gradients(params, x, y):
    probabilities, activations = forward(params, x)
    # derivative of the mean cross-entropy w.r.t. the scores of the output layer
    delta = (probabilities - y) / len(x)
    result = []
    for number in range(len(params) - 1, -1, -1):
        a = activations[number]                  # input of this layer
        result.append(Layer(a.T @ delta, delta.sum(axis=0)))
        if number > 0:                           # the data need no delta
            delta = (delta @ params[number].W.T) * (1.0 - a * a)
    result.reverse()                             # first layer first
    return result


def update(params, gradients, learning_rate):
    # gradient descent: go against the gradient
    return [Layer(p.W - learning_rate * g.W, p.b - learning_rate * g.b)
            for p, g in zip(params, gradients)]

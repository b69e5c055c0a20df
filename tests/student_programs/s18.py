"""CS-231 style assignment, object oriented version."""
import numpy as np

SIZES = (6, 4, 3)
ACTIVATION = "sigmoid"
TARGETS = "ids"
LEARNING_RATE = 0.4


class NeuralNetwork:

    def __init__(self, sizes, seed):
        rng = np.random.default_rng(seed)
        self.weights = []
        self.biases = []
        for a, b in zip(sizes[:-1], sizes[1:]):
            self.weights.append(rng.normal(0, 1, (a, b)) / np.sqrt(a))
            self.biases.append(np.zeros((1, b)))

    @staticmethod
    def sigmoid(z):
        return np.exp(-np.logaddexp(0, -z))

    @staticmethod
    def softmax(z):
        exps = np.exp(z - np.max(z, axis=1, keepdims=True))
        return exps / np.sum(exps, axis=1, keepdims=True)

    def feed_forward(self, x):
        layer_outputs = [x]
        for w, b in zip(self.weights, self.biases):
            z = layer_outputs[-1] @ w + b
            layer_outputs.append(self.sigmoid(z))
        layer_outputs[-1] = self.softmax(layer_outputs[-1])
        return layer_outputs

    def back_propagation(self, x, y):
        n = x.shape[0]
        layer_outputs = self.feed_forward(x)
        grad_w = []
        grad_b = []
        error = layer_outputs[-1].copy()
        error[np.arange(n), y] -= 1
        error /= n
        for i in reversed(range(len(self.weights))):
            grad_w.append(layer_outputs[i].T @ error)
            grad_b.append(np.sum(error, axis=0, keepdims=True))
            if i > 0:
                o = layer_outputs[i]
                error = (error @ self.weights[i].T) * o * (1 - o)
        return grad_w[::-1], grad_b[::-1]

    def gradient_step(self, grad_w, grad_b, learning_rate):
        for i in range(len(self.weights)):
            self.weights[i] -= learning_rate * grad_w[i]
            self.biases[i] -= learning_rate * grad_b[i]


# ---- functions required by the assignment ----

def initialize(sizes, seed):
    return NeuralNetwork(sizes, seed)


def forward(params, x):
    return params.feed_forward(x)[-1]


def loss(outputs, y):
    n = outputs.shape[0]
    return -np.mean(np.log(outputs[np.arange(n), y] + 1e-12))


def gradients(params, x, y):
    return params.back_propagation(x, y)


def update(params, gradients, learning_rate):
    grad_w, grad_b = gradients
    params.gradient_step(grad_w, grad_b, learning_rate)

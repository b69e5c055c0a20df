"""Backprop for a feed-forward net. Column convention, m = number of examples."""
import numpy as np

SIZES = (8, 5, 6, 3)
ACTIVATION = "tanh"
TARGETS = "one_hot"
LEARNING_RATE = 0.1


def initialize(sizes, seed):
    gen = np.random.default_rng(seed)
    weights = [gen.normal(size=(n, k)) * np.sqrt(1 / k) for k, n in zip(sizes[:-1], sizes[1:])]
    biases = [np.zeros((n, 1)) for n in sizes[1:]]
    return (weights, biases)


def softmax(z):
    t = np.exp(z - np.max(z, axis=0, keepdims=True))
    return t / np.sum(t, axis=0, keepdims=True)


def forward(params, x):
    weights, biases = params
    A = x
    activations = [A]
    for i in range(len(weights)):
        Z = np.dot(weights[i], A) + biases[i]
        A = softmax(Z) if i == len(weights) - 1 else np.tanh(Z)
        activations.append(A)
    return A, activations


def loss(outputs, y):
    P = outputs[0] if isinstance(outputs, tuple) else outputs
    P = np.clip(P, 1e-12, 1.0)
    return -np.mean(y * np.log(P))


def gradients(params, x, y):
    weights, biases = params
    m = x.shape[1]
    P, activations = forward(params, x)

    dW = [np.zeros_like(w) for w in weights]
    db = [np.zeros_like(b) for b in biases]

    # output layer
    dZ = P - y
    dW[-1] = (1 / m) * np.dot(dZ, activations[-2].T)
    db[-1] = (1 / m) * np.sum(dZ, axis=1, keepdims=True)

    # hidden layers
    for i in range(len(weights) - 2, -1, -1):
        A = activations[i + 1]
        dZ = (1 / m) * np.dot(weights[i + 1].T, dZ) * (1 - np.power(A, 2))
        dW[i] = (1 / m) * np.dot(dZ, activations[i].T)
        db[i] = (1 / m) * np.sum(dZ, axis=1, keepdims=True)

    return (dW, db)


def update(params, gradients, learning_rate):
    weights, biases = params
    dW, db = gradients
    for i in range(len(weights)):
        weights[i] = weights[i] - learning_rate * dW[i]
        biases[i] = biases[i] - learning_rate * db[i]
    return (weights, biases)

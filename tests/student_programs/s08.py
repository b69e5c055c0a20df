# 3-layer MLP, hand written backprop
import numpy as np

SIZES = (9, 6, 5, 4)
ACTIVATION = "relu"
TARGETS = "ids"


def initialize(sizes, seed):
    np.random.seed(seed)
    W1 = np.random.randn(sizes[0], sizes[1]) * np.sqrt(2 / sizes[0])
    b1 = np.zeros(sizes[1])
    W2 = np.random.randn(sizes[1], sizes[2]) * np.sqrt(2 / sizes[1])
    b2 = np.zeros(sizes[2])
    W3 = np.random.randn(sizes[2], sizes[3]) * np.sqrt(2 / sizes[2])
    b3 = np.zeros(sizes[3])
    return W1, b1, W2, b2, W3, b3


def relu(z):
    return np.maximum(z, 0)


def softmax(z):
    z = z - np.max(z, axis=1, keepdims=True)
    ez = np.exp(z)
    return ez / np.sum(ez, axis=1, keepdims=True)


def forward(params, x):
    W1, b1, W2, b2, W3, b3 = params
    z1 = x @ W1 + b1
    h1 = relu(z1)
    z2 = h1 @ W2 + b2
    h2 = relu(z2)
    z3 = h2 @ W3 + b3
    return softmax(z3), z1, h1, z2, h2


def loss(outputs, y):
    if isinstance(outputs, tuple):
        outputs = outputs[0]
    n = len(y)
    return np.sum(-np.log(outputs[range(n), y] + 1e-12)) / n


def gradients(params, x, y):
    W1, b1, W2, b2, W3, b3 = params
    n = len(y)
    p, z1, h1, z2, h2 = forward(params, x)

    # layer 3: softmax minus 1 at the correct class
    d3 = p.copy()
    d3[:, y] -= 1
    d3 /= n
    dW3 = h2.T @ d3
    db3 = np.sum(d3, axis=0)

    # layer 2
    d2 = d3 @ W3.T
    d2[z2 <= 0] = 0
    dW2 = h1.T @ d2
    db2 = np.sum(d2, axis=0)

    # layer 1
    d1 = d2 @ W2.T
    d1[z1 <= 0] = 0
    dW1 = x.T @ d1
    db1 = np.sum(d1, axis=0)

    return dW1, db1, dW2, db2, dW3, db3


def update(params, gradients, learning_rate):
    return tuple(p - learning_rate * g for p, g in zip(params, gradients))

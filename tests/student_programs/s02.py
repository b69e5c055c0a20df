"""
Deep L-layer network. Examples are COLUMNS: X has shape (n_x, m).
Notation as in the course slides (dZ, dA, dW, db, caches).
"""
import numpy as np

SIZES = (8, 6, 5, 3)
ACTIVATION = "relu"


def initialize(sizes, seed):
    rng = np.random.RandomState(seed)
    parameters = {}
    for l in range(1, len(sizes)):
        parameters["W" + str(l)] = rng.randn(sizes[l], sizes[l - 1]) * np.sqrt(2.0 / sizes[l - 1])
        parameters["b" + str(l)] = np.zeros((sizes[l], 1))
        assert parameters["W" + str(l)].shape == (sizes[l], sizes[l - 1])
    return parameters


def relu(Z):
    return np.maximum(0, Z)


def softmax(Z):
    E = np.exp(Z - Z.max(axis=0, keepdims=True))
    return E / E.sum(axis=0, keepdims=True)


def linear_forward(A_prev, W, b):
    Z = W @ A_prev + b
    return Z, (A_prev, W, Z)


def forward(params, x):
    L = len(params) // 2
    caches = []
    A = x
    for l in range(1, L):
        Z, cache = linear_forward(A, params["W" + str(l)], params["b" + str(l)])
        A = relu(Z)
        caches.append(cache)
    ZL, cache = linear_forward(A, params["W" + str(L)], params["b" + str(L)])
    caches.append(cache)
    return softmax(ZL), caches


def loss(outputs, y):
    if isinstance(outputs, tuple):      # (AL, caches)
        outputs = outputs[0]
    m = y.shape[1]
    cost = -(1.0 / m) * np.sum(y * np.log(np.maximum(outputs, 1e-15)))
    return float(np.squeeze(cost))


def linear_backward(dZ, cache):
    A_prev, W, _ = cache
    m = A_prev.shape[1]
    dW = (1.0 / m) * dZ @ A_prev.T
    db = (1.0 / m) * np.sum(dZ, keepdims=True)
    dA_prev = W.T @ dZ
    return dA_prev, dW, db


def gradients(params, x, y):
    AL, caches = forward(params, x)
    L = len(caches)
    grads = {}
    dZ = AL - y
    for l in range(L, 0, -1):
        dA_prev, dW, db = linear_backward(dZ, caches[l - 1])
        grads["W" + str(l)] = dW
        grads["b" + str(l)] = db
        if l > 1:
            Z_prev = caches[l - 2][2]
            dZ = dA_prev * (Z_prev > 0)
    # same order as the parameters
    return {key: grads[key] for key in params}


def update(params, gradients, learning_rate):
    L = len(params) // 2
    for l in range(1, L + 1):
        params["W" + str(l)] = params["W" + str(l)] - learning_rate * gradients["W" + str(l)]
        params["b" + str(l)] = params["b" + str(l)] - learning_rate * gradients["b" + str(l)]
    return params

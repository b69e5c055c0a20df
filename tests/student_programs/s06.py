import numpy as np

SIZES = (5, 8, 6, 4)
ACTIVATION = "relu"
TARGETS = "ids"
LEARNING_RATE = 0.1

# every layer is a dict with keys "W" (fan_out, fan_in) and "b" (fan_out,)


def make_layer(n_in, n_out, rng):
    return {"W": rng.normal(scale=np.sqrt(2 / n_in), size=(n_out, n_in)),
            "b": np.zeros(n_out)}


def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    layers = []
    for k in range(len(sizes) - 1):
        layers.append(make_layer(sizes[k], sizes[k + 1], rng))
    return layers


def softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def forward(params, x):
    inputs = []          # what goes into each layer
    a = x
    for layer in params[:-1]:
        inputs.append(a)
        a = a @ layer["W"].T + layer["b"]
        a = a * (a > 0)
    inputs.append(a)
    last = params[-1]
    return softmax(a @ last["W"].T + last["b"]), inputs


def loss(outputs, y):
    p = outputs[0] if isinstance(outputs, tuple) else outputs
    picked = p[np.arange(y.size), y]
    return float(-np.log(np.clip(picked, 1e-12, 1.0)).mean())


def gradients(params, x, y):
    p, inputs = forward(params, x)
    target = np.zeros_like(p)
    target[np.arange(y.size), y] = 1.0
    d = (p - target) / y.size
    grads = [None] * len(params)
    for k in range(len(params) - 1, -1, -1):
        grads[k] = {"W": d.T @ inputs[k], "b": d.sum(axis=0)}
        d = d @ params[k]["W"]
        d = d * (inputs[k] > 0)      # relu'
    return grads


def update(params, gradients, learning_rate):
    """gradient descent"""
    for layer, grad in zip(params, gradients):
        W, b = layer["W"], layer["b"]
        W = W - learning_rate * grad["W"]
        b = b - learning_rate * grad["b"]
    return params

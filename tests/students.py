"""Programs as students write them: right ones in several layouts, with places for slips.

`program(layout, slip)` returns functions for `xpmlp.teach.check`. Each slip is a change of the
text of a right program, so that what is planted can be read.
"""

from __future__ import annotations

from typing import Any

from xpmlp import MLP

ROWS = """
import numpy as np

def f(z):
    return 1 / (1 + np.exp(-z))

def f_slope(a):
    return a * (1 - a)

def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    params = {}
    for k in range(1, len(sizes)):
        a, b = sizes[k - 1], sizes[k]
        params[f"W{k}"] = rng.normal(0, a ** -0.5, (a, b)).astype(DTYPE)
        params[f"b{k}"] = np.zeros(sizes[k], DTYPE)
    return params

def activations(params, x):
    layers = len(params) // 2
    hs, zs = [x], []
    for k in range(1, layers + 1):
        z = hs[-1] @ params[f"W{k}"] + params[f"b{k}"]
        zs.append(z)
        hs.append(f(z) if k < layers else softmax(z))
    return hs, zs

def forward(params, x):
    return activations(params, x)[0][-1]

def loss(outputs, y):
    return -np.mean(np.sum(y * np.log(np.maximum(outputs, 1e-30)), axis=1))

def gradients(params, x, y):
    hs, zs = activations(params, x)
    layers, n = len(params) // 2, len(x)
    delta = (hs[-1] - y) / n
    grads = {}
    for k in range(layers, 0, -1):
        grads[f"W{k}"] = hs[k - 1].T @ delta
        grads[f"b{k}"] = delta.sum(axis=0)
        if k > 1:
            delta = (delta @ params[f"W{k}"].T) * f_slope(hs[k - 1])
    return grads

def update(params, gradients, learning_rate):
    return {name: w - learning_rate * gradients[name] for name, w in params.items()}

def step(params, x, y, learning_rate):
    grads = gradients(params, x, y)
    for name in params:
        params[name] -= learning_rate * grads[name]
    return params
"""

COLUMNS = """
import numpy as np

class Layer:
    def __init__(self, W, b):
        self.W, self.b = W, b

def f(z):
    return 1 / (1 + np.exp(-z))

def initialize(sizes, seed):
    rng = np.random.RandomState(seed)
    layers = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:]):
        W = (rng.randn(fan_out, fan_in) / np.sqrt(fan_in)).astype(DTYPE)
        layers.append(Layer(W, np.zeros((fan_out, 1), DTYPE)))
    return layers

def forward(net, X):
    A, cache = X, [X]
    for layer in net[:-1]:
        A = f(layer.W.dot(A) + layer.b)
        cache.append(A)
    Z = net[-1].W.dot(A) + net[-1].b
    Z = Z - Z.max(axis=0)
    P = np.exp(Z) / np.exp(Z).sum(axis=0)
    return P, cache

def loss(P, Y):
    return -np.sum(Y * np.log(P + 1e-30)) / Y.shape[1]

def gradients(net, X, Y):
    P, cache = forward(net, X)
    m = X.shape[1]
    dZ = P - Y
    out = []
    for i in reversed(range(len(net))):
        dW = dZ.dot(cache[i].T) / m
        db = dZ.sum(axis=1, keepdims=True) / m
        out.insert(0, (dW, db))
        if i > 0:
            dA = net[i].W.T.dot(dZ)
            dZ = dA * cache[i] * (1 - cache[i])
    return out

def update(net, grads, learning_rate):
    for layer, (dW, db) in zip(net, grads):
        layer.W -= learning_rate * dW
        layer.b -= learning_rate * db
"""

BIAS_INSIDE = """
import numpy as np

def f(z):
    return 1 / (1 + np.exp(-z))

def with_one(h):
    return np.hstack([h, np.ones((h.shape[0], 1), h.dtype)])

def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    return [
        (rng.uniform(-1, 1, (a + 1, b)) / np.sqrt(a + 1)).astype(DTYPE)
        for a, b in zip(sizes[:-1], sizes[1:])
    ]

def run(ws, x):
    inputs = []
    h = x
    for k, w in enumerate(ws):
        inputs.append(with_one(h))
        z = inputs[-1].dot(w)
        h = f(z) if k < len(ws) - 1 else z
    e = np.exp(h - np.max(h, axis=1)[:, None])
    return e / np.sum(e, axis=1)[:, None], inputs

def forward(ws, x):
    return run(ws, x)[0]

def loss(ws, x, targets):
    p = forward(ws, x)
    return -np.log(np.clip(p[targets == 1], 1e-30, None)).mean()

def gradients(ws, x, targets):
    p, inputs = run(ws, x)
    delta = -(targets - p)
    found = [None] * len(ws)
    for k in range(len(ws) - 1, -1, -1):
        found[k] = inputs[k].T.dot(delta) / x.shape[0]
        if k:
            a = inputs[k][:, :-1]
            delta = a * (1 - a) * delta.dot(ws[k][:-1].T)
    return found

def update(ws, gs, learning_rate, momentum, velocity):
    velocity = [momentum * v + g for v, g in zip(velocity, gs)]
    return [w - learning_rate * v for w, v in zip(ws, velocity)], velocity
"""

FLAT = """
import numpy as np

SHAPES = list(zip(SIZES[:-1], SIZES[1:]))

def f(z):
    return 1 / (1 + np.exp(-z))

def unpack(theta):
    Ws, bs, i = [], [], 0
    for a, b in SHAPES:
        Ws.append(theta[i:i + a * b].reshape(a, b))
        i += a * b
        bs.append(theta[i:i + b])
        i += b
    return Ws, bs

def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    parts = []
    for a, b in zip(sizes[:-1], sizes[1:]):
        parts += [rng.normal(0, 1 / np.sqrt(a), a * b), np.zeros(b)]
    return np.concatenate(parts).astype(DTYPE)

def states(theta, x):
    Ws, bs = unpack(theta)
    hs = [x]
    for W, b in list(zip(Ws, bs))[:-1]:
        hs.append(f(hs[-1] @ W + b))
    return hs, hs[-1] @ Ws[-1] + bs[-1]

def forward(theta, x):
    return states(theta, x)[1]

def loss(logits, labels):
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return np.mean(total - logits[np.arange(len(labels)), labels])

def gradients(theta, x, labels):
    Ws, _ = unpack(theta)
    hs, z = states(theta, x)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    delta = p / len(labels)
    parts = []
    for k in reversed(range(len(Ws))):
        parts = [(hs[k].T @ delta).ravel(), delta.sum(0)] + parts
        if k:
            delta = (delta @ Ws[k].T) * hs[k] * (1 - hs[k])
    return np.concatenate(parts)

def update(theta, g, learning_rate):
    theta[:] = theta - learning_rate * g
    return theta
"""

LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": (ROWS, {}),
    "columns": (COLUMNS, {}),
    "bias inside": (BIAS_INSIDE, {}),
    "flat": (FLAT, {"targets": "ids"}),
}
NAMES = ("softmax", "initialize", "forward", "loss", "gradients", "update", "step")


def program(
    layout: str, sizes: tuple[int, ...], *changes: tuple[str, str], dtype: str = "float64"
) -> dict[str, Any]:
    """Return the settings and functions of a program, some of whose text was changed."""
    text, settings = LAYOUTS[layout]
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    made: dict[str, Any] = {"SIZES": sizes, "DTYPE": dtype}
    exec(text, made)
    functions = {name: made[name] for name in NAMES if name in made}
    return {"mlp": MLP(sizes), **settings, **functions}

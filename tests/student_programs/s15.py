import numpy as np

# Bias trick: every input gets an additional 1 at the end, so each weight
# matrix has one more row and there are no separate bias vectors.

SIZES = (6, 5, 4, 3)
ACTIVATION = "tanh"
TARGETS = "one_hot"


def one_hot(labels, classes):
    out = np.zeros((len(labels), classes))
    out[np.arange(len(labels)), labels] = 1
    return out


def add_ones(a):
    return np.concatenate([a, np.ones((a.shape[0], 1))], axis=1)


def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    Ws = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:]):
        W = rng.normal(0, np.sqrt(1.0 / n_in), (n_in + 1, n_out))
        W[-1, :] = 0          # bias row
        Ws.append(W)
    return Ws


def stable_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    e = np.exp(z)
    s = e.sum(axis=1, keepdims=True)
    return e / s


def run_network(Ws, x):
    extended = []             # inputs of the layers, with the ones
    a = x
    for k, W in enumerate(Ws):
        a1 = add_ones(a)
        extended.append(a1)
        z = a1 @ W
        a = np.tanh(z) if k + 1 < len(Ws) else stable_softmax(z)
    return a, extended


def forward(params, x):
    out, _ = run_network(params, x)
    return out


def loss(outputs, y):
    tiny = np.finfo(float).tiny
    return -np.sum(y * np.log(np.maximum(outputs, tiny))) / y.shape[0]


def gradients(params, x, y):
    out, extended = run_network(params, x)
    delta = (out - y) / x.shape[0]
    grads = [extended[-1].T @ delta]
    for k in range(len(params) - 1, 0, -1):
        # the bias has no input neuron -> leave its row out
        W = params[k][1:]
        a = extended[k][:, :-1]
        delta = (delta @ W.T) * (1 - a ** 2)
        grads.append(extended[k - 1].T @ delta)
    return grads[::-1]


def update(params, gradients, learning_rate):
    for W, g in zip(params, gradients):
        W -= learning_rate * g


def accuracy(params, x, y):
    return np.mean(forward(params, x).argmax(axis=1) == y.argmax(axis=1))

# All parameters live in ONE long vector theta (so that scipy.optimize could
# be used later). unpack() cuts it into matrices.
import numpy as np

SIZES = (7, 6, 4)
ACTIVATION = "relu"
TARGETS = "one_hot"
LEARNING_RATE = 0.02

D, H, K = SIZES


def unpack(theta):
    cuts = np.cumsum([D * H, H, H * K])
    w1, b1, w2, b2 = np.split(theta, cuts)
    return w1.reshape(D, H), b1, w2.reshape(H, K), b2


def pack(*arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    d, h, k = sizes
    # He initialization because of relu
    w1 = rng.standard_normal((d, h)) * np.sqrt(d / 2)
    w2 = rng.standard_normal((h, k)) * np.sqrt(h / 2)
    return pack(w1, np.zeros(h), w2, np.zeros(k))


def softmax(s):
    s = s - s.max(axis=1)[:, None]
    e = np.exp(s)
    return e / e.sum(axis=1)[:, None]


def forward(params, x):
    w1, b1, w2, b2 = unpack(params)
    hidden = np.maximum(0, x @ w1 + b1)
    scores = hidden @ w2 + b2
    return softmax(scores), hidden


def loss(outputs, y):
    probs = outputs[0] if isinstance(outputs, tuple) else outputs
    return -(y * np.log(np.maximum(probs, 1e-300))).sum(axis=1).mean()


def gradients(params, x, y):
    w1, b1, w2, b2 = unpack(params)
    probs, hidden = forward(params, x)
    n = x.shape[0]

    dscores = (probs - y) / n
    dw2 = hidden.T @ dscores
    db2 = dscores.sum(axis=0)

    dhidden = dscores @ w2.T
    # backprop through relu
    dhidden[dhidden <= 0] = 0
    dw1 = x.T @ dhidden
    db1 = dhidden.sum(axis=0)

    return pack(dw1, db1, dw2, db2)


def update(params, gradients, learning_rate):
    return params - learning_rate * gradients

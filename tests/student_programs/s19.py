# Compito 2 - backpropagation
# autore: matricola 0512xx
import numpy as np

SIZES = (7, 5, 4)
ACTIVATION = "sigmoid"
TARGETS = "one_hot"
LEARNING_RATE = 0.5


def initialize(sizes, seed):
    caso = np.random.RandomState(seed)
    n_ingressi = sizes[0]
    n_nascosti = sizes[1]
    n_classi = sizes[2]
    return {
        "W1": caso.normal(0.0, 1.0 / np.sqrt(n_ingressi), (n_ingressi, n_nascosti)),
        "b1": np.zeros(n_nascosti),
        "W2": caso.normal(0.0, 1.0 / np.sqrt(n_nascosti), (n_nascosti, n_classi)),
        "b2": np.zeros(n_classi),
    }


def sigmoide(t):
    t = np.clip(t, -200, 200)
    return 1.0 / (1.0 + np.exp(-t))


def softmax(z):
    z = z - np.max(z, axis=1).reshape(-1, 1)
    e = np.exp(z)
    return e / np.sum(e, axis=1).reshape(-1, 1)


def strato_nascosto(params, x):
    return sigmoide(np.matmul(x, params["W1"]) + params["b1"])


def forward(params, x):
    h = strato_nascosto(params, x)
    return softmax(np.matmul(h, params["W2"]) + params["b2"])


def loss(params, x, y):
    p = forward(params, x)
    p = np.maximum(p, 1e-15)
    # media sugli esempi
    return -np.sum(y * np.log(p)) / x.shape[0]


def gradients(params, x, y):
    n = x.shape[0]
    h = strato_nascosto(params, x)
    p = forward(params, x)

    # errore in uscita per la derivata
    errore = (p - y) / n
    d2 = errore * p * (1 - p)
    dW2 = np.matmul(h.T, d2)
    db2 = d2.sum(axis=0)

    # errore riportato indietro
    dh = np.matmul(d2, params["W2"].T)
    d1 = dh * h * (1 - h)
    dW1 = np.matmul(x.T, d1)
    db1 = dh.sum(axis=0)

    grad = {}
    grad["W1"] = dW1
    grad["b1"] = db1
    grad["W2"] = dW2
    grad["b2"] = db2
    return grad


def update(params, gradients, learning_rate):
    return {k: v - learning_rate * gradients[k] for k, v in params.items()}


def step(params, x, y, learning_rate):
    g = gradients(params, x, y)
    return update(params, g, learning_rate)

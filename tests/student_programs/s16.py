# lab 6: siec MLP + SGD z pedem (momentum)
# kolumny = przyklady; bias to pierwsza kolumna macierzy wag
import numpy as np

SIZES = (7, 5, 3)
ACTIVATION = "relu"
TARGETS = "ids"
LEARNING_RATE = 0.05


def initialize(sizes, seed):
    g = np.random.default_rng(seed)
    macierze = []
    for we, wy in zip(sizes, sizes[1:]):
        w = g.normal(0, (2 / we) ** 0.5, (wy, we))
        macierze.append(np.hstack([np.zeros((wy, 1)), w]))
    return macierze


def z_jedynkami(a):
    return np.vstack([np.ones((1, a.shape[1])), a])


def logity(params, x):
    # zwraca wejscia warstw (juz z jedynkami) i logity ostatniej warstwy
    wejscia = [z_jedynkami(x)]
    for W in params[:-1]:
        wejscia.append(z_jedynkami(np.maximum(W @ wejscia[-1], 0.0)))
    return wejscia, params[-1] @ wejscia[-1]


def log_softmax(z):
    z = z - z.max(axis=0, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=0, keepdims=True))


def forward(params, x):
    return np.exp(log_softmax(logity(params, x)[1]))


def loss(params, x, y):
    # log-softmax policzony bezposrednio, wiec nie ma log(0)
    lp = log_softmax(logity(params, x)[1])
    return -lp[y, np.arange(y.shape[0])].mean()


def gradients(params, x, y):
    n = y.shape[0]
    wejscia, z = logity(params, x)
    delta = np.exp(log_softmax(z))
    delta[y, np.arange(n)] -= 1.0
    delta /= n
    wynik = []
    for W, a in zip(params[::-1], wejscia[::-1]):
        wynik.insert(0, delta @ a.T)
        # bez kolumny biasu i bez wiersza jedynek
        delta = (W[:, 1:].T @ delta) * (a[1:] > 0)
    return wynik


def update(params, gradients, learning_rate, momentum=0.9, velocity=None):
    if velocity is None:
        velocity = [np.zeros_like(W) for W in params]
    velocity = [momentum * v - learning_rate * g for v, g in zip(velocity, gradients)]
    params = [W + v for W, v in zip(params, velocity)]
    return params, velocity

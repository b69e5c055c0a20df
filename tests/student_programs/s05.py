# Sieci neuronowe, zadanie domowe 2
# przyklady w kolumnach!  X: (cechy, N), Y: (klasy, N)
import numpy as np

SIZES = (7, 4, 3)
LEARNING_RATE = 0.05


def sigmoida(z):
    wynik = np.empty_like(z, dtype=float)
    dodatnie = z >= 0
    wynik[dodatnie] = 1 / (1 + np.exp(-z[dodatnie]))
    ez = np.exp(z[~dodatnie])
    wynik[~dodatnie] = ez / (1 + ez)
    return wynik


def initialize(sizes, seed):
    losowe = np.random.default_rng(seed)
    wejscia, ukryte, klasy = sizes
    W1 = losowe.standard_normal((ukryte, wejscia)) * np.sqrt(1 / wejscia)
    b1 = np.zeros((ukryte, 1))
    W2 = losowe.standard_normal((klasy, ukryte)) * np.sqrt(1 / ukryte)
    b2 = np.zeros((klasy, 1))
    return [W1, b1, W2, b2]


def forward(params, x):
    W1, b1, W2, b2 = params
    # warstwa ukryta
    H = sigmoida(W1.dot(x) + b1)
    # warstwa wyjsciowa
    Z = W2.dot(H) + b2
    Z = Z - Z.max(axis=0)      # zeby exp nie wybuchlo
    E = np.exp(Z)
    P = E / E.sum(axis=0)
    return P, H


def loss(outputs, y):
    if type(outputs) is tuple:
        outputs = outputs[0]
    N = y.shape[1]
    suma = 0.0
    for i in range(N):
        suma += -np.sum(y[:, i] * np.log(outputs[:, i] + 1e-15))
    return suma / N


def gradients(params, x, y):
    W1, b1, W2, b2 = params
    P, H = forward(params, x)

    delta2 = P - y
    dW2 = delta2.dot(H.T)
    db2 = delta2.sum(axis=1, keepdims=True)

    # pochodna sigmoidy: s * (1 - s)
    delta1 = W2.T.dot(delta2) * H * (1 - H)
    dW1 = delta1.dot(x.T)
    db1 = delta1.sum(axis=1, keepdims=True)

    return [dW1, db1, dW2, db2]


def update(params, gradients, learning_rate):
    nowe = []
    for p, g in zip(params, gradients):
        nowe.append(p - learning_rate * g)
    return nowe


def step(params, x, y, learning_rate):
    return update(params, gradients(params, x, y), learning_rate)

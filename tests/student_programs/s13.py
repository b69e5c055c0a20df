# Projekt 1 - propagacja wsteczna
# licze gradient po kolei dla kazdego przykladu (wolne, ale czytelne)
import numpy as np

SIZES = (5, 4, 3)
TARGETS = "ids"
LEARNING_RATE = 0.2


def initialize(sizes, seed):
    rng = np.random.RandomState(seed)
    wagi = []
    for i in range(len(sizes) - 1):
        W = rng.uniform(-1, 1, (sizes[i + 1], sizes[i])) / np.sqrt(sizes[i])
        b = np.zeros(sizes[i + 1])
        wagi.append([W, b])
    return wagi


def sigmoid(z):
    return 1 / (1 + np.exp(-np.clip(z, -100, 100)))


def softmax(z):
    z = z - np.max(z)
    e = np.exp(z)
    return e / np.sum(e)


def jeden_przyklad(params, x):
    """zwraca liste aktywacji wszystkich warstw dla jednego wektora x"""
    a = [x]
    for nr in range(len(params)):
        W, b = params[nr]
        z = np.dot(W, a[nr]) + b
        if nr < len(params) - 1:
            a.append(sigmoid(z))
        else:
            a.append(softmax(z))
    return a


def forward(params, x):
    wyniki = []
    for przyklad in x:
        wyniki.append(jeden_przyklad(params, przyklad)[-1])
    return np.array(wyniki)


def loss(outputs, y):
    suma = 0
    for i in range(len(y)):
        suma -= np.log(max(outputs[i][y[i]], 1e-12))
    return suma / len(y)


def gradients(params, x, y):
    n = len(x)
    for i in range(n):
        grad = [[np.zeros_like(W), np.zeros_like(b)] for W, b in params]
        a = jeden_przyklad(params, x[i])
        # blad na wyjsciu
        delta = a[-1].copy()
        delta[y[i]] -= 1
        # idziemy od konca do poczatku
        for nr in range(len(params) - 1, -1, -1):
            grad[nr][0] += np.outer(delta, a[nr]) / n
            grad[nr][1] += delta / n
            if nr > 0:
                W = params[nr][0]
                delta = np.dot(W.T, delta) * a[nr] * (1 - a[nr])
    return grad


def update(params, gradients, learning_rate):
    for nr in range(len(params)):
        params[nr][0] -= learning_rate * gradients[nr][0]
        params[nr][1] -= learning_rate * gradients[nr][1]
    return params

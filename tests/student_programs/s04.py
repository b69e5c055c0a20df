# Übungsblatt 7, Aufgabe 2: Backpropagation
# Abgabe von Team "Gradientenabstieg"

import numpy as np

SIZES = (4, 6, 3)
TARGETS = "ids"
LEARNING_RATE = 0.3


class Parameter:
    """Einfacher Behälter für die vier Felder des Netzes."""

    def __init__(self, W1, b1, W2, b2):
        self.W1 = W1
        self.b1 = b1
        self.W2 = W2
        self.b2 = b2


def prepare(x_train, x_test):
    """Merkmale auf Mittelwert 0 und Standardabweichung 1 bringen."""
    def standardisieren(daten):
        mittel = daten.mean(axis=0)
        streuung = daten.std(axis=0)
        streuung = np.where(streuung == 0, 1.0, streuung)
        return (daten - mittel) / streuung
    return standardisieren(x_train), standardisieren(x_test)


def initialize(sizes, seed):
    zufall = np.random.default_rng(seed)
    eingang, versteckt, klassen = sizes
    return Parameter(
        zufall.normal(0, 1 / np.sqrt(eingang), (eingang, versteckt)),
        np.zeros(versteckt),
        zufall.normal(0, 1 / np.sqrt(versteckt), (versteckt, klassen)),
        np.zeros(klassen),
    )


def sigmoid(z):
    # tanh-Form, läuft nicht über
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def softmax(z):
    z = z - np.max(z, axis=1, keepdims=True)
    e = np.exp(z)
    return e / np.sum(e, axis=1, keepdims=True)


def forward(params, x):
    versteckt = sigmoid(x @ params.W1 + params.b1)
    ausgabe = softmax(versteckt @ params.W2 + params.b2)
    return ausgabe, versteckt


def loss(outputs, y):
    wahrscheinlichkeiten = outputs[0] if isinstance(outputs, tuple) else outputs
    zeilen = np.arange(len(y))
    richtige = wahrscheinlichkeiten[zeilen, y]
    return -np.mean(np.log(np.maximum(richtige, 1e-12)))


def gradients(params, x, y):
    anzahl = x.shape[0]
    ausgabe, versteckt = forward(params, x)

    # Fehler der Ausgabeschicht
    fehler2 = ausgabe.copy()
    fehler2[np.arange(anzahl), y] -= 1
    fehler2 = fehler2 / anzahl

    # Fehler der versteckten Schicht
    fehler1 = fehler2 @ params.W2.T * versteckt * (1 - versteckt)

    return Parameter(
        x.T @ fehler1,
        fehler1.sum(axis=0),
        versteckt.T @ fehler2,
        fehler2.sum(axis=0),
    )


def update(params, gradients, learning_rate):
    # ein Schritt in Richtung des negativen Gradienten
    params.W1 = params.W1 - learning_rate * gradients.W1
    params.W2 = params.W2 - learning_rate * gradients.W2
    return params

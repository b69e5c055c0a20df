# Laboratorio 3: retropropagazione a mano
# Gruppo 12
import numpy as np

SIZES = (5, 7, 4)
ACTIVATION = "tanh"
LEARNING_RATE = 0.1


def initialize(sizes, seed):
    """Restituisce una lista di coppie (pesi, bias), una per strato."""
    gen = np.random.default_rng(seed)
    strati = []
    for ingresso, uscita in zip(sizes[:-1], sizes[1:]):
        limite = np.sqrt(6 / (ingresso + uscita))      # Glorot
        pesi = gen.uniform(-limite, limite, size=(ingresso, uscita))
        bias = np.zeros((1, uscita))
        strati.append((pesi, bias))
    return strati


def softmax(z):
    z = z - z.max(axis=1, keepdims=True)   # per la stabilita' numerica
    esp = np.exp(z)
    return esp / esp.sum(axis=1, keepdims=True)


def propaga(params, x):
    # tengo tutte le attivazioni, mi servono dopo
    attivazioni = [x]
    ultimo = len(params) - 1
    for i, (pesi, bias) in enumerate(params):
        z = attivazioni[-1] @ pesi + bias
        if i == ultimo:
            attivazioni.append(softmax(z))
        else:
            attivazioni.append(np.tanh(z))
    return attivazioni


def forward(params, x):
    return propaga(params, x)[-1]


def loss(outputs, y):
    # entropia incrociata, eps per evitare log(0)
    eps = 1e-12
    p = np.clip(outputs, eps, 1 - eps)
    per_esempio = np.sum(y * np.log(p) + (1 - y) * np.log(1 - p), axis=1)
    return -np.mean(per_esempio)


def gradients(params, x, y):
    quanti = len(x)
    att = propaga(params, x)
    delta = (att[-1] - y) / quanti
    gradienti = []
    for i in reversed(range(len(params))):
        pesi, _ = params[i]
        d_pesi = att[i].T @ delta
        d_bias = delta.sum(axis=0, keepdims=True)
        gradienti.insert(0, (d_pesi, d_bias))
        if i > 0:
            # derivata della tangente iperbolica: 1 - tanh^2
            delta = (delta @ pesi.T) * (1 - att[i] ** 2)
    return gradienti


def update(params, gradients, learning_rate):
    nuovi = []
    for (pesi, bias), (d_pesi, d_bias) in zip(params, gradients):
        nuovi.append((pesi - learning_rate * d_pesi, bias - learning_rate * d_bias))
    return nuovi


def one_hot(labels, classes):
    matrice = np.zeros((len(labels), classes))
    for riga, etichetta in enumerate(labels):
        matrice[riga, int(etichetta)] = 1
    return matrice

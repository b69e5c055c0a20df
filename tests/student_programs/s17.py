# Praktikum Maschinelles Lernen - Blatt 3
# Mehrschichtiges Perzeptron mit beliebig vielen Schichten
import numpy as np

SIZES = (5, 6, 4, 3)
ACTIVATION = "tanh"
TARGETS = "one_hot"
LEARNING_RATE = 0.1


def initialize(sizes, seed):
    generator = np.random.default_rng(seed)
    netz = {"gewichte": [], "schwellen": []}
    for schicht in range(1, len(sizes)):
        vorher = sizes[schicht - 1]
        jetzt = sizes[schicht]
        netz["gewichte"].append(generator.standard_normal((vorher, jetzt)) / np.sqrt(vorher))
        netz["schwellen"].append(np.zeros(jetzt))
    return netz


def softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    zaehler = np.exp(z)
    nenner = zaehler.sum(axis=1, keepdims=True)
    return zaehler / nenner


def vorwaerts(netz, x):
    """Gibt die Ausgaben aller Schichten zurück (Eingabe zuerst)."""
    ausgaben = [x]
    anzahl = len(netz["gewichte"])
    for schicht in range(anzahl):
        z = ausgaben[-1] @ netz["gewichte"][schicht] + netz["schwellen"][schicht]
        if schicht < anzahl - 1:
            ausgaben.append(np.tanh(z))
        else:
            ausgaben.append(softmax(z))
    return ausgaben


def forward(params, x):
    return vorwaerts(params, x)[-1]


def loss(outputs, y):
    n = y.shape[0]
    log_p = np.log(np.clip(outputs, 1e-12, 1))
    return -(y * log_p).sum() / n


def gradients(params, x, y):
    gewichte = params["gewichte"]
    ausgaben = vorwaerts(params, x)
    n = x.shape[0]

    g_gewichte = [None for _ in gewichte]
    g_schwellen = [None for _ in gewichte]

    # Fehlersignal der Ausgabeschicht
    delta = (ausgaben[-1] - y) / n

    for schicht in range(len(gewichte) - 1, -1, -1):
        g_gewichte[schicht] = ausgaben[schicht].T @ delta
        g_schwellen[schicht] = delta.sum(axis=0)
        if schicht > 0:
            # Fehler an die vorherige Schicht weiterreichen
            delta = delta @ gewichte[schicht].T

    return {"gewichte": g_gewichte, "schwellen": g_schwellen}


def update(params, gradients, learning_rate):
    neu = {}
    for name in ("gewichte", "schwellen"):
        neu[name] = [p - learning_rate * g for p, g in zip(params[name], gradients[name])]
    return neu

# Esercitazione: rete neurale a due strati
# Convenzione: ogni colonna di X e' un esempio (come sulle dispense)
import numpy as np

SIZES = (5, 6, 3)
ACTIVATION = "sigmoid"
LEARNING_RATE = 1.0


def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    parametri = dict()
    parametri["pesi_nascosti"] = rng.normal(0, 0.5, size=(sizes[1], sizes[0]))
    parametri["bias_nascosti"] = np.zeros((sizes[1], 1))
    parametri["pesi_uscita"] = rng.normal(0, 0.5, size=(sizes[2], sizes[1]))
    parametri["bias_uscita"] = np.zeros((sizes[2], 1))
    return parametri


def sigmoide(z):
    return 1.0 / (1.0 + np.exp(-np.clip(z, -300, 300)))


def softmax(z):
    # tolgo il massimo, poi normalizzo: la somma deve fare 1
    massimo = np.max(z, axis=1, keepdims=True)
    e = np.exp(z - massimo)
    return e / np.sum(e, axis=1, keepdims=True)


def forward(params, x):
    a1 = sigmoide(params["pesi_nascosti"] @ x + params["bias_nascosti"])
    a2 = softmax(params["pesi_uscita"] @ a1 + params["bias_uscita"])
    return (a2, a1)


def loss(outputs, y):
    if isinstance(outputs, tuple):
        outputs = outputs[0]
    m = y.shape[1]
    return -np.sum(y * np.log(outputs + 1e-12)) / m


def gradients(params, x, y):
    m = x.shape[1]
    a2, a1 = forward(params, x)

    # strato di uscita
    d2 = a2 - y
    g = {}
    g_pesi_uscita = d2 @ a1.T / m
    g_bias_uscita = np.sum(d2, axis=1, keepdims=True) / m

    # strato nascosto
    d1 = (params["pesi_uscita"].T @ d2) * (a1 * (1 - a1))
    g["pesi_nascosti"] = d1 @ x.T / m
    g["bias_nascosti"] = np.sum(d1, axis=1, keepdims=True) / m
    g["pesi_uscita"] = g_pesi_uscita
    g["bias_uscita"] = g_bias_uscita
    return g


def update(params, gradients, learning_rate):
    for chiave in params.keys():
        params[chiave] -= learning_rate * gradients[chiave]
    # modifica sul posto, non serve restituire nulla

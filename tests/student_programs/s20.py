# neural net with momentum, any number of layers
# parameters: flat python list  [W1, b1, W2, b2, ...]
import numpy as np

SIZES = (4, 7, 5, 3)
ACTIVATION = "relu"
TARGETS = "one_hot"
LEARNING_RATE = 0.01


def initialize(sizes, seed):
    rng = np.random.default_rng(seed)
    params = []
    for i in range(1, len(sizes)):
        params.append(rng.normal(0, np.sqrt(2 / sizes[i - 1]), size=(sizes[i - 1], sizes[i])))
        params.append(np.zeros(sizes[i]))
    return params


def prepare(x_train, x_test):
    # min-max scaling to [0, 1] with the range of the training set
    low = x_train.min(axis=0)
    high = x_train.max(axis=0)
    width = np.where(high > low, high - low, 1)
    return (x_train - low) / width, (x_test - low) / width


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(params, x):
    n_layers = len(params) // 2
    zs = []
    a_s = [x]
    for i in range(n_layers):
        W = params[2 * i]
        b = params[2 * i + 1]
        z = a_s[i] @ W + b
        zs.append(z)
        if i == n_layers - 1:
            a_s.append(softmax(z))
        else:
            a_s.append(np.where(z > 0, z, 0))
    return a_s[-1], zs, a_s


def loss(outputs, y):
    if isinstance(outputs, tuple):
        outputs = outputs[0]
    return np.mean(np.sum(-y * np.log(outputs + 1e-15), axis=1))


def gradients(params, x, y):
    out, zs, a_s = forward(params, x)
    n_layers = len(zs)
    grads = [0] * len(params)
    dz = (out - y) / y.shape[0]
    i = n_layers - 1
    while i >= 0:
        grads[2 * i] = a_s[i].T @ dz
        grads[2 * i + 1] = dz.sum(axis=0)
        if i > 0:
            da = dz @ params[2 * i].T
            dz = np.where(zs[i - 1] > 0, da, 0)
        i = i - 1
    return grads


def update(params, gradients, learning_rate, momentum, velocity):
    if velocity is None:
        velocity = [np.zeros_like(p) for p in params]
    new_params = []
    new_velocity = []
    for p, g, v in zip(params, gradients, velocity):
        v = momentum * v - learning_rate * g
        new_velocity.append(v)
        new_params.append(p - v)
    return new_params, new_velocity

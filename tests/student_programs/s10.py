import numpy as np

SIZES, ACTIVATION, TARGETS, LEARNING_RATE = (6, 7, 3), "tanh", "ids", 0.1


def batches(x, y, batch_size, epoch):
    rng = np.random.default_rng(1000 + epoch)
    x = rng.permutation(x)
    y = rng.permutation(y)
    return [(x[i:i + batch_size], y[i:i + batch_size]) for i in range(0, len(x), batch_size)]


def initialize(sizes, seed):
    r = np.random.default_rng(seed)
    ws = [r.normal(size=(i, o)) / i ** 0.5 for i, o in zip(sizes, sizes[1:])]
    bs = [np.zeros(o) for o in sizes[1:]]
    return ws, bs


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _acts(params, x):
    ws, bs = params
    hs = [x]
    for w, b in zip(ws[:-1], bs[:-1]):
        hs.append(np.tanh(hs[-1] @ w + b))
    return hs, softmax(hs[-1] @ ws[-1] + bs[-1])


def forward(params, x):
    return _acts(params, x)[1]


def loss(outputs, y):
    return -np.log(outputs[np.arange(len(y)), y].clip(1e-12)).mean()


def gradients(params, x, y):
    ws, _ = params
    hs, p = _acts(params, x)
    d = (p - np.eye(p.shape[1])[y]) / len(y)
    gw, gb = [], []
    while True:
        h = hs.pop()
        gw.append(h.T @ d)
        gb.append(d.sum(0))
        if not hs:
            return gw[::-1], gb[::-1]
        d = d @ ws[len(hs)].T * (1 - h ** 2)


def update(params, gradients, learning_rate):
    return tuple([p - learning_rate * g for p, g in zip(ps, gs)] for ps, gs in zip(params, gradients))


def train(x, y, epochs=10, batch_size=8, seed=0):
    params = initialize(SIZES, seed)
    for epoch in range(epochs):
        for xb, yb in batches(x, y, batch_size, epoch):
            params = update(params, gradients(params, xb, yb), LEARNING_RATE)
    return params

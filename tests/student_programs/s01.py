# Assignment 4 - neural network from scratch
# one hidden layer, sigmoid, softmax output
import numpy as np

SIZES = (6, 5, 3)
ACTIVATION = "sigmoid"
TARGETS = "one_hot"
LEARNING_RATE = 0.5


def initialize(sizes, seed):
    np.random.seed(seed)
    n_in, n_hidden, n_out = sizes
    params = {}
    params["W1"] = np.random.randn(n_in, n_hidden) / np.sqrt(n_in)
    params["b1"] = np.zeros(n_hidden)
    params["W2"] = np.random.randn(n_hidden, n_out) / np.sqrt(n_hidden)
    params["b2"] = np.zeros(n_out)
    return params


def sigmoid(z):
    z = np.clip(z, -500, 500)   # otherwise overflow warning
    return 1 / (1 + np.exp(-z))


def sigmoid_derivative(z):
    # formula from the lecture: s(z) * (1 - s(z))
    return sigmoid(z) * (1 - sigmoid(z))


def softmax(z):
    shifted = z - np.max(z, axis=1, keepdims=True)
    e = np.exp(shifted)
    return e / np.sum(e, axis=1, keepdims=True)


def forward(params, x):
    Z1 = np.dot(x, params["W1"]) + params["b1"]
    A1 = sigmoid(Z1)
    Z2 = np.dot(A1, params["W2"]) + params["b2"]
    A2 = softmax(Z2)
    return A2, (Z1, A1, Z2)


def loss(outputs, y):
    if isinstance(outputs, tuple):
        outputs = outputs[0]
    n = y.shape[0]
    return -np.sum(y * np.log(outputs + 1e-12)) / n


def gradients(params, x, y):
    n = x.shape[0]
    A2, cache = forward(params, x)
    Z1, A1, Z2 = cache

    # output layer (softmax + cross entropy = easy)
    dZ2 = (A2 - y) / n
    dW2 = np.dot(A1.T, dZ2)
    db2 = np.sum(dZ2, axis=0)

    # hidden layer
    dA1 = np.dot(dZ2, params["W2"].T)
    dZ1 = dA1 * sigmoid_derivative(A1)
    dW1 = np.dot(x.T, dZ1)
    db1 = np.sum(dZ1, axis=0)

    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


def update(params, gradients, learning_rate):
    new_params = {}
    for name in params:
        new_params[name] = params[name] - learning_rate * gradients[name]
    return new_params


if __name__ == "__main__":
    p = initialize(SIZES, 0)
    X = np.random.randn(20, 6)
    Y = np.eye(3)[np.random.randint(0, 3, 20)]
    for epoch in range(500):
        p = update(p, gradients(p, X, Y), LEARNING_RATE)
        if epoch % 100 == 0:
            print(epoch, loss(forward(p, X), Y))

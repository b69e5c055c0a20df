#!/usr/bin/env python
# coding: utf-8
# exported from backprop_homework_FINAL_v2.ipynb

# In[1]:

import numpy as np
# import matplotlib.pyplot as plt
# get_ipython().run_line_magic('matplotlib', 'inline')

SIZES = (4, 5, 3)
ACTIVATION = "sigmoid"
LEARNING_RATE = 0.5

# In[2]:  initialise the network


def initialize(sizes, seed):
    np.random.seed(seed)
    params = {}
    for i in range(len(sizes) - 1):
        params[f"W{i+1}"] = np.zeros((sizes[i], sizes[i + 1]))
        params[f"b{i+1}"] = np.zeros((1, sizes[i + 1]))
    return params


# In[3]:  forward

def sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


def softmax(z):
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(params, x):
    h = sigmoid(x @ params["W1"] + params["b1"])
    return softmax(h @ params["W2"] + params["b2"]), h


# In[4]:  loss

def loss(outputs, y):
    if isinstance(outputs, tuple):
        outputs, _ = outputs
    return np.mean(-np.sum(y * np.log(outputs + 1e-12), axis=1))


# In[7]:  backward   (cell 5 + 6 were old versions)

def gradients(params, x, y):
    N = x.shape[0]
    out, h = forward(params, x)
    d_out = (out - y) / N
    d_h = d_out @ params["W2"].T
    d_z = d_h * h * (1 - h)
    return {
        "W1": x.T @ d_z,
        "b1": d_z.sum(axis=0, keepdims=True),
        "W2": h.T @ d_out,
        "b2": d_out.sum(axis=0, keepdims=True),
    }


# In[8]:

def update(params, gradients, learning_rate):
    for k in params:
        params[k] = params[k] - learning_rate * gradients[k]
    return params


def step(params, x, y, learning_rate):
    g = gradients(params, x, y)
    return update(params, g, learning_rate)


# In[11]:
# losses = []
# for i in range(1000):
#     p = step(p, X, Y, LEARNING_RATE); losses.append(loss(forward(p, X), Y))
# plt.plot(losses)

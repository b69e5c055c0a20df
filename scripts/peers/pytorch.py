"""PyTorch, eager and compiled."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from peers import HostParams, Peer, Problem

_ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


class Eager(Peer):
    """nn.Sequential with torch.optim.SGD and gradients set to None."""

    def __init__(self, problem: Problem) -> None:
        torch.set_num_threads(problem.threads)
        layers: list[nn.Module] = []
        for number, (fan_in, fan_out) in enumerate(pairwise(problem.sizes), start=1):
            linear = nn.Linear(fan_in, fan_out)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(problem.params[f"layer{number}.weight"].T))
                linear.bias.copy_(torch.from_numpy(problem.params[f"layer{number}.bias"]))
            layers += [linear, _ACTIVATIONS[problem.activation]()]
        self._model = nn.Sequential(*layers[:-1])
        self._x, self._y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=problem.learning_rate)
        self._criterion = nn.CrossEntropyLoss()
        self._loss = self._make_loss()

    def _make_loss(self) -> Any:
        return lambda x, y: self._criterion(self._model(x), y)

    def step(self, rows: np.ndarray) -> None:
        x, y = self._x, self._y
        if len(rows) < len(x):
            index = torch.from_numpy(rows)
            x, y = x[index], y[index]
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(x, y).backward()
        self._optimizer.step()

    def params(self) -> HostParams:
        linears = [layer for layer in self._model if isinstance(layer, nn.Linear)]
        found = {}
        for number, linear in enumerate(linears, start=1):
            found[f"layer{number}.weight"] = linear.weight.detach().numpy().T.copy()
            found[f"layer{number}.bias"] = linear.bias.detach().numpy().copy()
        return found

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(self._model(torch.from_numpy(x)).argmax(dim=1))


class Compiled(Eager):
    """The same with network and loss compiled."""

    def _make_loss(self) -> Any:
        return torch.compile(super()._make_loss())

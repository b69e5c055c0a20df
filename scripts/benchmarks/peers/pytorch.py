"""PyTorch: eager, with each of its optimisers, compiled, and as a CUDA graph by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
import torch
from benchmarks.peers import HostParams, Peer, Problem
from torch import nn
from torch.nn import functional

_ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


def bending(features: int, pixels: float, device: str) -> Callable[[Any], Any]:
    """Return what bends square images by random displacements that a Gaussian of 4 smooths."""
    side, scale = isqrt(features), pixels * 3**0.5  # an even number's variance is 1/3
    at = torch.arange(side, device=device)
    smoothing = torch.exp(-((at - at[:, None]) ** 2) / (2 * 4.0**2))
    smoothing = functional.normalize(smoothing, dim=1)
    places = torch.linspace(-1, 1, side, device=device)
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)

    def bent(x: Any) -> Any:
        drawn = torch.rand(len(x), 2, side, side, device=device) * 2 - 1
        moved = scale * (smoothing @ drawn @ smoothing.T)
        # From −1 to 1 there are so many pixels.
        there = grid + moved.permute(0, 2, 3, 1) * (2 / (side - 1))
        images = x.reshape(-1, 1, side, side)
        found = functional.grid_sample(images, there, padding_mode="border", align_corners=True)
        return found.reshape(len(x), -1)

    return bent


class Eager(Peer):
    """nn.Sequential with an optimiser of torch.optim and gradients set to None."""

    # Which of its implementations, None for the one that torch chooses.
    implementation: str | None = None

    def __init__(self, problem: Problem) -> None:
        torch.set_num_threads(problem.threads)
        torch.backends.cuda.matmul.allow_tf32 = problem.precision == "tf32"
        self._device = problem.device.replace("gpu", "cuda")
        layers: list[nn.Module] = []
        for number, (fan_in, fan_out) in enumerate(pairwise(problem.sizes), start=1):
            left_out = problem.dropout if layers else problem.input_dropout
            if left_out:
                layers.append(nn.Dropout(left_out))
            linear = nn.Linear(fan_in, fan_out)
            if problem.params:
                with torch.no_grad():
                    linear.weight.copy_(torch.from_numpy(problem.params[f"layer{number}.weight"].T))
                    linear.bias.copy_(torch.from_numpy(problem.params[f"layer{number}.bias"]))
            layers += [linear, _ACTIVATIONS[problem.activation]()]
        self._model = nn.Sequential(*layers[:-1]).to(self._device)
        self._x, self._y = (torch.from_numpy(a).to(self._device) for a in (problem.x, problem.y))
        self._optimizer = self._make_optimizer(problem)
        self._rates = iter([problem.learning_rate * factor for factor in problem.factors])
        self._criterion: nn.Module = nn.CrossEntropyLoss(label_smoothing=problem.label_smoothing)
        if problem.loss == "mean_squared_error":
            self._criterion = nn.MSELoss()
        self._loss = self._make_loss()
        self._bent: Callable[[Any], Any] = lambda x: x
        if problem.elastic:
            self._bent = bending(problem.sizes[0], problem.elastic, self._device)

    def _make_optimizer(self, problem: Problem) -> torch.optim.Optimizer:
        parameters, rate = self._model.parameters(), problem.learning_rate
        how: Any = {} if self.implementation is None else {self.implementation: True}
        if problem.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=rate, **how)
        momentum = 0.9 if problem.optimizer == "momentum" else 0.0
        return torch.optim.SGD(parameters, lr=rate, momentum=momentum, **how)

    def _make_loss(self) -> Any:
        return lambda x, y: self._criterion(self._model(x), y)

    def step(self, rows: np.ndarray) -> None:
        x, y = self._x, self._y
        if len(rows) < len(x):
            index = torch.from_numpy(rows).to(self._device)
            x, y = x[index], y[index]
        self._train(x, y)

    def _train(self, x: Any, y: Any) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = next(self._rates, group["lr"])
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(self._bent(x), y).backward()
        self._optimizer.step()

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        """The order is on the device once."""
        if batch_size == len(order):
            self._train(self._x, self._y)
            return
        index = torch.from_numpy(order).to(self._device)
        for rows in index.split(batch_size):
            self._train(self._x[rows], self._y[rows])

    def finish(self) -> None:
        if self._device != "cpu":
            torch.cuda.synchronize()

    def params(self) -> HostParams:
        linears = [layer for layer in self._model if isinstance(layer, nn.Linear)]
        found = {}
        for number, linear in enumerate(linears, start=1):
            found[f"layer{number}.weight"] = linear.weight.detach().cpu().numpy().T.copy()
            found[f"layer{number}.bias"] = linear.bias.detach().cpu().numpy().copy()
        return found

    def predict(self, x: np.ndarray) -> np.ndarray:
        self._model.eval()
        with torch.no_grad():
            logits = self._model(torch.from_numpy(x).to(self._device))
        self._model.train()
        return np.asarray(logits.argmax(dim=1).cpu())


class Foreach(Eager):
    """With the optimiser that works on all parameters together."""

    implementation = "foreach"


class Fused(Eager):
    """With the optimiser that makes one pass over each parameter."""

    implementation = "fused"


class Compiled(Fused):
    """The same with network and loss compiled."""

    def _make_loss(self) -> Any:
        return torch.compile(super()._make_loss())


class ReducedOverhead(Eager):
    """Compiled into CUDA graphs by torch itself."""

    def _make_loss(self) -> Any:
        return torch.compile(super()._make_loss(), mode="reduce-overhead")


class Graphed(Eager):
    """A whole step, gather and update included, captured by hand once a batch size."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._graphs: dict[int, tuple[Any, Any]] = {}

    def step(self, rows: np.ndarray) -> None:
        index = torch.from_numpy(np.ascontiguousarray(rows)).to(self._device)
        self._replay(index)

    def epoch(self, order: np.ndarray, batch_size: int) -> None:
        index = torch.from_numpy(order).to(self._device)
        for rows in index.split(batch_size):
            self._replay(rows)

    def _replay(self, rows: Any) -> None:
        if len(rows) not in self._graphs:
            self._graphs[len(rows)] = self._captured(rows)
        graph, buffer = self._graphs[len(rows)]
        buffer.copy_(rows)
        graph.replay()

    def _captured(self, rows: Any) -> tuple[Any, Any]:
        buffer, full = rows.clone(), len(rows) == len(self._x)
        before = [w.detach().clone() for w in self._model.parameters()]

        def step() -> None:
            x, y = (self._x, self._y) if full else (self._x[buffer], self._y[buffer])
            self._train(x, y)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            step()
        with torch.no_grad():
            for w, value in zip(self._model.parameters(), before, strict=True):
                w.copy_(value)
        return graph, buffer

"""SynFlow's mean over all initialisations of a NAS-Bench-201 network, exactly, for many cells at once.

The score of `synflow` is a sum over paths of products of independent |w|, each weight at most once a path. So its
mean is the same sum with every |w| replaced by its mean. PyTorch draws the weights of a convolution or linear layer
from U(-b, b) with b = 1 / sqrt(fan_in), so E|w| = b / 2, the same for all weights of a layer: all channels of a layer
carry one map, and a layer of C input channels is that map times a number, or under a 3x3 window:

    1x1: C (1/2) C^-1/2 = sqrt(C) / 2
    3x3: C (1/2) (9 C)^-1/2 = sqrt(C) / 6, times the sum of the window with zeros outside

What is left of the network has one channel, and two numbers a pixel (`synflow.synflow_forward`): 5,260 classes take
some seconds instead of minutes and need no seed. This is no approximation: the tests compare it with a network whose
weights are all b / 2, and with the mean over many draws. A score of one draw is this one with noise (the figures are
in data/README.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.proxies.graph import CONV1, CONV3, EDGES, NONE, POOL

CHUNK = 128  # cells at once: 128 x 2 maps of 32 x 32 doubles are 2 MB, about the second-level cache


def synflow_mean(
    cells: npt.ArrayLike,
    *,
    size: int = 32,
    classes: int = 10,
    channels: int = 16,
    depth: int = 5,
    in_channels: int = 3,
) -> npt.NDArray[np.float64]:
    """Mean scores `[n]` of `cells[n, 6]` in a network of 3 stages of `depth` cells, `channels` wide in the first.

    >>> ones = synflow_mean([[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]], size=4, depth=1)
    >>> float(ones[0]), bool(ones[1] > 0)  # nothing flows through a cell without a path
    (0.0, True)
    """
    asked = np.asarray(cells, dtype=np.int64).reshape(-1, 6)
    parts = [
        _scores(asked[start : start + CHUNK], size, classes, channels, depth, in_channels)
        for start in range(0, len(asked), CHUNK)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _scores(
    cells: npt.NDArray[np.int64], size: int, classes: int, channels: int, depth: int, in_channels: int
) -> npt.NDArray[np.float64]:
    x = torch.zeros(len(cells), 2, size, size, dtype=torch.float64)  # [n, (value, flow), H, W]
    x[:, 0] = 1
    x = _layer(x, lambda v: _window(v) * in_channels**0.5 / 6)
    width = channels
    for stage in range(3):
        if stage:
            deep = _layer(x, lambda v, c=width: _window(v, stride=2) * c**0.5 / 6)  # type: ignore[misc]
            deep = _layer(deep, lambda v, c=2 * width: _window(v) * c**0.5 / 6)  # type: ignore[misc]
            x = deep + _layer(F.avg_pool2d(x, 2), lambda v, c=width: v * c**0.5 / 2)  # type: ignore[misc]
            width *= 2
        for _ in range(depth):
            x = _cell(x, cells, width)
    out = _layer(x.mean(dim=(2, 3), keepdim=True), lambda v: v * classes * width**0.5 / 2)
    return np.asarray(out[:, 1, 0, 0].numpy())


def _layer(x: Tensor, linear: Callable[[Tensor], Tensor]) -> Tensor:
    """A layer with weights: the flow grows by the value, one weight more on every path."""
    y = linear(x)
    return torch.stack([y[:, 0], y[:, 0] + y[:, 1]], dim=1)


def _window(x: Tensor, stride: int = 1) -> Tensor:
    """Sum over 3x3 windows, zero outside."""
    return F.avg_pool2d(x, 3, stride=stride, padding=1, divisor_override=1)


def _cell(x: Tensor, cells: npt.NDArray[np.int64], width: int) -> Tensor:
    nodes = [x]
    for target in (1, 2, 3):
        total = torch.zeros_like(x)
        for edge, (i, j) in enumerate(EDGES):
            if j != target:
                continue
            for option in range(NONE + 1, POOL + 1):
                rows = torch.from_numpy(np.flatnonzero(cells[:, edge] == option))
                if not len(rows):
                    continue
                y = nodes[i][rows]
                if option == CONV1:
                    y = _layer(y, lambda v: v * width**0.5 / 2)
                elif option == CONV3:
                    y = _layer(y, lambda v: _window(v) * width**0.5 / 6)
                elif option == POOL:
                    y = F.avg_pool2d(y, 3, stride=1, padding=1, count_include_pad=False)
                total.index_add_(0, rows, y)
        nodes.append(total)
    return nodes[3]

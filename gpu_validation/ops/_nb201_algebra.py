"""The exact algebra of a NAS-Bench-201 cell in differentiable PyTorch: any device, dtype and number of derivatives.

    node_j = sum_i BN(conv1x1(r_i); weight g_c1) + BN(conv3x3(r_i); weight g_c3) + g_skip x_i
             + pool(sum_i g_avg x_i),   r_i = relu(x_i)

A gate is the affine weight of a BN that has none (the multiply disappears, and the gate's gradient is BN's own weight
gradient); pooling is linear, so a node's inputs are pooled once (3 pools a cell, not 6); relu is taken once a source.
With running statistics in evaluation mode BN is affine, and the two convolutions of an edge are one 3x3 convolution.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import BN_EPS, BN_MOMENTUM, Active
from gpu_validation.reference.nb201 import CONV1, CONV3, EDGES, POOL, SKIP, RunningStats
from nasbench_sim.errors import SpecError

#: edges that end in a node, and edges that leave one
INTO = {node: tuple(e for e, (_, j) in enumerate(EDGES) if j == node) for node in (1, 2, 3)}
OUT_OF = {node: tuple(e for e, (i, _) in enumerate(EDGES) if i == node) for node in (0, 1, 2)}


def check_shapes(x: Tensor, w1: Tensor, w3: Tensor, gates: Tensor, active: Active | None) -> None:
    """Raise `SpecError` unless the arguments of a cell fit together.

    >>> check_shapes(torch.ones(1, 2, 4, 4), torch.ones(6, 2, 2, 1, 1), torch.ones(6, 2, 2, 3, 3), torch.ones(5), None)
    Traceback (most recent call last):
    nasbench_sim.errors.SpecError: cell: gates have shape (5,); this input needs (6, 5)
    """
    if x.ndim != 4:
        raise SpecError(f"cell: the input has shape {tuple(x.shape)}; give [batch, channels, height, width]")
    c = x.shape[1]
    found: list[tuple[str, Any, tuple[int, ...]]] = [
        ("w1", w1, (6, c, c, 1, 1)),
        ("w3", w3, (6, c, c, 3, 3)),
        ("gates", gates, (6, 5)),
    ]
    if active is not None:
        found.append(("active", active, (6, 5)))
    for name, value, wanted in found:
        if tuple(value.shape) != wanted:
            verb = "have" if name == "gates" else "has"
            raise SpecError(f"cell: {name} {verb} shape {tuple(value.shape)}; this input needs {wanted}")


def runs(active: Active | None, edge: int, option: int) -> bool:
    """Whether an option is run."""
    return active is None or bool(active[edge, option])


@functools.lru_cache(maxsize=32)
def inverse_counts(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`[1, 1, H, W]`: 1 over the number of pixels that the 3x3 window around each pixel has inside the image.

    >>> inverse_counts(3, 1, torch.float64, torch.device("cpu")).flatten().tolist()
    [0.5, 0.3333333333333333, 0.5]
    """
    with torch.inference_mode(False):  # an inference tensor in the cache could not be used in training
        rows, columns = (torch.full((size,), 3.0, dtype=dtype, device=device) for size in (height, width))
        for counts in (rows, columns):
            counts[0] -= 1.0
            counts[-1] -= 1.0
        return 1.0 / (rows.view(1, 1, -1, 1) * columns)


@functools.lru_cache(maxsize=32)
def _ones(channels: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(channels, 1, 3, 3)


def box(x: Tensor) -> Tensor:
    """Sum over the 3x3 window around each pixel, outside counting as 0; it is its own transpose.

    In float32 on a CPU a depthwise convolution (oneDNN) takes 0.63 ms where average pooling takes 1.84 ms
    (B 64, C 16, 32x32, channels_last, one core).

    >>> box(torch.ones(1, 1, 2, 3))[0, 0].tolist()
    [[4.0, 6.0, 4.0], [4.0, 6.0, 4.0]]
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
        return F.conv2d(x, _ones(x.shape[1]), padding=1, groups=x.shape[1])
    return F.avg_pool2d(x, 3, stride=1, padding=1, divisor_override=1)


def pool(x: Tensor) -> Tensor:
    """3x3 average pooling, stride 1, that does not count the padding."""
    return box(x) * inverse_counts(x.shape[2], x.shape[3], x.dtype, x.device)


def algebraic_cell(
    x: Tensor,
    w1: Tensor,
    w3: Tensor,
    gates: Tensor,
    stats: RunningStats | None,
    *,
    training: bool,
    active: Active | None,
) -> Tensor:
    """A cell's output; arguments as `gpu_validation.reference.nb201.cell`.

    >>> x, gates = torch.ones(1, 2, 4, 4), torch.zeros(6, 5)
    >>> gates[3, POOL] = 2.0
    >>> w1, w3 = torch.ones(6, 2, 2, 1, 1), torch.ones(6, 2, 2, 3, 3)
    >>> algebraic_cell(x, w1, w3, gates, None, training=True, active=None).unique().tolist()
    [2.0]
    """
    nodes, rectified = [x], [F.relu(x)]
    for target in (1, 2, 3):
        parts: list[Tensor] = []
        pooled: list[Tensor] = []
        for edge in INTO[target]:
            source = EDGES[edge][0]
            parts += _convolutions(rectified[source], w1[edge], w3[edge], gates[edge], stats, edge, training, active)
            if runs(active, edge, SKIP):
                parts.append(gates[edge, SKIP] * nodes[source])
            if runs(active, edge, POOL):
                pooled.append(gates[edge, POOL] * nodes[source])
        if pooled:
            parts.append(pool(functools.reduce(torch.add, pooled)))
        nodes.append(functools.reduce(torch.add, parts) if parts else torch.zeros_like(x))
        rectified.append(F.relu(nodes[target]))
    return nodes[3]


def _convolutions(
    r: Tensor,
    w1: Tensor,
    w3: Tensor,
    gates: Tensor,
    stats: RunningStats | None,
    edge: int,
    training: bool,
    active: Active | None,
) -> list[Tensor]:
    """The convolution options of an edge, normalised and weighed; in evaluation mode both are one convolution."""
    options = [option for option in (CONV1, CONV3) if runs(active, edge, option)]
    if stats is None or training:
        out = []
        for option in options:
            z = F.conv2d(r, w1) if option == CONV1 else F.conv2d(r, w3, padding=1)
            which = option - CONV1
            mean, var = (None, None) if stats is None else (stats.mean[edge, which], stats.var[edge, which])
            weight = gates[option].expand(z.shape[1]).contiguous()
            out.append(F.batch_norm(z, mean, var, weight, None, True, BN_MOMENTUM, BN_EPS))
        return out
    if not options:
        return []
    kernel: Tensor | None = None
    bias: Tensor | None = None
    for option in options:
        which = option - CONV1
        scale = gates[option] * torch.rsqrt(stats.var[edge, which] + BN_EPS)
        part = (w1 if option == CONV1 else w3) * scale.view(-1, 1, 1, 1)
        part = F.pad(part, (1, 1, 1, 1)) if option == CONV1 and len(options) == 2 else part
        kernel = part if kernel is None else kernel + part
        shift = -scale * stats.mean[edge, which]
        bias = shift if bias is None else bias + shift
    assert kernel is not None
    return [F.conv2d(r, kernel, bias, padding=kernel.shape[-1] // 2)]

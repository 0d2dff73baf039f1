"""The search cell of NAS-Bench-201 on Triton kernels: the function of `gpu_validation.reference.nb201`, fused.

Each node is rectified once; its 3x3 convolutions are one convolution with an output slice an edge, its 1x1
convolutions another (by PyTorch); everything between convolutions is three kernels forward and three backward a node.
The backward pass writes no tensor that it has read, so that it can run twice; it has no second derivative and says so.

Memory layout: channels-last inside and of the result. Deviations from the reference: none but rounding; float16 and
bfloat16 tensors are summed in float32, and so are the gates' gradients.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import Active
from gpu_validation.kernels.backward import node_convolutions, node_sums
from gpu_validation.kernels.node import node
from gpu_validation.kernels.shapes import accumulator, channels_last, empty_like_pixels
from gpu_validation.kernels.source import gate_partials, source
from gpu_validation.kernels.statistics import statistics
from gpu_validation.kernels.tiles import on_device, require_device
from gpu_validation.ops.autograd import (
    by_batch,
    check_map,
    check_precisions,
    check_shapes,
    compute_dtype,
    constants,
    convolution_gradient,
    convolve,
    move,
    once,
)
from gpu_validation.reference.nb201 import CONV1, CONV3, EDGES, POOL, SKIP, RunningStats
from nasbench_sim.errors import SpecError

Maps = list[Tensor]


@dataclass(frozen=True)
class Plan:
    """Which options run, in the integers that the kernels take (see `gpu_validation.kernels.node`).

    `slots[which][edge]`: the slice of edge's convolution (which: 1x1, 3x3) in its source's merged one, or -1;
    `edges[which][source]`: the edges of that merged convolution, in order; `on[t]`, `layout[t]` of node t = 1, 2, 3
    (index t - 1); `reads[i]`: which later nodes read node i by a skip or a pool; `rows`: statistics that are computed.
    """

    slots: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[tuple[int, ...], ...], ...]
    on: tuple[int, ...]
    layout: tuple[int, ...]
    reads: tuple[int, ...]
    rows: tuple[int, ...]


@lru_cache(maxsize=4096)
def plan(active: bytes) -> Plan:
    """The plan of 30 bytes, 0 or 1: `active[6, 5]`.

    >>> plan(bytes([1] * 30)).edges[0]
    ((0, 1, 3), (2, 4), (5,))
    """
    runs = np.frombuffer(active, dtype=np.uint8).reshape(6, 5).astype(bool)
    edges = tuple(
        tuple(tuple(e for e, (i, _) in enumerate(EDGES) if i == s and runs[e, option]) for s in range(3))
        for option in (CONV1, CONV3)
    )
    slots = tuple(
        tuple(edges[w][i].index(e) if e in edges[w][i] else -1 for e, (i, _) in enumerate(EDGES)) for w in (0, 1)
    )
    on, layout, reads = [0, 0, 0], [0, 0, 0], [0, 0, 0]
    for e, (i, t) in enumerate(EDGES):
        for option in (SKIP, CONV1, CONV3, POOL):
            on[t - 1] |= int(runs[e, option]) << (4 * i + option - 1)
        for w in (0, 1):
            layout[t - 1] |= len(edges[w][i]) << (4 * (2 * i + w))
        reads[i] |= (int(runs[e, SKIP]) | int(runs[e, POOL]) << 3) << (4 * (t - 1 - i))
    rows = tuple(2 * e + w for e in range(6) for w in (0, 1) if slots[w][e] >= 0)
    return Plan(slots, edges, tuple(on), tuple(layout), tuple(reads), rows)


def _first(target: int) -> int:
    """Number of the first edge that enters a node."""
    return target * (target - 1) // 2


def _slices(merged: list[Tensor | None], how: Plan, which: int, target: int, dummy: Tensor) -> Maps:
    """The convolutions that enter a node, one an input: views of the merged ones, `dummy` where there is none."""
    out = []
    for i in range(target):
        whole, slot = merged[i], how.slots[which][_first(target) + i]
        channels = dummy.shape[1]
        out.append(dummy if whole is None or slot < 0 else whole[:, slot * channels : (slot + 1) * channels])
    return out


def _merged(weight: Tensor, edges: tuple[int, ...]) -> Tensor:
    """Kernels of these edges, one below the other: `[len(edges) C, C, k, k]`."""
    return torch.cat([weight[e] for e in edges])


class _Cell(torch.autograd.Function):
    """x, w1, w3, gates -> node 3."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, w3: Tensor, gates: Tensor, stats: RunningStats | None, batch: bool, how: Plan
    ) -> Tensor:
        pixels, channels = x.numel() // x.shape[1], x.shape[1]
        weights = (w1, w3)
        wide = gates.to(accumulator(x.dtype)).contiguous()
        if batch or stats is None:
            mean, var, rstd = (torch.empty(12, channels, dtype=wide.dtype, device=x.device) for _ in range(3))
        else:
            mean, rstd = constants(stats, x.dtype)
        nodes: Maps = [x]
        rectified: list[Tensor | None] = []
        convs: tuple[list[Tensor | None], list[Tensor | None]] = ([], [])
        for t in (1, 2, 3):
            i = t - 1
            any_edge = how.edges[0][i] or how.edges[1][i]
            rectified.append(F.relu(nodes[i]) if any_edge else None)
            for w in (0, 1):
                edges, h = how.edges[w][i], rectified[i]
                convs[w].append(convolve(h, _merged(weights[w], edges)) if edges and h is not None else None)
            z1, z3 = (_slices(convs[w], how, w, t, x) for w in (0, 1))
            rows = slice(2 * _first(t), 2 * _first(t) + 2 * t)
            if batch and any(2 * _first(t) <= row < 2 * _first(t) + 2 * t for row in how.rows):
                statistics(mean[rows], var[rows], rstd[rows], z1, z3, how.layout[i], how.on[i])
            nodes.append(node(wide, mean[rows], rstd[rows], nodes[:t], z1, z3, how.layout[i], how.on[i]))
        if batch and stats is not None and how.rows:
            move(stats, mean, var, pixels, how.rows)
        ctx.save_for_backward(w1, w3, gates, wide, mean, rstd, *nodes[:3], *rectified, *convs[0], *convs[1])
        ctx.batch, ctx.how = batch, how
        return nodes[3]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        with torch.no_grad():
            found = _gradients(ctx, grads[0])
        w1, w3, gates, *_ = ctx.saved_tensors
        return (*once([grads[0], ctx.saved_tensors[6], w1, w3, gates], found), None, None, None)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients with respect to x, w1, w3 and the gates."""
    w1, w3, gates, wide, mean, rstd, *maps = ctx.saved_tensors
    nodes, rectified, conv1, conv3 = maps[0:3], maps[3:6], maps[6:9], maps[9:12]
    how: Plan = ctx.how
    need_x, need1, need3, _ = ctx.needs_input_grad[:4]
    x, weights, need = nodes[0], (w1, w3), (need1, need3)
    with on_device(x):
        arriving: list[Tensor | None] = [None, None, None, channels_last(grad.to(x.dtype))]
        dz = tuple([None if z is None else empty_like_pixels(z) for z in conv] for conv in (conv1, conv3))
        dw = [torch.zeros_like(w) if n else None for w, n in zip(weights, need, strict=True)]
        partial = gate_partials(x)
        products: list[Tensor] = []
        for t in (3, 2, 1):
            i, d = t - 1, arriving[t]
            assert d is not None  # set by the source of the step before
            rows = slice(2 * _first(t), 2 * _first(t) + 2 * t)
            z1, z3 = (_slices(conv, how, w, t, x) for w, conv in enumerate((conv1, conv3)))
            d1, d3 = (_slices(dz[w], how, w, t, x) for w in (0, 1))
            sums = node_sums(d, mean[rows], rstd[rows], z1, z3, how.layout[i], how.on[i])
            products.insert(0, sums[1:])
            node_convolutions(
                d, wide, sums, mean[rows], rstd[rows], z1, z3, d1, d3, how.layout[i], how.on[i], training=ctx.batch
            )
            back: list[Tensor | None] = [None, None]
            need_dx = i > 0 or need_x
            for w in (0, 1):
                edges, whole = how.edges[w][i], dz[w][i]
                if whole is None:
                    continue
                back[w], kernels = convolution_gradient(
                    whole, rectified[i], _merged(weights[w], edges), need_x=need_dx, need_weight=need[w]
                )
                whole_dw = dw[w]
                if kernels is not None and whole_dw is not None:
                    for e, k in zip(edges, kernels.split(x.shape[1]), strict=True):
                        whole_dw[e] = k
            later = [g for g in arriving[t:] if g is not None]
            arriving[i] = source(partial, wide, i, nodes[i], back[0], back[1], later, how.reads[i], need_dx=need_dx)
        dgates = torch.zeros_like(wide)
        dgates[:, CONV1 : CONV3 + 1] = torch.cat(products).sum(1).view(6, 2)
        dgates[:, SKIP], dgates[:, POOL] = partial.sum(2).unbind(1)
    return arriving[0] if need_x else None, *dw, dgates.to(gates.dtype)


def cell(
    x: Tensor,
    w1: Tensor,
    w3: Tensor,
    gates: Tensor,
    stats: RunningStats | None = None,
    *,
    training: bool = True,
    active: Active | None = None,
) -> Tensor:
    """Output `[B, C, H, W]` of a cell at `x[B, C, H, W]`; arguments as in `gpu_validation.reference.nb201.cell`.

    Runs on a CUDA device (or interpreted: `TRITON_INTERPRET=1`), in float16, bfloat16, float32 or float64; under
    autocast in its precision. SpecError for wrong shapes, devices and precisions; RunError when its gradient is
    differentiated.
    """
    require_device(x)
    check_map(x)
    c = x.shape[1]
    named = {"x": (x, x.shape), "w1": (w1, (6, c, c, 1, 1)), "w3": (w3, (6, c, c, 3, 3)), "gates": (gates, (6, 5))}
    if stats is not None:
        named |= {"stats.mean": (stats.mean, (6, 2, c)), "stats.var": (stats.var, (6, 2, c))}
    check_shapes(**named)
    check_precisions(x, w1, w3)
    runs = np.ones((6, 5), dtype=bool) if active is None else np.asarray(active)
    if runs.shape != (6, 5) or runs.dtype != bool:
        raise SpecError(f"active is {runs.dtype}{list(runs.shape)}, and bool[6, 5] is asked for")
    how = plan(runs.tobytes())
    batch = by_batch(stats, training, x.numel() // c, bool(how.rows))
    dtype = compute_dtype(x)
    with on_device(x):
        out: Tensor = _Cell.apply(
            channels_last(x.to(dtype)), w1.to(dtype), w3.to(dtype), gates, stats, batch, how
        )  # fmt: skip
    return out

"""The NAS-Bench-201 cell for a CPU: one autograd function a cell, with the traffic of element-wise operations cut.

Forward, for each node j (channels_last; `z` is a convolution's output, `m` and `s` its batch mean and 1/deviation):

    node_j = sum_z (g s) z - g s m  +  sum_i g_skip x_i  +  pool(sum_i g_avg x_i)

added up in place, so that no normalised, weighed or pooled tensor is ever written. 1x1 convolutions are matrix
products over pixels. Backward, for each source i from the last to the first: BN's backward pass with the gate as weight
gives dz and, from the same reduction, the gate's gradient; 1x1 parts of dr_i are added by the matrix product itself;
relu, skip and pool come once a source. Nothing that was saved is written to, so a second backward pass is right. A
backward pass that is itself differentiated (`create_graph=True`: Hessian-vector products) goes through
`_nb201_algebra.algebraic_cell`, which PyTorch differentiates any number of times.

channels_last was measured against contiguous (`tests/benchmarks/test_supernet_bench.py`; C 16, 32x32, batch 64, one
core): 3x3 convolutions take 0.65x, BN 0.5x, average pooling 0.2x the time. All 3x3 convolutions that leave a node as
one call were measured as well, with BN and the backward pass: 0.94x to 1.0x of the time of separate calls for three
edges, because BN's backward pass then needs the targets' gradients side by side; they are not merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import BN_EPS, BN_MOMENTUM, Active
from gpu_validation.ops._nb201_algebra import (
    INTO,
    OUT_OF,
    algebraic_cell,
    box,
    check_shapes,
    inverse_counts,
    runs,
)
from gpu_validation.reference.nb201 import CONV1, CONV3, EDGES, POOL, SKIP, RunningStats


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
    """Output `[B, C, H, W]` of a cell; arguments, result and gradients as `gpu_validation.reference.nb201.cell`.

    The autograd function serves float32 and float64 on a CPU with batch statistics; evaluation with running
    statistics, other devices, lower precision and autocast take `algebraic_cell`. Raises `SpecError` where shapes do
    not fit, `ValueError` where a batch has one value a channel (as PyTorch's BN does).

    >>> x, gates = torch.ones(1, 2, 4, 4), torch.zeros(6, 5)
    >>> gates[3, SKIP] = 1.0
    >>> bool((cell(x, torch.ones(6, 2, 2, 1, 1), torch.ones(6, 2, 2, 3, 3), gates) == x).all())
    True
    """
    check_shapes(x, w1, w3, gates, active)
    one_type = {t.dtype for t in (x, w1, w3, gates)} in ({torch.float32}, {torch.float64})
    by_batch = stats is None or training
    if not (one_type and by_batch and x.device.type == "cpu") or torch.is_autocast_enabled("cpu"):
        return algebraic_cell(x, w1, w3, gates, stats, training=training, active=active)
    if x.numel() == x.shape[1] and (active is None or active[:, (CONV1, CONV3)].any()):
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    out: Tensor = _Cell.apply(  # type: ignore[no-untyped-call,unused-ignore]
        x, w1, w3, gates, stats, active
    )
    return out


class _Convolved(NamedTuple):
    """What a convolution option leaves for the backward pass: output, batch mean, 1/deviation (each `[C]`)."""

    z: Tensor
    mean: Tensor
    invstd: Tensor


class _Cell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, w3: Tensor, gates: Tensor, stats: RunningStats | None, active: Active | None
    ) -> Tensor:
        g = gates.tolist()
        nodes = [x.contiguous(memory_format=torch.channels_last)]
        rectified: list[Tensor] = []
        kept: dict[tuple[int, int], _Convolved] = {}
        for target in (1, 2, 3):
            rectified.append(F.relu(nodes[-1]))
            for edge, option in _options(INTO[target], active, (CONV1, CONV3)):
                kept[edge, option] = _convolve(rectified[EDGES[edge][0]], w1, w3, edge, option, stats)
            parts = [(g[edge][o], kept[edge, o]) for edge, o in _options(INTO[target], active, (CONV1, CONV3))]
            total = _normalised_sum(parts)
            for edge, _ in _options(INTO[target], active, (SKIP,)):
                total = _add(total, nodes[EDGES[edge][0]], g[edge][SKIP])
            inputs: Tensor | None = None
            for edge, _ in _options(INTO[target], active, (POOL,)):
                inputs = _add(inputs, nodes[EDGES[edge][0]], g[edge][POOL])
            total = torch.zeros_like(nodes[0]) if total is None else total
            nodes.append(total if inputs is None else total.addcmul_(box(inputs), _inverse(x)))
        ctx.active, ctx.g, ctx.keys = active, g, tuple(kept)
        saved = [tensor for convolved in kept.values() for tensor in convolved]
        ctx.save_for_backward(x, w1, w3, gates, *nodes[:3], *rectified, *saved)
        return nodes[3]

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph: somebody will differentiate what this returns
            return (*_differentiable(ctx, saved[:4], dout), None, None)
        x, w1, w3, _ = saved[:4]
        nodes, rectified, rest = saved[4:7], saved[7:10], saved[10:]
        kept = {key: _Convolved(*rest[3 * n : 3 * n + 3]) for n, key in enumerate(ctx.keys)}
        need_x, need_w1, need_w3, need_g = ctx.needs_input_grad[:4]
        dw = {
            CONV1: torch.zeros_like(w1, memory_format=torch.contiguous_format) if need_w1 else None,
            CONV3: torch.zeros_like(w3, memory_format=torch.contiguous_format) if need_w3 else None,
        }
        dgates = torch.zeros(6, 5, dtype=x.dtype) if need_g else None
        grads = {3: dout.contiguous(memory_format=torch.channels_last)}
        pooled: dict[int, Tensor] = {}  # transposed pool of a target's gradient
        for source in (2, 1, 0):
            inner = need_x or source > 0
            dr: Tensor | None = None
            for edge, option in _options(OUT_OF[source], ctx.active, (CONV3, CONV1)):
                d, convolved, weights = grads[EDGES[edge][1]], kept[edge, option], dw[option]
                wants = inner or weights is not None
                dz, dgate = _normalise_backward(d, convolved, ctx.g[edge][option], wants, dgates is not None)
                if dgates is not None:
                    dgates[edge, option] = dgate
                if weights is not None:
                    weights[edge] = _weight_gradient(dz, rectified[source], w1, w3, edge, option)
                if inner:
                    dr = _add_input_gradient(dr, dz, rectified[source], w1, w3, edge, option)
            dx = None if dr is None else _relu_backward_(dr, rectified[source])
            for edge, option in _options(OUT_OF[source], ctx.active, (SKIP, POOL)):
                target = EDGES[edge][1]
                if option == POOL and target not in pooled:
                    pooled[target] = box(grads[target] * _inverse(x))
                d = grads[target] if option == SKIP else pooled[target]
                if dgates is not None:
                    dgates[edge, option] = torch.dot(_flat(d), _flat(nodes[source]))
                if inner:
                    dx = _add(dx, d, ctx.g[edge][option])
            if inner:
                grads[source] = torch.zeros_like(nodes[0]) if dx is None else dx
        return grads.get(0), dw[CONV1], dw[CONV3], dgates, None, None


def _options(edges: tuple[int, ...], active: Active | None, options: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    return ((edge, option) for edge in edges for option in options if runs(active, edge, option))


def _inverse(x: Tensor) -> Tensor:
    return inverse_counts(x.shape[2], x.shape[3], x.dtype, x.device)


def _pixels(x: Tensor) -> Tensor:
    """`[B H W, C]` view of a channels_last tensor."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1)


def _add(total: Tensor | None, x: Tensor, scale: float) -> Tensor:
    """`total + scale x`, in place where there is a total; a new tensor where there is none."""
    return x * scale if total is None else total.add_(x, alpha=scale)


def _relu_backward_(dr: Tensor, r: Tensor) -> Tensor:
    """`dr` where `r > 0`, else 0, in place."""
    out: Tensor = torch.ops.aten.threshold_backward.grad_input(dr, r, 0, grad_input=dr)
    return out


def _kernel(w3: Tensor, edge: int) -> Tensor:
    return w3[edge].contiguous(memory_format=torch.channels_last)


def _convolve(r: Tensor, w1: Tensor, w3: Tensor, edge: int, option: int, stats: RunningStats | None) -> _Convolved:
    if option == CONV1:
        b, c, h, w = r.shape
        z = (_pixels(r) @ w1[edge].view(c, c).T).view(b, h, w, c).permute(0, 3, 1, 2)
    else:
        z = F.conv2d(r, _kernel(w3, edge), padding=1)
    where = (edge, option - CONV1)
    running = (None, None) if stats is None else (stats.mean[where], stats.var[where])
    mean, var = torch.batch_norm_update_stats(z, running[0], running[1], BN_MOMENTUM)
    return _Convolved(z, mean, var.add_(BN_EPS).rsqrt_())


def _normalised_sum(parts: list[tuple[float, _Convolved]]) -> Tensor | None:
    """Sum of `gate (z - mean) invstd`: one pass over each z, none over a normalised tensor."""
    if not parts:
        return None
    scales = [convolved.invstd * gate for gate, convolved in parts]
    shift = -scales[0] * parts[0][1].mean
    for scale, (_, convolved) in zip(scales[1:], parts[1:], strict=True):
        shift.addcmul_(scale, convolved.mean, value=-1.0)
    total = torch.addcmul(shift.view(1, -1, 1, 1), parts[0][1].z, scales[0].view(1, -1, 1, 1))
    for scale, (_, convolved) in zip(scales[1:], parts[1:], strict=True):
        total.addcmul_(convolved.z, scale.view(1, -1, 1, 1))
    return total


def _normalise_backward(
    d: Tensor, convolved: _Convolved, gate: float, want_input: bool, want_gate: bool
) -> tuple[Tensor, Tensor | float]:
    """dz of `gate BN(z)` and the gate's gradient, sum of d BN(z): BN's weight gradient over channels."""
    z, mean, invstd = convolved
    weight = torch.full_like(mean, gate)
    mask = [want_input, want_gate, False]
    dz, dweight, _ = torch.ops.aten.native_batch_norm_backward(
        d, z, weight, None, None, mean, invstd, True, BN_EPS, mask
    )
    return dz, dweight.sum() if want_gate else 0.0


def _weight_gradient(dz: Tensor, r: Tensor, w1: Tensor, w3: Tensor, edge: int, option: int) -> Tensor:
    if option == CONV1:
        return (_pixels(dz).T @ _pixels(r)).view(w1.shape[1:])
    mask = [False, True, False]
    out: Tensor = torch.ops.aten.convolution_backward(
        dz, r, _kernel(w3, edge), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
    )[1]
    return out


def _add_input_gradient(
    dr: Tensor | None, dz: Tensor, r: Tensor, w1: Tensor, w3: Tensor, edge: int, option: int
) -> Tensor:
    if option == CONV1:
        b, c, h, w = dz.shape
        kernel = w1[edge].view(c, c)
        if dr is None:
            return (_pixels(dz) @ kernel).view(b, h, w, c).permute(0, 3, 1, 2)
        _pixels(dr).addmm_(_pixels(dz), kernel)
        return dr
    mask = [True, False, False]
    out: Tensor = torch.ops.aten.convolution_backward(
        dz, r, _kernel(w3, edge), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
    )[0]
    return out if dr is None else dr.add_(out)


def _differentiable(ctx: Any, inputs: tuple[Tensor, ...], dout: Tensor) -> list[Tensor | None]:
    """Gradients with a graph. The inputs enter as views: no path from one to another outside the cell is followed."""
    x, w1, w3, gates = views = [tensor.view_as(tensor) for tensor in inputs]
    out = algebraic_cell(x, w1, w3, gates, None, training=True, active=ctx.active)
    wanted = [n for n in range(4) if ctx.needs_input_grad[n]]
    if not out.requires_grad:  # no option is active: the output is 0 whatever the inputs are
        return [torch.zeros_like(inputs[n]) if n in wanted else None for n in range(4)]
    found = torch.autograd.grad(
        out, [views[n] for n in wanted], dout, create_graph=True, allow_unused=True, materialize_grads=True
    )
    grads: list[Tensor | None] = [None] * 4
    for n, grad in zip(wanted, found, strict=True):
        grads[n] = grad
    return grads

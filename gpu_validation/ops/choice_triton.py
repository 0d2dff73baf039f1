"""The choice block of NAS-Bench-1Shot1 on Triton kernels: a mixture of a max pool and two convolutions.

    out = g_0 maxpool3(x) + g_1 relu(BN(conv3x3(x))) + g_2 relu(BN(conv1x1(x)))

Convolutions by PyTorch, everything else by `gpu_validation.kernels.choice`. As for the cell of NAS-Bench-201: backward
is out of place, can run twice, and refuses to be differentiated.

Source: Zela, Siems & Hutter, NAS-Bench-1Shot1 (ICLR 2020), optimizers/darts/model_search.py. Deviation: BN without
affine part, like the cell of NAS-Bench-201 in search.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_validation.contracts import Active
from gpu_validation.kernels.choice import choice as choice_forward
from gpu_validation.kernels.choice import choice_convolutions, choice_source
from gpu_validation.kernels.shapes import accumulator, channels_last
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
from gpu_validation.reference.nb201 import RunningStats
from nasbench_sim.errors import SpecError

POOL, CONV3, CONV1 = range(3)


class _Choice(torch.autograd.Function):
    """x, w1, w3, gates -> mixture."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, w3: Tensor, gates: Tensor, stats: RunningStats | None, batch: bool,
        runs: tuple[bool, bool, bool],
    ) -> Tensor:  # fmt: skip
        wide = gates.to(accumulator(x.dtype)).contiguous()
        z1 = convolve(x, w1) if runs[CONV1] else None
        z3 = convolve(x, w3) if runs[CONV3] else None
        a, b = (x if z is None else z for z in (z1, z3))
        on = runs[POOL] | runs[CONV1] << 1 | runs[CONV3] << 2
        if batch or stats is None:
            mean, var, rstd = (torch.empty(2, x.shape[1], dtype=wide.dtype, device=x.device) for _ in range(3))
            if on & 6:
                statistics(mean, var, rstd, [a], [b], 0x11, on)
            if stats is not None:
                rows = [row for row, run in enumerate((runs[CONV1], runs[CONV3])) if run]
                move(stats, mean, var, x.numel() // x.shape[1], rows)
        else:
            mean, rstd = constants(stats, x.dtype)
        out, chosen = choice_forward(wide, mean, rstd, x, a, b, on)
        ctx.save_for_backward(x, w1, w3, gates, wide, mean, rstd, z1, z3, chosen)
        ctx.batch, ctx.on = batch, on
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        with torch.no_grad():
            found = _gradients(ctx, grads[0])
        return (*once([grads[0], *ctx.saved_tensors[:4]], found), None, None, None)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients with respect to x, w1, w3 and the gates."""
    x, w1, w3, gates, wide, mean, rstd, z1, z3, chosen = ctx.saved_tensors
    need_x, need1, need3, _ = ctx.needs_input_grad[:4]
    with on_device(x):
        d = channels_last(grad.to(x.dtype))
        dgates = torch.zeros_like(wide)
        r1 = r3 = dw1 = dw3 = None
        if ctx.on & 6:
            a, b = (x if z is None else z for z in (z1, z3))
            conv_gates, da, db = choice_convolutions(d, wide, mean, rstd, a, b, ctx.on, training=ctx.batch)
            dgates[CONV1], dgates[CONV3] = conv_gates
            if z1 is not None:
                r1, dw1 = convolution_gradient(da, x, w1, need_x=need_x, need_weight=need1)
            if z3 is not None:
                r3, dw3 = convolution_gradient(db, x, w3, need_x=need_x, need_weight=need3)
        dgates[POOL], dx = choice_source(d, wide, x, chosen, r1, r3, ctx.on & 1, need_dx=need_x)
    dw1 = torch.zeros_like(w1) if need1 and dw1 is None else dw1
    dw3 = torch.zeros_like(w3) if need3 and dw3 is None else dw3
    return dx, dw1, dw3, dgates.to(gates.dtype)


def choice_block(
    x: Tensor,
    w1: Tensor,
    w3: Tensor,
    gates: Tensor,
    stats: RunningStats | None = None,
    *,
    training: bool = True,
    active: Active | None = None,
) -> Tensor:
    """Output `[B, C, H, W]` of a choice block at `x[B, C, H, W]`.

    `w1[C, C, 1, 1]`, `w3[C, C, 3, 3]`; `gates[3]` in the order maxpool3x3, conv3x3, conv1x1; `stats`: running mean and
    variance `[2, C]` of (conv1x1, conv3x3), or None for the mini-batch always; `active` bool `[3]`: options that run.
    SpecError for wrong shapes, devices and precisions; RunError when its gradient is differentiated.
    """
    require_device(x)
    check_map(x)
    c = x.shape[1]
    named = {"x": (x, x.shape), "w1": (w1, (c, c, 1, 1)), "w3": (w3, (c, c, 3, 3)), "gates": (gates, (3,))}
    if stats is not None:
        named |= {"stats.mean": (stats.mean, (2, c)), "stats.var": (stats.var, (2, c))}
    check_shapes(**named)
    check_precisions(x, w1, w3)
    runs = np.ones(3, dtype=bool) if active is None else np.asarray(active)
    if runs.shape != (3,) or runs.dtype != bool:
        raise SpecError(f"active is {runs.dtype}{list(runs.shape)}, and bool[3] is asked for")
    batch = by_batch(stats, training, x.numel() // c, bool(runs[1:].any()))
    dtype = compute_dtype(x)
    with on_device(x):
        out: Tensor = _Choice.apply(
            channels_last(x.to(dtype)), w1.to(dtype), w3.to(dtype), gates, stats, batch, tuple(map(bool, runs))
        )
    return out

"""K3, second half: the gradient of a node that later nodes read, and of the gates of its skips and pools.

    dx = sum_t [ g_skip d_t + g_pool pool^T(d_t) ] + [x > 0] (r1 + r3);  dg_skip = <d_t, x>;  dg_pool = <pool^T(d_t), x>

over the later nodes t, with r1, r3 the gradients that the convolutions of x send to relu(x). Everything is read once
(d_t with a halo), dx is summed in registers and written once.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gpu_validation.kernels.shapes import accumulator, blocks, empty_like_pixels, split
from gpu_validation.kernels.tiles import (
    OPTIONS,
    bit,
    inside,
    load_gate,
    load_tile,
    only,
    pixels_of_tile,
    rows_and_columns,
    store_tile,
    triton_type,
    window,
)

#: left alone, ptxas aims at 168 registers, three blocks a multiprocessor, and spills 8 bytes (bfloat16, sm_90, C 64);
#: at 160 float32 spills 88, at 192 none of the 81 variants tried does
SOURCE_OPTIONS = {**OPTIONS, "maxnreg": 192}
#: bits of `on` beyond those of the three targets: r1 and r3 are there, dx is asked for
R1, R3, DX = 12, 13, 14


@triton.jit
def _pooled(grad, on, first, lanes, rows, columns, channels, there, wide, C: tl.constexpr, H: tl.constexpr,
            W: tl.constexpr, ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):  # fmt: skip
    """pool^T of a gradient; 0 where off."""
    there = only(there, on)
    total = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    for DH in range(-1, 2):  # not unrolled: ptxas would hoist 27 loads and spill
        tall, high = there & inside(rows, DH, H), window(rows + DH, H)
        for DW in tl.static_range(-1, 2):
            near = tall & inside(columns, DW, W)
            d = load_tile(grad, first, lanes + (DH * W + DW), channels, C, near[:, None] & wide, ACC)
            size = tl.where(near, high * window(columns + DW, W), 1).to(ACC)
            total += d / size[:, None]
    return total


@triton.jit
def _target(
    dx, skips, pools, grad, gates, x, EDGE: tl.constexpr, TARGET: tl.constexpr, on, first, lanes, rows, columns,
    channels, there, wide, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, ACC: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx and the sums of both gates (a lane each: whole tiles of them would spill) with one later node added."""
    skip, pool = bit(on, 4 * TARGET), bit(on, 4 * TARGET + 3)
    d = load_tile(grad, first, lanes, channels, C, only(there, skip)[:, None] & wide, ACC)
    v = _pooled(grad, pool, first, lanes, rows, columns, channels, there, wide, C, H, W, ACC, BLOCK_P, BLOCK_C)
    dx += load_gate(gates, EDGE, 1, skip, ACC) * d + load_gate(gates, EDGE, 4, pool, ACC) * v
    return dx, skips + tl.sum(d * x, 1), pools + tl.sum(v * x, 1)


@triton.jit
def _store_gates(partial, EDGE: tl.constexpr, skips, pools):
    """Sums over a tile -> `partial[EDGE, 0 and 1, program]`."""
    blocks_ = tl.num_programs(0) * tl.num_programs(1)
    block = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    tl.store(partial + (2 * EDGE) * blocks_ + block, tl.sum(skips, 0))
    tl.store(partial + (2 * EDGE + 1) * blocks_ + block, tl.sum(pools, 0))


@triton.jit(do_not_specialize=["on", "pixels", "tiles"])
def source_kernel(
    dx, partial, gates, x, r1, r3, d0, d1, d2, on, pixels, tiles,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, SOURCE: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Node SOURCE (0, 1, 2) with later nodes SOURCE + 1 .. 3, whose gradients are d0, d1, d2."""
    program = tl.program_id(0)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    wide = (channels < C)[None, :]
    FIRST: tl.constexpr = SOURCE * (SOURCE + 1) // 2 + SOURCE
    SECOND: tl.constexpr = (SOURCE + 1) * (SOURCE + 2) // 2 + SOURCE
    THIRD: tl.constexpr = (SOURCE + 2) * (SOURCE + 3) // 2 + SOURCE
    zero = tl.zeros([BLOCK_P], ACC)
    s0, p0 = zero, zero
    s1, p1, s2, p2 = zero, zero, zero, zero
    for tile in range(tiles):
        first, lanes, there = pixels_of_tile(program.to(tl.int64) * tiles + tile, pixels, BLOCK_P)
        rows, columns = rows_and_columns(first, lanes, H, W)
        mask = there[:, None] & wide
        value = load_tile(x, first, lanes, channels, C, mask, ACC)
        r = load_tile(r1, first, lanes, channels, C, only(mask, bit(on, 12)), ACC)
        r += load_tile(r3, first, lanes, channels, C, only(mask, bit(on, 13)), ACC)
        total = tl.where(value > 0, r, 0.0)
        total, s0, p0 = _target(
            total, s0, p0, d0, gates, value, FIRST, 0, on, first, lanes, rows, columns, channels, there, wide,
            C, H, W, ACC, BLOCK_P, BLOCK_C,
        )  # fmt: skip
        if SOURCE < 2:
            total, s1, p1 = _target(
                total, s1, p1, d1, gates, value, SECOND, 1, on, first, lanes, rows, columns, channels, there, wide,
                C, H, W, ACC, BLOCK_P, BLOCK_C,
            )  # fmt: skip
        if SOURCE < 1:
            total, s2, p2 = _target(
                total, s2, p2, d2, gates, value, THIRD, 2, on, first, lanes, rows, columns, channels, there, wide,
                C, H, W, ACC, BLOCK_P, BLOCK_C,
            )  # fmt: skip
        store_tile(dx, first, lanes, channels, C, total, only(mask, bit(on, 14)))
    _store_gates(partial, FIRST, s0, p0)
    if SOURCE < 2:
        _store_gates(partial, SECOND, s1, p1)
    if SOURCE < 1:
        _store_gates(partial, THIRD, s2, p2)


def gate_partials(like: Tensor) -> Tensor:
    """Room for `source` to leave the sums of all skips and pools of a cell: `[6, 2, programs]`, uninitialised."""
    batch, channels, height, width = like.shape
    block_p, block_c = blocks(channels)
    programs, _ = split(batch * height * width, block_p)
    return torch.empty(6, 2, programs * -(-channels // block_c), dtype=accumulator(like.dtype), device=like.device)


def source(
    partial: Tensor, gates: Tensor, number: int, x: Tensor, r1: Tensor | None, r3: Tensor | None,
    grads: list[Tensor], on: int, *, need_dx: bool,
) -> Tensor | None:  # fmt: skip
    """dx of node `number`, or None if not needed; fills this node's edges of `partial[6, 2, programs]`.

    `grads`: d of the nodes number + 1 .. 3; `on`: bits 4 k and 4 k + 3 say whether node number + 1 + k reads x by a
    skip, by a pool.
    """
    batch, channels, height, width = x.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    programs, each = split(pixels, block_p)
    out = empty_like_pixels(x) if need_dx else None
    on |= (r1 is not None) << R1 | (r3 is not None) << R3 | need_dx << DX
    r1, r3 = (x if r is None else r for r in (r1, r3))
    source_kernel[(programs, -(-channels // block_c))](
        x if out is None else out, partial, gates, x, r1, r3, *(grads * 3)[:3], on, pixels, each, C=channels,
        H=height, W=width, SOURCE=number, BLOCK_P=block_p, BLOCK_C=block_c, ACC=triton_type(x.dtype), **SOURCE_OPTIONS,
    )  # fmt: skip
    return out

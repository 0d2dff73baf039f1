"""K3: gradients of a node, out of place. With d = dloss/dnode, for every convolution z = (z1_i or z3_i),

    sums:  S = sum d zhat,  S_0 = sum d   (a channel)         zhat = (z - mean) rstd
    dz   = g rstd [d - (S_0 + zhat S) / P]                    (statistics of the batch; without the bracket's second
                                                               part where the statistics are constants)
    dg   = sum over channels of S:                            the architecture's gradient costs nothing

and for every node x that is an input of later nodes t, with r1, r3 the gradients that its convolutions send to relu(x),

    dx   = sum_t [ g_skip d_t + g_pool pool^T(d_t) ] + [x > 0] (r1 + r3)
    dg_skip = <d_t, x>,   dg_pool = <d_t, pool(x)> = <pool^T(d_t), x>

so that x is read once, without a halo. pool^T(d)[q] = sum of d[p] / window(p) over the neighbours p of q.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gpu_validation.kernels.shapes import accumulator, blocks, split
from gpu_validation.kernels.tiles import (
    OPTIONS,
    bit,
    load_gate,
    load_row,
    load_tile,
    nibble,
    only,
    pixels_of_tile,
    store_tile,
    triton_type,
)


@triton.jit
def _product(total, grad, z, row, stride, on, mean, first, lanes, channels, mask, C: tl.constexpr, ACC: tl.constexpr):
    """total + grad (z - mean); rstd is the sum's to multiply: it would take 8 registers a convolution here."""
    value = load_tile(z, first, lanes, channels, stride, only(mask, on), ACC)
    return total + grad * (value - load_row(mean, row, channels, C, on, ACC)[None, :])


@triton.jit
def _store_sum(partial, number, program, programs, channels, total, scale, C: tl.constexpr):
    """scale times the sum over the pixels of a tile of sums -> `partial[number, program]`."""
    where = partial + (number * programs + program).to(tl.int64) * C + channels
    tl.store(where, tl.sum(total, 0) * scale, mask=channels < C)


@triton.jit(do_not_specialize=["layout", "on", "pixels", "tiles"])
def sums_kernel(
    partial, grad, mean, rstd, a0, a1, a2, b0, b1, b2, layout, on, pixels, tiles,
    C: tl.constexpr, SOURCES: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """`partial[1 + 2 SOURCES, programs, C]`: S_0, then S of (1x1, 3x3) of each input."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    plain = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    s0, s1 = plain, plain
    s2, s3, s4, s5 = plain, plain, plain, plain
    for tile in range(tiles):
        first, lanes, there = pixels_of_tile(program.to(tl.int64) * tiles + tile, pixels, BLOCK_P)
        mask = there[:, None] & (channels < C)[None, :]
        d = load_tile(grad, first, lanes, channels, C, mask, ACC)
        plain += d
        n0, n1 = nibble(layout, 0) * C, nibble(layout, 1) * C
        s0 = _product(s0, d, a0, 0, n0, bit(on, 1), mean, first, lanes, channels, mask, C, ACC)
        s1 = _product(s1, d, b0, 1, n1, bit(on, 2), mean, first, lanes, channels, mask, C, ACC)
        if SOURCES > 1:
            n0, n1 = nibble(layout, 2) * C, nibble(layout, 3) * C
            s2 = _product(s2, d, a1, 2, n0, bit(on, 5), mean, first, lanes, channels, mask, C, ACC)
            s3 = _product(s3, d, b1, 3, n1, bit(on, 6), mean, first, lanes, channels, mask, C, ACC)
        if SOURCES > 2:
            n0, n1 = nibble(layout, 4) * C, nibble(layout, 5) * C
            s4 = _product(s4, d, a2, 4, n0, bit(on, 9), mean, first, lanes, channels, mask, C, ACC)
            s5 = _product(s5, d, b2, 5, n1, bit(on, 10), mean, first, lanes, channels, mask, C, ACC)
    _store_sum(partial, 0, program, programs, channels, plain, 1.0, C)
    _store_sum(partial, 1, program, programs, channels, s0, load_row(rstd, 0, channels, C, bit(on, 1), ACC), C)
    _store_sum(partial, 2, program, programs, channels, s1, load_row(rstd, 1, channels, C, bit(on, 2), ACC), C)
    if SOURCES > 1:
        _store_sum(partial, 3, program, programs, channels, s2, load_row(rstd, 2, channels, C, bit(on, 5), ACC), C)
        _store_sum(partial, 4, program, programs, channels, s3, load_row(rstd, 3, channels, C, bit(on, 6), ACC), C)
    if SOURCES > 2:
        _store_sum(partial, 5, program, programs, channels, s4, load_row(rstd, 4, channels, C, bit(on, 9), ACC), C)
        _store_sum(partial, 6, program, programs, channels, s5, load_row(rstd, 5, channels, C, bit(on, 10), ACC), C)


@triton.jit
def _convolution_gradient(
    dz, z, row, stride, d, flat, gate, on, sums, mean, rstd, first, lanes, channels, mask, share,
    C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dz of one convolution; nothing where off."""
    scale = load_row(rstd, row, channels, C, on, ACC)
    slope = load_row(sums, row + 1, channels, C, on, ACC) * share
    value = load_tile(z, first, lanes, channels, stride, only(mask, on), ACC)
    zhat = (value - load_row(mean, row, channels, C, on, ACC)[None, :]) * scale[None, :]
    out = (gate * scale)[None, :] * (d - flat[None, :] - zhat * slope[None, :])
    store_tile(dz, first, lanes, channels, stride, out, only(mask, on))


@triton.jit
def _both_gradients(
    da, db, a, b, INPUT: tl.constexpr, EDGE: tl.constexpr, d, flat, gates, sums, mean, rstd, layout, on, first, lanes,
    channels, mask, share, C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dz of both convolutions of an input."""
    on1, on3 = bit(on, 4 * INPUT + 1), bit(on, 4 * INPUT + 2)
    n1, n3 = nibble(layout, 2 * INPUT) * C, nibble(layout, 2 * INPUT + 1) * C
    gate1, gate3 = load_gate(gates, EDGE, 2, on1, ACC), load_gate(gates, EDGE, 3, on3, ACC)
    _convolution_gradient(
        da, a, 2 * INPUT, n1, d, flat, gate1, on1, sums, mean, rstd, first, lanes, channels, mask, share, C, ACC
    )  # fmt: skip
    _convolution_gradient(
        db, b, 2 * INPUT + 1, n3, d, flat, gate3, on3, sums, mean, rstd, first, lanes, channels, mask, share, C, ACC
    )  # fmt: skip


@triton.jit(do_not_specialize=["layout", "on", "pixels"])
def convolutions_kernel(
    grad, gates, sums, mean, rstd, a0, a1, a2, b0, b1, b2, da0, da1, da2, db0, db1, db2, layout, on, pixels,
    C: tl.constexpr, SOURCES: tl.constexpr, TRAINING: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """One tile of dz of every convolution of a node. `sums[1 + 2 SOURCES, C]` as `sums_kernel` orders them."""
    first, lanes, there = pixels_of_tile(tl.program_id(0), pixels, BLOCK_P)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = there[:, None] & (channels < C)[None, :]
    EDGE: tl.constexpr = SOURCES * (SOURCES - 1) // 2
    share = 1.0 / pixels.to(ACC)
    if not TRAINING:
        share = share * 0.0
    flat = load_row(sums, 0, channels, C, 1, ACC) * share
    d = load_tile(grad, first, lanes, channels, C, mask, ACC)
    _both_gradients(
        da0, db0, a0, b0, 0, EDGE, d, flat, gates, sums, mean, rstd, layout, on, first, lanes, channels, mask, share,
        C, ACC,
    )  # fmt: skip
    if SOURCES > 1:
        _both_gradients(
            da1, db1, a1, b1, 1, EDGE + 1, d, flat, gates, sums, mean, rstd, layout, on, first, lanes, channels, mask,
            share, C, ACC,
        )  # fmt: skip
    if SOURCES > 2:
        _both_gradients(
            da2, db2, a2, b2, 2, EDGE + 2, d, flat, gates, sums, mean, rstd, layout, on, first, lanes, channels, mask,
            share, C, ACC,
        )  # fmt: skip


def node_sums(
    grad: Tensor, mean: Tensor, rstd: Tensor, conv1: list[Tensor], conv3: list[Tensor], layout: int, on: int
) -> Tensor:
    """S_0 and S of every convolution of a node: `[1 + 2 n, C]`, in the accumulator's precision. 0 where off."""
    n = len(conv1)
    batch, channels, height, width = grad.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    programs, each = split(pixels, block_p)
    partial = torch.empty(1 + 2 * n, programs, channels, dtype=accumulator(grad.dtype), device=grad.device)
    a, b = (conv1 * 3)[:3], (conv3 * 3)[:3]
    sums_kernel[(programs, -(-channels // block_c))](
        partial, grad, mean, rstd, *a, *b, layout, on, pixels, each, C=channels, SOURCES=n, BLOCK_P=block_p,
        BLOCK_C=block_c, ACC=triton_type(grad.dtype), **OPTIONS,
    )  # fmt: skip
    return partial.sum(1)


def node_convolutions(
    grad: Tensor, gates: Tensor, sums: Tensor, mean: Tensor, rstd: Tensor, conv1: list[Tensor], conv3: list[Tensor],
    grad1: list[Tensor], grad3: list[Tensor], layout: int, on: int, *, training: bool,
) -> None:  # fmt: skip
    """Write dz of every convolution of a node into `grad1`, `grad3` (slices laid out as `conv1`, `conv3`)."""
    n = len(conv1)
    batch, channels, height, width = grad.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    a, b, da, db = ((part * 3)[:3] for part in (conv1, conv3, grad1, grad3))
    convolutions_kernel[(-(-pixels // block_p), -(-channels // block_c))](
        grad, gates, sums, mean, rstd, *a, *b, *da, *db, layout, on, pixels, C=channels, SOURCES=n, TRAINING=training,
        BLOCK_P=block_p, BLOCK_C=block_c, ACC=triton_type(grad.dtype), **OPTIONS,
    )  # fmt: skip

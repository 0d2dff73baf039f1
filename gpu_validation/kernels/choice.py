"""The choice block of NAS-Bench-1Shot1 in the manner of K2 and K3: one pass forward, two and a half backward.

    out = g_0 maxpool3(x) + g_1 relu((z3 - mean) rstd) + g_2 relu((z1 - mean) rstd),   z3 = conv3x3(x), z1 = conv1x1(x)

(options in the order of `nasbench_sim.spaces.nb1shot1.OPS`; rows of mean and rstd: conv1x1, conv3x3, as `statistics`
leaves them). The forward pass keeps one byte an element, which of the nine was the largest (the first, as PyTorch), and
    dx = g_0 pool^T(d) + r1 + r3;   dg_0 = <d, maxpool3(x)> = <pool^T(d), x>
    y = relu(zhat);  e = d [zhat > 0];  dg = sum d y;  dz = g rstd [e - (sum e + zhat sum d y) / P]
since e zhat = d y: here too the gate's gradient is batch normalisation's own sum.

`on`: bit 0 the pool, bit 1 the 1x1, bit 2 the 3x3 convolution; in `choice_source` bits 0, 1 (r1), 2 (r3), 3 (dx).
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
    load_row,
    load_tile,
    only,
    pixels_of_tile,
    rows_and_columns,
    store_tile,
    triton_type,
)


@triton.jit
def _gate(gates, option, on, ACC: tl.constexpr):
    return tl.load(gates + option, mask=on > 0, other=0.0).to(ACC)


@triton.jit
def _zhat(
    z, row: tl.constexpr, on, mean, rstd, first, lanes, channels, mask, C: tl.constexpr, ACC: tl.constexpr
):  # fmt: skip
    """Normalised convolution; 0 where off."""
    value = load_tile(z, first, lanes, channels, C, only(mask, on), ACC)
    middle, scale = load_row(mean, row, channels, C, on, ACC), load_row(rstd, row, channels, C, on, ACC)
    return (value - middle[None, :]) * scale[None, :]


@triton.jit(do_not_specialize=["on", "pixels"])
def choice_kernel(
    out, chosen, gates, mean, rstd, x, a, b, on, pixels, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One tile of the block. chosen: which of the nine, uint8; a, b: 1x1 and 3x3 convolutions."""
    first, lanes, there = pixels_of_tile(tl.program_id(0), pixels, BLOCK_P)
    rows, columns = rows_and_columns(first, lanes, H, W)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    wide = (channels < C)[None, :]
    mask = there[:, None] & wide
    pool, conv1, conv3 = bit(on, 0), bit(on, 1), bit(on, 2)

    largest = tl.full([BLOCK_P, BLOCK_C], float("-inf"), ACC)
    place = tl.full([BLOCK_P, BLOCK_C], 4, tl.int32)
    for DH in range(-1, 2):
        tall = only(there, pool) & inside(rows, DH, H)
        for DW in tl.static_range(-1, 2):
            near = (tall & inside(columns, DW, W))[:, None] & wide
            value = load_tile(x, first, lanes + (DH * W + DW), channels, C, near, ACC)
            better = near & ((value > largest) | (value != value))  # the first of equals; NaN wins, as in PyTorch
            largest = tl.where(better, value, largest)
            place = tl.where(better, 3 * DH + DW + 4, place)
    store_tile(chosen, first, lanes, channels, C, place, only(mask, pool))

    total = _gate(gates, 0, pool, ACC) * tl.where(only(mask, pool), largest, 0.0)
    y = _zhat(b, 1, conv3, mean, rstd, first, lanes, channels, mask, C, ACC)
    total += _gate(gates, 1, conv3, ACC) * tl.where(y < 0, 0.0, y)
    y = _zhat(a, 0, conv1, mean, rstd, first, lanes, channels, mask, C, ACC)
    total += _gate(gates, 2, conv1, ACC) * tl.where(y < 0, 0.0, y)
    store_tile(out, first, lanes, channels, C, total, mask)


@triton.jit
def _store(partial, number: tl.constexpr, channels, total, C: tl.constexpr):
    where = partial + (number * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * C + channels
    tl.store(where, tl.sum(total, 0), mask=channels < C)


@triton.jit(do_not_specialize=["on", "pixels", "tiles"])
def choice_sums_kernel(
    partial, grad, mean, rstd, a, b, on, pixels, tiles,
    C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """`partial[4, programs, C]`: sum e, sum d y of the 1x1 convolution, then of the 3x3 one."""
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    flat1 = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    flat3, slope1, slope3 = flat1, flat1, flat1
    for tile in range(tiles):
        first, lanes, there = pixels_of_tile(tl.program_id(0).to(tl.int64) * tiles + tile, pixels, BLOCK_P)
        mask = there[:, None] & (channels < C)[None, :]
        d = load_tile(grad, first, lanes, channels, C, mask, ACC)
        zhat = _zhat(a, 0, bit(on, 1), mean, rstd, first, lanes, channels, mask, C, ACC)
        e = tl.where((zhat > 0) & mask, d, 0.0)
        flat1 += e
        slope1 += e * zhat
        zhat = _zhat(b, 1, bit(on, 2), mean, rstd, first, lanes, channels, mask, C, ACC)
        e = tl.where((zhat > 0) & mask, d, 0.0)
        flat3 += e
        slope3 += e * zhat
    _store(partial, 0, channels, flat1, C)
    _store(partial, 1, channels, slope1, C)
    _store(partial, 2, channels, flat3, C)
    _store(partial, 3, channels, slope3, C)


@triton.jit
def _gradient(
    dz, z, row: tl.constexpr, gate, on, d, sums, mean, rstd, first, lanes, channels, mask, share, C: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """dz of one convolution; nothing where off."""
    zhat = _zhat(z, row, on, mean, rstd, first, lanes, channels, mask, C, ACC)
    flat = load_row(sums, 2 * row, channels, C, on, ACC) * share
    slope = load_row(sums, 2 * row + 1, channels, C, on, ACC) * share
    scale = gate * load_row(rstd, row, channels, C, on, ACC)
    out = scale[None, :] * (tl.where(zhat > 0, d, 0.0) - flat[None, :] - zhat * slope[None, :])
    store_tile(dz, first, lanes, channels, C, out, only(mask, on))


@triton.jit(do_not_specialize=["on", "pixels"])
def choice_convolutions_kernel(
    da, db, grad, gates, sums, mean, rstd, a, b, on, pixels,
    C: tl.constexpr, TRAINING: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One tile of dz of both convolutions."""
    first, lanes, there = pixels_of_tile(tl.program_id(0), pixels, BLOCK_P)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = there[:, None] & (channels < C)[None, :]
    share = 1.0 / pixels.to(ACC)
    if not TRAINING:
        share = share * 0.0
    d = load_tile(grad, first, lanes, channels, C, mask, ACC)
    conv1, conv3 = bit(on, 1), bit(on, 2)
    gate1, gate3 = _gate(gates, 2, conv1, ACC), _gate(gates, 1, conv3, ACC)
    _gradient(da, a, 0, gate1, conv1, d, sums, mean, rstd, first, lanes, channels, mask, share, C, ACC)
    _gradient(db, b, 1, gate3, conv3, d, sums, mean, rstd, first, lanes, channels, mask, share, C, ACC)


@triton.jit(do_not_specialize=["on", "pixels", "tiles"])
def choice_source_kernel(
    dx, partial, gates, x, chosen, r1, r3, grad, on, pixels, tiles,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """dx, and <pool^T(d), x> over this program's pixels -> `partial[program]`."""
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    wide = (channels < C)[None, :]
    pool = bit(on, 0)
    gate = _gate(gates, 0, pool, ACC)
    pools = tl.zeros([BLOCK_P], ACC)
    for tile in range(tiles):
        first, lanes, there = pixels_of_tile(tl.program_id(0).to(tl.int64) * tiles + tile, pixels, BLOCK_P)
        rows, columns = rows_and_columns(first, lanes, H, W)
        mask = there[:, None] & wide
        v = tl.zeros([BLOCK_P, BLOCK_C], ACC)
        for DH in range(-1, 2):
            tall = only(there, pool) & inside(rows, DH, H)
            for DW in range(-1, 2):  # a loop: unrolled, sm_100 spills 8 bytes
                near = (tall & inside(columns, DW, W))[:, None] & wide
                shifted = lanes + (DH * W + DW)
                place = load_tile(chosen, first, shifted, channels, C, near, tl.int32)
                d = load_tile(grad, first, shifted, channels, C, near, ACC)
                v += tl.where(near & (place == 4 - 3 * DH - DW), d, 0.0)  # seen from there, we are at (-DH, -DW)
        value = load_tile(x, first, lanes, channels, C, only(mask, pool), ACC)
        pools += tl.sum(v * value, 1)
        total = gate * v + load_tile(r1, first, lanes, channels, C, only(mask, bit(on, 1)), ACC)
        total += load_tile(r3, first, lanes, channels, C, only(mask, bit(on, 2)), ACC)
        store_tile(dx, first, lanes, channels, C, total, only(mask, bit(on, 3)))
    tl.store(partial + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), tl.sum(pools, 0))


def choice(
    gates: Tensor, mean: Tensor, rstd: Tensor, x: Tensor, conv1: Tensor, conv3: Tensor, on: int
) -> tuple[Tensor, Tensor]:
    """Value `[B, C, H, W]` and, for `choice_source`, which neighbour was the largest (uint8).

    `gates[3]` in the accumulator's precision; `mean`, `rstd` `[2, C]`; all maps channels-last.
    """
    batch, channels, height, width = x.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    out = empty_like_pixels(x)
    chosen = torch.empty(x.shape, dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)
    choice_kernel[(-(-pixels // block_p), -(-channels // block_c))](
        out, chosen, gates, mean, rstd, x, conv1, conv3, on, pixels, C=channels, H=height, W=width, BLOCK_P=block_p,
        BLOCK_C=block_c, ACC=triton_type(x.dtype), **OPTIONS,
    )  # fmt: skip
    return out, chosen


def choice_convolutions(
    grad: Tensor, gates: Tensor, mean: Tensor, rstd: Tensor, conv1: Tensor, conv3: Tensor, on: int, *, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gates' gradients `[2]` (conv1x1, conv3x3) and dz of both convolutions (uninitialised where off)."""
    batch, channels, height, width = grad.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    programs, each = split(pixels, block_p)
    across = -(-channels // block_c)
    partial = torch.empty(4, programs, channels, dtype=accumulator(grad.dtype), device=grad.device)
    kind = triton_type(grad.dtype)
    choice_sums_kernel[(programs, across)](
        partial, grad, mean, rstd, conv1, conv3, on, pixels, each, C=channels, BLOCK_P=block_p, BLOCK_C=block_c,
        ACC=kind, **OPTIONS,
    )  # fmt: skip
    sums = partial.sum(1)
    da, db = empty_like_pixels(grad), empty_like_pixels(grad)
    choice_convolutions_kernel[(-(-pixels // block_p), across)](
        da, db, grad, gates, sums, mean, rstd, conv1, conv3, on, pixels, C=channels, TRAINING=training,
        BLOCK_P=block_p, BLOCK_C=block_c, ACC=kind, **OPTIONS,
    )  # fmt: skip
    return sums[1::2].sum(1), da, db


def choice_source(
    grad: Tensor, gates: Tensor, x: Tensor, chosen: Tensor, r1: Tensor | None, r3: Tensor | None, pool: int, *,
    need_dx: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The pool gate's gradient (a scalar) and dx, None if not needed. `r1`, `r3`: what the convolutions send back."""
    batch, channels, height, width = x.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    programs, each = split(pixels, block_p)
    across = -(-channels // block_c)
    out = empty_like_pixels(x) if need_dx else None
    partial = torch.empty(programs * across, dtype=accumulator(x.dtype), device=x.device)
    on = pool | (r1 is not None) << 1 | (r3 is not None) << 2 | need_dx << 3
    r1, r3 = (x if r is None else r for r in (r1, r3))
    choice_source_kernel[(programs, across)](
        x if out is None else out, partial, gates, x, chosen, r1, r3, grad, on, pixels, each, C=channels, H=height,
        W=width, BLOCK_P=block_p, BLOCK_C=block_c, ACC=triton_type(x.dtype), **OPTIONS,
    )  # fmt: skip
    return partial.sum(), out

"""K2: the value of a node in one pass: every convolution and every input is read once, the node is written once.

    node = sum_i [ g_skip x_i + g_pool pool(x_i) + g_1 (z1_i - mean) rstd + g_3 (z3_i - mean) rstd ]

Pooling is linear: the pool of the weighted sum of the inputs is taken, at 9 shifted reads an input, of which the
caches keep 8 from memory. Which options run is an integer, not a part of the kernel: a program is compiled once for a
number of inputs, channels and an image size, and no mask or gate ever recompiles it.

Integers that describe a node with inputs i = 0, 1, 2 (edge of input i of a node with n inputs: n (n - 1) / 2 + i):
    on      bit 4 i + option - 1: that option of that edge runs (skip 0, conv1x1 1, conv3x3 2, pool 3)
    layout  nibble 2 i + which: the convolution is a slice of a tensor of that many times C channels
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from gpu_validation.kernels.shapes import blocks, empty_like_pixels
from gpu_validation.kernels.tiles import (
    OPTIONS,
    bit,
    inside,
    load_gate,
    load_row,
    load_tile,
    nibble,
    only,
    pixels_of_tile,
    rows_and_columns,
    store_tile,
    triton_type,
    window,
)


@triton.jit
def _normalised(
    total, z, row, stride, gate, on, mean, rstd, first, lanes, channels, mask, C: tl.constexpr, ACC: tl.constexpr
):
    """total + gate (z - mean) rstd; `total` where off."""
    value = load_tile(z, first, lanes, channels, stride, only(mask, on), ACC)
    scale = gate * load_row(rstd, row, channels, C, on, ACC)
    return total + (value - load_row(mean, row, channels, C, on, ACC)[None, :]) * scale[None, :]


@triton.jit
def _convolutions(
    total, gates, mean, rstd, a, b, INPUT: tl.constexpr, EDGE: tl.constexpr, layout, on, first, lanes, channels, mask,
    C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """total + both convolutions of one input."""
    on1, on3 = bit(on, 4 * INPUT + 1), bit(on, 4 * INPUT + 2)
    gate1, gate3 = load_gate(gates, EDGE, 2, on1, ACC), load_gate(gates, EDGE, 3, on3, ACC)
    stride1, stride3 = nibble(layout, 2 * INPUT) * C, nibble(layout, 2 * INPUT + 1) * C
    total = _normalised(
        total, a, 2 * INPUT, stride1, gate1, on1, mean, rstd, first, lanes, channels, mask, C, ACC
    )  # fmt: skip
    return _normalised(
        total, b, 2 * INPUT + 1, stride3, gate3, on3, mean, rstd, first, lanes, channels, mask, C, ACC
    )  # fmt: skip


@triton.jit(do_not_specialize=["layout", "on", "pixels"])
def node_kernel(
    out, gates, mean, rstd, x0, x1, x2, a0, a1, a2, b0, b1, b2, layout, on, pixels,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, SOURCES: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One tile of the node. x, out: pixels by C; a, b: its 1x1 and 3x3 convolutions; mean, rstd: `[2 SOURCES, C]`."""
    first, lanes, there = pixels_of_tile(tl.program_id(0), pixels, BLOCK_P)
    rows, columns = rows_and_columns(first, lanes, H, W)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    wide = (channels < C)[None, :]
    mask = there[:, None] & wide
    EDGE: tl.constexpr = SOURCES * (SOURCES - 1) // 2

    pool0, pool1, pool2 = bit(on, 3), bit(on, 7), bit(on, 11)
    pool = load_gate(gates, EDGE, 4, pool0, ACC)
    total = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    for DH in range(-1, 2):  # not unrolled: ptxas would hoist 27 loads and spill
        tall = there & inside(rows, DH, H)
        for DW in tl.static_range(-1, 2):
            near = (tall & inside(columns, DW, W))[:, None] & wide
            shifted = lanes + (DH * W + DW)
            total += pool * load_tile(x0, first, shifted, channels, C, only(near, pool0), ACC)
            if SOURCES > 1:
                gate = load_gate(gates, EDGE + 1, 4, pool1, ACC)
                total += gate * load_tile(x1, first, shifted, channels, C, only(near, pool1), ACC)
            if SOURCES > 2:
                gate = load_gate(gates, EDGE + 2, 4, pool2, ACC)
                total += gate * load_tile(x2, first, shifted, channels, C, only(near, pool2), ACC)
    total = total / (window(rows, H) * window(columns, W)).to(ACC)[:, None]

    skip = bit(on, 0)
    total += load_gate(gates, EDGE, 1, skip, ACC) * load_tile(x0, first, lanes, channels, C, only(mask, skip), ACC)
    total = _convolutions(
        total, gates, mean, rstd, a0, b0, 0, EDGE, layout, on, first, lanes, channels, mask, C, ACC
    )  # fmt: skip
    if SOURCES > 1:
        skip = bit(on, 4)
        total += load_gate(gates, EDGE + 1, 1, skip, ACC) * load_tile(
            x1, first, lanes, channels, C, only(mask, skip), ACC
        )
        total = _convolutions(
            total, gates, mean, rstd, a1, b1, 1, EDGE + 1, layout, on, first, lanes, channels, mask, C, ACC
        )  # fmt: skip
    if SOURCES > 2:
        skip = bit(on, 8)
        total += load_gate(gates, EDGE + 2, 1, skip, ACC) * load_tile(
            x2, first, lanes, channels, C, only(mask, skip), ACC
        )
        total = _convolutions(
            total, gates, mean, rstd, a2, b2, 2, EDGE + 2, layout, on, first, lanes, channels, mask, C, ACC
        )  # fmt: skip
    store_tile(out, first, lanes, channels, C, total, mask)


def node(
    gates: Tensor, mean: Tensor, rstd: Tensor, inputs: list[Tensor], conv1: list[Tensor], conv3: list[Tensor],
    layout: int, on: int,
) -> Tensor:  # fmt: skip
    """Value `[B, C, H, W]` (channels-last) of the node with these 1, 2 or 3 inputs.

    `gates[6, 5]` in the accumulator's precision, of the whole cell; `mean`, `rstd` `[2 n, C]` of this node's
    convolutions; `conv1`, `conv3`, `layout`, `on`: as for `statistics`.
    """
    n, like = len(inputs), inputs[0]
    batch, channels, height, width = like.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    out = empty_like_pixels(like)
    x, a, b = ((part * 3)[:3] for part in (inputs, conv1, conv3))
    node_kernel[(-(-pixels // block_p), -(-channels // block_c))](
        out, gates, mean, rstd, *x, *a, *b, layout, on, pixels, C=channels, H=height, W=width, SOURCES=n,
        BLOCK_P=block_p, BLOCK_C=block_c, ACC=triton_type(like.dtype), **OPTIONS,
    )  # fmt: skip
    return out

"""K1: mean and reciprocal standard deviation of every convolution that enters a node, in one pass over them.

Each lane runs Welford's recurrence over the tiles of its program, lanes and then programs are merged by the exact rule
    mean = sum_g n_g mean_g / n,    M2 = sum_g [M2_g + n_g (mean_g - mean)^2],
so that nothing is subtracted that is larger than the spread: a channel of mean 10^4 and spread 1 keeps its variance in
float32, where E[z^2] - E[z]^2 has none of it left.

Sources: Welford 1962; Chan, Golub & LeVeque 1983 (the merge).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gpu_validation.contracts import BN_EPS
from gpu_validation.kernels.shapes import accumulator, blocks, split
from gpu_validation.kernels.tiles import OPTIONS, bit, load_tile, nibble, only, pixels_of_tile, triton_type

MERGED = 32


@triton.jit
def _one(
    partial, number, z, stride, on, pixels, tiles, C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Mean and M2 of one convolution over this program's pixels -> `partial[number, 0 and 1, program]`."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    spread = tl.zeros([BLOCK_P, BLOCK_C], ACC)
    count = tl.zeros([BLOCK_P], ACC)
    for tile in range(tiles):
        first, lanes, there = pixels_of_tile(program.to(tl.int64) * tiles + tile, pixels, BLOCK_P)
        mask = only(there, on)[:, None] & (channels < C)[None, :]
        value = load_tile(z, first, lanes, channels, stride, mask, ACC)
        count += there.to(ACC)
        share = (there.to(ACC) / tl.maximum(count, 1.0))[:, None]
        away = value - mean
        mean += away * share
        spread += tl.where(there[:, None], away * (value - mean), 0.0)
    total = tl.maximum(tl.sum(count, 0), 1.0)
    middle = tl.sum(mean * count[:, None], 0) / total
    away = mean - middle[None, :]
    inner = tl.sum(spread + away * away * count[:, None], 0)
    where = partial + (2 * number * programs + program).to(tl.int64) * C + channels
    tl.store(where, middle, mask=channels < C)
    tl.store(where + programs.to(tl.int64) * C, inner, mask=channels < C)


@triton.jit(do_not_specialize=["layout", "on", "pixels", "tiles"])
def statistics_kernel(
    partial, a0, a1, a2, b0, b1, b2, layout, on, pixels, tiles,
    C: tl.constexpr, SOURCES: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Partial statistics `[2 SOURCES, 2, programs, C]`; a: 1x1, b: 3x3 convolutions of the inputs 0, 1, 2."""
    _one(partial, 0, a0, nibble(layout, 0) * C, bit(on, 1), pixels, tiles, C, BLOCK_P, BLOCK_C, ACC)
    _one(partial, 1, b0, nibble(layout, 1) * C, bit(on, 2), pixels, tiles, C, BLOCK_P, BLOCK_C, ACC)
    if SOURCES > 1:
        _one(partial, 2, a1, nibble(layout, 2) * C, bit(on, 5), pixels, tiles, C, BLOCK_P, BLOCK_C, ACC)
        _one(partial, 3, b1, nibble(layout, 3) * C, bit(on, 6), pixels, tiles, C, BLOCK_P, BLOCK_C, ACC)
    if SOURCES > 2:
        _one(partial, 4, a2, nibble(layout, 4) * C, bit(on, 9), pixels, tiles, C, BLOCK_P, BLOCK_C, ACC)
        _one(partial, 5, b2, nibble(layout, 5) * C, bit(on, 10), pixels, tiles, C, BLOCK_P, BLOCK_C, ACC)


@triton.jit(do_not_specialize=["pixels", "each", "programs"])
def merge_kernel(
    mean, var, rstd, partial, pixels, each, programs,
    C: tl.constexpr, EPS: tl.constexpr, BLOCK_C: tl.constexpr, MERGED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The programs' statistics, merged: rows `[2 SOURCES, C]` of mean, biased variance and 1/sqrt(variance + EPS)."""
    number = tl.program_id(0)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    lanes = tl.arange(0, MERGED)
    table = partial + number.to(tl.int64) * (2 * programs * C)
    total = tl.zeros([MERGED, BLOCK_C], ACC)
    for start in range(0, programs, MERGED):
        row = start + lanes
        mask = (row < programs)[:, None] & (channels < C)[None, :]
        n = tl.maximum(tl.minimum(pixels - row.to(tl.int64) * each, each), 0).to(ACC)
        total += n[:, None] * tl.load(table + row[:, None] * C + channels[None, :], mask=mask, other=0.0)
    middle = tl.sum(total, 0) / pixels.to(ACC)
    total = tl.zeros([MERGED, BLOCK_C], ACC)
    for start in range(0, programs, MERGED):
        row = start + lanes
        mask = (row < programs)[:, None] & (channels < C)[None, :]
        n = tl.maximum(tl.minimum(pixels - row.to(tl.int64) * each, each), 0).to(ACC)
        where = table + row[:, None] * C + channels[None, :]
        away = tl.where(mask, tl.load(where, mask=mask, other=0.0) - middle[None, :], 0.0)
        total += tl.load(where + programs * C, mask=mask, other=0.0) + n[:, None] * away * away
    variance = tl.sum(total, 0) / pixels.to(ACC)
    where = number * C + channels
    tl.store(mean + where, middle, mask=channels < C)
    tl.store(var + where, variance, mask=channels < C)
    tl.store(rstd + where, 1.0 / tl.sqrt(variance + EPS), mask=channels < C)


def statistics(
    mean: Tensor, var: Tensor, rstd: Tensor, conv1: list[Tensor], conv3: list[Tensor], layout: int, on: int
) -> None:
    """Fill the rows `[2 n, C]` of `mean`, `var` and `rstd`: (conv1x1, conv3x3) of each of the n inputs of a node.

    `conv1`, `conv3`: n views `[B, C, H, W]` of channels-last tensors, of `nibble(layout, 2 i + which)` C channels each;
    `on`: bits 4 i + 1 and 4 i + 2 say which of them are there (rows of the others: 0 and 1/sqrt(eps)).
    """
    n, like = len(conv1), conv1[0]
    batch, channels, height, width = like.shape
    pixels = batch * height * width
    block_p, block_c = blocks(channels)
    programs, each = split(pixels, block_p)
    across = -(-channels // block_c)
    partial = torch.empty(2 * n, 2, programs, channels, dtype=accumulator(like.dtype), device=like.device)
    a, b = (conv1 * 3)[:3], (conv3 * 3)[:3]
    kind = triton_type(like.dtype)
    statistics_kernel[(programs, across)](
        partial, *a, *b, layout, on, pixels, each, C=channels, SOURCES=n, BLOCK_P=block_p, BLOCK_C=block_c, ACC=kind,
        **OPTIONS,
    )  # fmt: skip
    merge_kernel[(2 * n, across)](
        mean, var, rstd, partial, pixels, each * block_p, programs, C=channels, EPS=BN_EPS, BLOCK_C=block_c,
        MERGED=MERGED, ACC=kind, **OPTIONS,
    )  # fmt: skip

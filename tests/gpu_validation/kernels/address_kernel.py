"""A kernel that writes down what the helpers of all kernels say of a tile; imported late, as all that needs Triton."""

# mypy: allow-untyped-defs
from __future__ import annotations

import triton
import triton.language as tl

from gpu_validation.kernels.tiles import pixels_of_tile, rows_and_columns


@triton.jit
def addresses(out, index, pixels, stride, BLOCK_P: tl.constexpr):
    """Offset of every lane, its place in an image of 7 x 5, and whether it is a pixel."""
    first, lanes, there = pixels_of_tile(index, pixels, BLOCK_P)
    rows, columns = rows_and_columns(first, lanes, 7, 5)
    tl.store(out + lanes, first * stride + lanes * stride)
    tl.store(out + BLOCK_P + lanes, rows.to(tl.int64) * 5 + columns)
    tl.store(out + 2 * BLOCK_P + lanes, there.to(tl.int64))

"""What all kernels share: tiles of pixels by channels, bits in an integer, and the host's side of both.

Addresses are a 64-bit scalar (the tile's first pixel times the stride) plus 32-bit offsets within the tile: no
overflow however large the tensor, and no 64-bit arithmetic a lane.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from nasbench_sim.errors import SpecError

#: elements of a tile: with 4 warps 8 a thread, which is one 16-byte load of a 16-bit tensor and two of float32
ELEMENTS = 1024
#: programs of a reduction at most: about four a multiprocessor on the largest GPUs; more only add partial sums
PROGRAMS = 512
MAX_BLOCK_C = 128
#: of every launch: fused multiply-adds, said aloud because Triton 3.10 changes its default
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@triton.jit
def bit(word, place):
    """A bit of an integer: 0 or 1."""
    return (word >> place) & 1


@triton.jit
def only(mask, on):
    """`mask` if `on` is 1, else nothing. (The interpreter broadcasts a scalar comparison to integers, hence the sum.)"""
    return mask & ((tl.zeros(mask.shape, tl.int32) + on) > 0)


@triton.jit
def nibble(word, place):
    """Four bits of an integer."""
    return (word >> (4 * place)) & 15


@triton.jit
def pixels_of_tile(index, pixels, BLOCK_P: tl.constexpr):
    """First pixel of tile `index` (64 bits), the lanes, and which of them are pixels."""
    first = index.to(tl.int64) * BLOCK_P
    lanes = tl.arange(0, BLOCK_P)
    left = tl.minimum(tl.maximum(pixels - first, 0), BLOCK_P).to(tl.int32)
    return first, lanes, lanes < left


@triton.jit
def rows_and_columns(first, lanes, H: tl.constexpr, W: tl.constexpr):
    """Row and column in its image of each lane."""
    place = (first % (H * W)).to(tl.int32) + lanes
    return (place // W) % H, place % W


@triton.jit
def load_tile(pointer, first, lanes, channels, stride, mask, ACC: tl.constexpr):
    """Tile `[BLOCK_P, BLOCK_C]` in the accumulator's precision; 0 where masked. `stride`: elements from pixel to pixel."""
    where = pointer + first * stride + (lanes[:, None] * stride + channels[None, :])
    return tl.load(where, mask=mask, other=0.0).to(ACC)


@triton.jit
def store_tile(pointer, first, lanes, channels, stride, value, mask):
    """The reverse of `load_tile`, rounded once."""
    where = pointer + first * stride + (lanes[:, None] * stride + channels[None, :])
    tl.store(where, value.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def load_row(pointer, row, channels, C: tl.constexpr, on, ACC: tl.constexpr):
    """One row `[BLOCK_C]` of a small table `[rows, C]`; 0 where off."""
    return tl.load(pointer + row * C + channels, mask=only(channels < C, on), other=0.0).to(ACC)


@triton.jit
def load_gate(gates, edge, option, on, ACC: tl.constexpr):
    """`gates[edge, option]` of a table with 5 options a row; 0 where off."""
    return tl.load(gates + edge * 5 + option, mask=on > 0, other=0.0).to(ACC)


@triton.jit
def inside(rows, columns, down, right, H: tl.constexpr, W: tl.constexpr):
    """Whether the neighbour at (down, right) lies in the image."""
    return (rows + down >= 0) & (rows + down < H) & (columns + right >= 0) & (columns + right < W)


@triton.jit
def window(rows, columns, H: tl.constexpr, W: tl.constexpr):
    """Pixels of the image in the 3x3 window around (rows, columns), which must lie in it."""
    high = 3 - (rows == 0).to(tl.int32) - (rows == H - 1).to(tl.int32)
    wide = 3 - (columns == 0).to(tl.int32) - (columns == W - 1).to(tl.int32)
    return high * wide


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Precision of sums over a tensor of this precision.

    >>> accumulator(torch.bfloat16), accumulator(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def triton_type(dtype: torch.dtype) -> Any:
    """Triton's name of the accumulator of `dtype`."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def blocks(channels: int) -> tuple[int, int]:
    """Pixels and channels of a tile.

    >>> blocks(16), blocks(3), blocks(640)
    ((64, 16), (256, 4), (8, 128))
    """
    wide = min(MAX_BLOCK_C, 1 << (channels - 1).bit_length())
    return ELEMENTS // wide, wide


def split(pixels: int, block: int) -> tuple[int, int]:
    """Programs of a reduction over `pixels`, and tiles of `block` pixels each of them goes through.

    >>> split(65536, 64), split(100, 64), split(65537, 64)
    ((512, 2), (2, 1), (342, 3))
    """
    tiles = -(-pixels // block)
    each = -(-tiles // PROGRAMS)
    return -(-tiles // each), each


def interpreted() -> bool:
    """Whether Triton interprets these kernels (`TRITON_INTERPRET=1` when this module was imported)."""
    return not isinstance(bit, triton.JITFunction)


def require_device(tensor: Tensor) -> None:
    """Refuse a tensor that no kernel can be run on: SpecError in one line."""
    if tensor.is_cuda and interpreted():
        raise SpecError("TRITON_INTERPRET=1 makes Triton interpret its kernels on the CPU: unset it to use the GPU")
    if not tensor.is_cuda and not interpreted():
        raise SpecError(
            f"backend='triton' runs on a CUDA device and this tensor is on {tensor.device.type!r}: move it, take "
            "backend='fused', or set TRITON_INTERPRET=1 before Python starts (interpreted, for tests)"
        )
    if tensor.dtype not in DTYPES:
        names = ", ".join(str(d).removeprefix("torch.") for d in DTYPES)
        raise SpecError(f"backend='triton' computes in {names}, not in {str(tensor.dtype).removeprefix('torch.')}")


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """Makes the tensor's GPU the current one: Triton launches on the current one, whatever its arguments."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor with memory laid out as pixels by channels: itself where it already is.

    >>> channels_last(torch.zeros(2, 3, 4, 5)).stride()
    (60, 1, 15, 3)
    """
    return tensor.contiguous(memory_format=torch.channels_last)


def empty_like_pixels(tensor: Tensor) -> Tensor:
    """Uninitialised, channels-last, of the same shape."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=torch.channels_last)

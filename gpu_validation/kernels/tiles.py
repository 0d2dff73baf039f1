"""What all kernels share: tiles of pixels by channels, bits in an integer, and where kernels can run.

Addresses are a 64-bit scalar (the tile's first pixel times the stride) plus 32-bit offsets within the tile: no
overflow however large the tensor, and no 64-bit arithmetic a lane.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from nasbench_sim.errors import SpecError

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise SpecError("backend='triton' needs the package triton (Linux): install it, or take backend='fused'") from error

#: of every launch: fused multiply-adds, said aloud because Triton 3.10 changes its default
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@triton.jit
def bit(word, place):
    """A bit of an integer: 0 or 1."""
    return (word >> place) & 1


@triton.jit
def only(mask, on):
    """`mask` if `on` is 1, else nothing (a sum, since the interpreter broadcasts a scalar comparison to integers)."""
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
    """Tile `[BLOCK_P, BLOCK_C]` in the accumulator's precision, 0 where masked; `stride`: elements a pixel."""
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
def inside(place, step, SIZE: tl.constexpr):
    """Whether the neighbour `step` rows (or columns) on lies in an image of SIZE rows (columns)."""
    return (place + step >= 0) & (place + step < SIZE)


@triton.jit
def window(place, SIZE: tl.constexpr):
    """Rows (or columns) of the image in a window of 3 around `place`, which must lie in it."""
    return 3 - (place == 0).to(tl.int32) - (place == SIZE - 1).to(tl.int32)


def triton_type(dtype: torch.dtype) -> Any:
    """Triton's name of the accumulator of `dtype`."""
    return tl.float64 if dtype == torch.float64 else tl.float32


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

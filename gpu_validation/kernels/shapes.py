"""The host's side of the tiles: how a feature map is cut, and its memory. Imports no Triton."""

from __future__ import annotations

import torch
from torch import Tensor

#: elements of a tile: with 4 warps 8 a thread, which is one 16-byte load of a 16-bit tensor and two of float32
ELEMENTS = 1024
#: programs of a reduction at most: about four a multiprocessor on the largest GPUs; more only add partial sums
PROGRAMS = 512
MAX_BLOCK_C = 128


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Precision of sums over a tensor of this precision.

    >>> accumulator(torch.bfloat16), accumulator(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


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


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor with memory laid out as pixels by channels: itself where it already is.

    >>> channels_last(torch.zeros(2, 3, 4, 5)).stride()
    (60, 1, 15, 3)
    """
    return tensor.contiguous(memory_format=torch.channels_last)


def empty_like_pixels(tensor: Tensor) -> Tensor:
    """Uninitialised, channels-last, of the same shape."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=torch.channels_last)

"""What the Triton operations share beside their kernels: convolutions, checks, and no second derivative."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import BN_EPS, BN_MOMENTUM
from gpu_validation.kernels.shapes import accumulator, channels_last
from gpu_validation.reference.nb201 import RunningStats
from nasbench_sim.errors import RunError, SpecError


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolution with as much padding as keeps the size, channels-last."""
    return channels_last(F.conv2d(x, channels_last(weight), padding=weight.shape[-1] // 2))


def convolution_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, *, need_x: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `convolve` with respect to its input and its weight; None where not needed."""
    if not (need_x or need_weight):
        return None, None
    pad = weight.shape[-1] // 2
    dx, dw, _ = torch.ops.aten.convolution_backward(
        grad, x, channels_last(weight), None, [1, 1], [pad, pad], [1, 1], False, [0, 0], 1, [need_x, need_weight, False]
    )  # fmt: skip
    return (channels_last(dx) if need_x else None), dw


class _Once(torch.autograd.Function):
    """The identity on its last `count` arguments, with a backward that says why there is none."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if g is None else g.detach() for g in tensors[-count:])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RunError(
            "backend='triton' has first derivatives only (its backward is itself a kernel): take backend='reference' "
            "or finite differences for second derivatives"
        )


def once(arguments: Sequence[Tensor], grads: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Gradients that refuse, loudly, to be differentiated with respect to the `arguments` they were computed from.

    Themselves unless a graph of the backward pass is being built. (`once_differentiable` of PyTorch is not linked to
    the arguments, so that `torch.autograd.grad` complains of an unused tensor instead.)

    >>> x = torch.ones(1, requires_grad=True)
    >>> once([x], [x * 2])[0].sum().backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    nasbench_sim.errors.RunError: backend='triton' has first derivatives only ...
    """
    if not torch.is_grad_enabled():
        return tuple(grads)
    out: tuple[Tensor | None, ...] = _Once.apply(len(grads), *arguments, *grads)
    return out


def compute_dtype(x: Tensor) -> torch.dtype:
    """The precision to compute in: autocast's where it is on for the tensor's device, else the tensor's.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     compute_dtype(torch.zeros(1))
    torch.bfloat16
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype: torch.dtype = torch.get_autocast_dtype(device)
        return dtype
    return x.dtype


def check_shapes(**pairs: tuple[Tensor, Sequence[int]]) -> None:
    """Refuse tensors of another shape or on another device than the first; SpecError names the tensor.

    >>> check_shapes(gates=(torch.zeros(6, 4), (6, 5)))
    Traceback (most recent call last):
    nasbench_sim.errors.SpecError: gates has shape [6, 4], and [6, 5] is asked for
    """
    first = next(iter(pairs))
    for name, (tensor, shape) in pairs.items():
        if tuple(tensor.shape) != tuple(shape):
            raise SpecError(f"{name} has shape {list(tensor.shape)}, and {list(shape)} is asked for")
        if not tensor.is_floating_point():
            raise SpecError(f"{name} holds {tensor.dtype}, and floating-point numbers are asked for")
        if tensor.device != pairs[first][0].device:
            raise SpecError(f"{name} is on {tensor.device} and {first} on {pairs[first][0].device}: move one of them")


def check_precisions(x: Tensor, *weights: Tensor) -> None:
    """Refuse weights of another precision than x, but under autocast, which converts them."""
    if any(w.dtype != x.dtype for w in weights) and not torch.is_autocast_enabled(x.device.type):
        raise SpecError(f"x holds {x.dtype} and the weights {weights[0].dtype}: convert one of them, or use autocast")


def check_map(x: Tensor) -> None:
    """Refuse what is not a feature map `[B, C, H, W]` with at least one element."""
    if x.dim() != 4 or x.numel() == 0:
        raise SpecError(f"x has shape {list(x.shape)}, and [B, C, H, W], all at least 1, is asked for")


def by_batch(stats: RunningStats | None, training: bool, pixels: int, any_convolution: bool) -> bool:
    """Whether normalisation is by the mini-batch; SpecError where the batch has one value a channel."""
    batch = stats is None or training
    if batch and pixels == 1 and any_convolution:
        raise SpecError("batch statistics need more than one value a channel: B H W is 1 (larger batch or image)")
    return batch


def constants(stats: RunningStats, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Running mean and 1/sqrt(variance + eps), `[rows, C]` in the accumulator's precision."""
    wide = accumulator(dtype)
    channels = stats.mean.shape[-1]
    rstd = torch.rsqrt(stats.var.detach().to(wide) + BN_EPS).reshape(-1, channels)
    return stats.mean.detach().to(wide).reshape(-1, channels), rstd


def move(stats: RunningStats, mean: Tensor, var: Tensor, pixels: int, rows: Sequence[int]) -> None:
    """Running statistics moved towards the batch's, in place, as `F.batch_norm` does (its variance unbiased).

    `mean`, `var` (biased) `[rows, C]`; `rows`: those that were computed; the others stay.
    """
    with torch.no_grad():
        unbiased = var * (pixels / (pixels - 1))
        for running, batch in ((stats.mean, mean), (stats.var, unbiased)):
            flat, new = running.view(mean.shape), batch.to(running.dtype)
            if len(rows) == len(mean):
                flat.lerp_(new, BN_MOMENTUM)
                continue
            for row in rows:
                flat[row].lerp_(new[row], BN_MOMENTUM)

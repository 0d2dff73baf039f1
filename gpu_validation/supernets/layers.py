"""Layers whose weights are drawn from a given generator: the constructors of `torch.nn` draw from the global one.

`generator=None` means no numbers at all: tensors on the `meta` device, for counting parameters and operations.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from gpu_validation.contracts import BN_EPS, BN_MOMENTUM
from nasbench_sim.errors import SpecError, unknown

BATCH_NORMS = ("batch", "running")


Draw = Callable[[Sequence[int], float, Generator | None], nn.Parameter]


def uniform(shape: Sequence[int], fan_in: float, generator: Generator | None) -> nn.Parameter:
    """A parameter from U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for convolutions and linear layers.

    (`kaiming_uniform_` with a = sqrt 5, and the default of biases.) float32.

    >>> w = uniform((100, 4), 4, torch.Generator().manual_seed(1))
    >>> bool(0.48 < w.abs().max() < 0.5)
    True
    """
    if generator is None:
        return nn.Parameter(torch.empty(*shape, device="meta"))
    unit = torch.rand(*shape, generator=generator, dtype=torch.float32, device=generator.device)
    return nn.Parameter(unit.mul_(2).sub_(1).div_(math.sqrt(fan_in)))


def truncated_normal(shape: Sequence[int], fan_in: float, generator: Generator | None) -> nn.Parameter:
    """A parameter of variance 1/fan_in from a normal cut at two deviations: TensorFlow's `variance_scaling`.

    0.87962566103423978 is the deviation of a standard normal cut at -2 and 2.
    """
    if generator is None:
        return nn.Parameter(torch.empty(*shape, device="meta"))
    std = 1 / math.sqrt(fan_in) / 0.87962566103423978
    weight = torch.empty(*shape, dtype=torch.float32, device=generator.device)
    return nn.Parameter(nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator))


def filled(shape: Sequence[int], value: float, generator: Generator | None) -> Tensor:
    """A float32 tensor of one value, beside the weights that `generator` draws."""
    if generator is None:
        return torch.empty(*shape, device="meta")  # `full` takes 5 times as long there
    return torch.full(tuple(shape), value, dtype=torch.float32, device=generator.device)


class Conv(nn.Module):
    """A square convolution without bias, "same" padding: `[B, inputs, H, W]` -> `[B, outputs, ceil(H / stride), ...]`.

    >>> Conv(3, 8, 3, generator=None).weight.shape
    torch.Size([8, 3, 3, 3])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        draw: Draw = uniform,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.weight = draw((outputs, inputs, kernel, kernel), inputs * kernel * kernel, generator)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `x`."""
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.padding)


class BatchNorm(nn.Module):
    """Batch normalisation of `[B, C, H, W]`, without PyTorch's counter of batches.

    `affine`: a weight (1) and a bias (0) a channel. `running`: running mean and variance in the buffers `mean` and
    `var`, moved in training by `momentum` and used in evaluation; without it there are no buffers, and the mini-batch
    is always what is normalised by.
    """

    mean: Tensor | None
    var: Tensor | None

    def __init__(
        self,
        channels: int,
        *,
        affine: bool = True,
        running: bool,
        momentum: float = BN_MOMENTUM,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        self.momentum = momentum
        ones, zeros = (functools.partial(filled, (channels,), value, generator) for value in (1.0, 0.0))
        self.weight = nn.Parameter(ones()) if affine else None
        self.bias = nn.Parameter(zeros()) if affine else None
        self.register_buffer("mean", zeros() if running else None)
        self.register_buffer("var", ones() if running else None)

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalised."""
        by_batch = self.training or self.mean is None
        return F.batch_norm(x, self.mean, self.var, self.weight, self.bias, by_batch, self.momentum, BN_EPS)


class ConvBNRelu(nn.Module):
    """Convolution without bias, BN with affine part, ReLU: `[B, inputs, H, W]` -> `[B, outputs, H, W]`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        running: bool,
        draw: Draw = uniform,
        momentum: float = BN_MOMENTUM,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, kernel, draw=draw, generator=generator)
        self.norm = BatchNorm(outputs, running=running, momentum=momentum, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """The three, one after another."""
        return F.relu(self.norm(self.conv(x)))


class Linear(nn.Module):
    """The classifier: `[B, inputs]` -> `[B, outputs]`, with bias.

    `glorot`: TensorFlow's default, weights from U(+-sqrt(6 / (inputs + outputs))) and a bias of 0, in PyTorch's place.
    """

    def __init__(self, inputs: int, outputs: int, *, glorot: bool = False, generator: Generator | None) -> None:
        super().__init__()
        self.weight = uniform((outputs, inputs), (inputs + outputs) / 6 if glorot else inputs, generator)
        zero = filled((outputs,), 0.0, generator)
        self.bias = nn.Parameter(zero) if glorot else uniform((outputs,), inputs, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of `x`."""
        return F.linear(x, self.weight, self.bias)


def check_settings(network: str, batch_norm: str, **sizes: int) -> None:
    """Raise `SpecError` for an unknown `batch_norm`, and for what `check_sizes` refuses."""
    if batch_norm not in BATCH_NORMS:
        raise SpecError(f"{network}: {unknown('batch_norm', batch_norm, BATCH_NORMS)}")
    check_sizes(network, **sizes)


def check_sizes(network: str, **sizes: int) -> None:
    """Raise `SpecError` unless every size is a whole number of 1 or more.

    >>> check_sizes("NB201Supernet", channels=0)
    Traceback (most recent call last):
    nasbench_sim.errors.SpecError: NB201Supernet: channels is a whole number of 1 or more, got 0
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SpecError(f"{network}: {name} is a whole number of 1 or more, got {value!r}")


SMALLEST = 4


def check_images(network: str, images: Tensor, channels: int, *, by_batch: bool) -> None:
    """Raise `SpecError` unless `images` is `[B, channels, H, W]`, floating-point, with H and W of at least 4.

    Images are halved twice, so that 4 pixels leave one. `by_batch`: BN goes by the mini-batch, which must leave it two
    values a channel.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != channels or shape[0] == 0:
        raise SpecError(f"{network}: images have shape {shape}; this network takes [batch, {channels}, height, width]")
    batch, _, height, width = shape
    if min(height, width) < SMALLEST:
        raise SpecError(f"{network}: images of {height}x{width} pixels; give at least {SMALLEST}x{SMALLEST}")
    if by_batch and batch == 1 and max(height, width) == SMALLEST:
        raise SpecError(f"{network}: one image of {height}x{width} pixels has no batch statistics; give two or more")
    if not images.is_floating_point():
        raise SpecError(f"{network}: images are {images.dtype}; give floating-point numbers")


def check_gates(network: str, gates: Tensor, active: object, shape: tuple[int, int]) -> None:
    """Raise `SpecError` unless `gates` and, where given, the boolean `active` are `[D, K]` of the space."""
    if tuple(gates.shape) != shape:
        raise SpecError(f"{network}: gates have shape {tuple(gates.shape)}; this space needs {shape}")
    if active is None:
        return
    kind, found = str(getattr(active, "dtype", type(active).__name__)), tuple(getattr(active, "shape", ()))
    if found != shape or kind != "bool":
        raise SpecError(f"{network}: active is {kind} of shape {found}; this space needs bool of shape {shape}")

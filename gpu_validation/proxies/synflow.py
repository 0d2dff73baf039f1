"""SynFlow of a network: synaptic flow of all its weights, without data.

    R = 1^T f_|theta|(1),   score = sum over weights w of |w dR/dw|

where f_|theta| is the network with every parameter replaced by its absolute value and batch normalisation left out,
run in float64 on one input of ones. Sources: Tanaka et al., NeurIPS 2020 (arXiv 2006.05467), equation 3; as a score of
cells: mohsaied/zero-cost-nas, foresight/pruners/measures/synflow.py (Abdelfattah et al., ICLR 2021). Weights are those
of convolutions and linear layers (no biases); `batch_norm=True` is that repository's variant synflow_bn.

Two ways to one number. `synflow` differentiates, as published. `synflow_forward` needs no gradient: with non-negative
parameters and input, ReLU is the identity and R is a sum over paths of products of weights, so that the score is the
same sum with each path counted as often as it has weights (Euler's theorem),

    score = d/dt R(e^t |w|) at t = 0,

a second number that goes forward beside R: at each layer (v, d) -> (|W| v + |b|, |W| (d + v)). It takes less than
a third of the time (tests/benchmarks/test_proxies_bench.py) and agrees to rounding. Deviations: none known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gpu_validation.proxies.taps import RELUS, Taps, argument, bypassed, undisturbed, weights
from nasbench_sim.errors import SpecError

_NOT_LINEAR = ("max_pool2d", "adaptive_max_pool2d", "sigmoid", "silu", "gelu", "hardswish", "softmax", "leaky_relu")


def synflow(network: nn.Module, shape: tuple[int, int, int], *, batch_norm: bool = False) -> float:
    """Score of `network` for inputs `[1, *shape]`, `shape` = (channels, height, width); the network stays as it is.

    >>> net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(1, 1, bias=False))
    >>> with torch.no_grad():
    ...     net[0].weight.fill_(-2.0), net[2].weight.fill_(3.0)  # doctest: +ELLIPSIS
    (...
    >>> synflow(net, (1, 1, 1)), synflow_forward(net, (1, 1, 1))  # R = 6, and its two layers carry all of it
    (12.0, 12.0)
    """
    weights(network)
    absolute: dict[str, Tensor] = {}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        absolute[name] = tensor.detach().double().abs() if tensor.is_floating_point() else tensor.clone()
    flowing = [tensor.requires_grad_() for name, tensor in absolute.items() if name in _weight_names(network)]
    with undisturbed(network), Taps({} if batch_norm else {"batch_norm": bypassed}), torch.enable_grad():
        total = functional_call(network, absolute, (_ones(network, shape),)).sum()
        gradients = torch.autograd.grad(total, flowing, allow_unused=True)
    pairs = zip(flowing, gradients, strict=True)
    return float(sum((w.detach() * g).abs().sum() for w, g in pairs if g is not None))


def synflow_forward(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """The same without batch normalisation and without a gradient; raises `SpecError` for layers that are not linear.

    Right for networks of convolutions, linear layers, ReLU, average pools, sums and batch normalisation.
    """
    weights(network)
    taps = {"conv2d": _tangent, "linear": _tangent, **dict.fromkeys(("batch_norm", *RELUS), bypassed)}
    with undisturbed(network), Taps({**taps, **dict.fromkeys(_NOT_LINEAR, _refuse)}), torch.no_grad():
        both = network(torch.cat([_ones(network, shape), torch.zeros_like(_ones(network, shape))]))
    return float(both[1].sum())


def _tangent(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    x, weight, bias = (argument(name, place, args, named) for place, name in enumerate(("input", "weight", "bias")))
    if func.__name__ == "linear":
        y = F.linear(x, weight.double().abs())
    else:
        rest = {k: v for k, v in named.items() if k not in ("input", "weight", "bias")}
        y = F.conv2d(x, weight.double().abs(), None, *args[3:], **rest)
    value, flow = y[:1], y[:1] + y[1:]
    if bias is not None:
        value = value + bias.double().abs().reshape(-1, *(1,) * (value.dim() - 2))
    return torch.cat([value, flow])


def _refuse(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    raise SpecError(f"{func.__name__} is not linear for positive numbers; score this network with `synflow`")


def _ones(network: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    if len(shape) != 3 or min(shape) < 1:
        raise SpecError(f"an input has a shape (channels, height, width) of positive numbers, got {shape}")
    return torch.ones(1, *shape, dtype=torch.float64, device=next(network.parameters()).device)


def _weight_names(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.dim() >= 2}

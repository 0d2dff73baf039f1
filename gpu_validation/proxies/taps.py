"""Looking into a network without changing it: its convolutions, normalisations and ReLUs, met as functions.

A `torch.overrides.TorchFunctionMode` sees every `conv2d`, `linear`, `batch_norm` and `relu` whether a module or a plain
function calls it. So the proxies need no hooks on modules, no copy of the network and no agreement on how it is
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nasbench_sim.errors import SpecError

#: a tap gets the function, its positional and its named arguments, and returns what the network goes on with
Tap = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

RELUS = ("relu", "relu_")


class Taps(TorchFunctionMode):
    """While active, functions with one of the names in `taps` go through their tap. A tap's own calls do not.

    >>> with Taps({"relu": lambda f, args, named: args[0]}):
    ...     torch.nn.ReLU()(torch.tensor([-1.0])).item()
    -1.0
    """

    def __init__(self, taps: Mapping[str, Tap]) -> None:
        super().__init__()
        self.taps = taps

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of `func`."""
        tap = self.taps.get(getattr(func, "__name__", ""))
        named = kwargs or {}
        return func(*args, **named) if tap is None else tap(func, args, named)


def argument(name: str, place: int, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """An argument of a tapped call, given by place or by name; None where it was left out.

    >>> argument("bias", 2, (1, 2), {"bias": 3}), argument("bias", 2, (1, 2), {})
    (3, None)
    """
    return args[place] if len(args) > place else named.get(name)


def bypassed(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """A tap that returns the function's input: the function is the identity."""
    return argument("input", 0, args, named)


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Training mode inside; afterwards modes and buffers (running statistics) are as they were."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    network.train()
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, old in buffers:
                buffer.copy_(old)
        for module, training in modes:
            module.training = training


def weights(network: nn.Module) -> list[nn.Parameter]:
    """The weights of convolutions and linear layers: the parameters with two or more axes.

    Raises `SpecError` for a network without any, which no proxy here is defined for.

    >>> [tuple(w.shape) for w in weights(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))]
    [(4, 3, 1, 1)]
    """
    found = [parameter for parameter in network.parameters() if parameter.dim() >= 2]
    if not found:
        raise SpecError("a proxy scores convolutions and linear layers, and this network has neither")
    return found


def zeros_for_none(gradients: tuple[Tensor | None, ...], like: list[Any]) -> list[Tensor]:
    """Gradients, with zeros for a tensor that the output does not depend on."""
    pairs = zip(gradients, like, strict=True)
    return [torch.zeros_like(tensor) if gradient is None else gradient for gradient, tensor in pairs]

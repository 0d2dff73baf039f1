"""What a network costs, counted while it runs: parameters and operations an image.

Two conventions are in use for NAS-Bench-201, both of multiply-adds, both of the network in evaluation mode:

- NATS-Bench (`nasbench_sim.tables.nb201_costs`): convolutions, and the classifier with its bias.
- The first release of NAS-Bench-201, whose numbers most published tables repeat (fvcore's rules): convolutions, the
  classifier without its bias, 2 for each number that an affine BN normalises, 1 for each that the global pooling reads.

Neither counts ReLU, sums, 3x3 average pooling or the pooling of the shortcuts.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Counts(NamedTuple):
    """`parameters` that train; of one image: `convolutions` and `classifier` multiply-adds, the classifier's `biases`,
    numbers `normalised` by BN and `pooled` over whole images."""  # fmt: skip

    parameters: int
    convolutions: int
    classifier: int
    biases: int
    normalised: int
    pooled: int

    @property
    def nats(self) -> int:
        """FLOPs as NATS-Bench counts them."""
        return self.convolutions + self.classifier + self.biases

    @property
    def nb201(self) -> int:
        """FLOPs as the first release of NAS-Bench-201 counts them."""
        return self.convolutions + self.classifier + 2 * self.normalised + self.pooled


class _Counter(TorchDispatchMode):
    """Adds up what runs below it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = {"convolutions": 0, "classifier": 0, "biases": 0, "normalised": 0, "pooled": 0}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == "convolution":
            self.seen["convolutions"] += math.prod(out.shape) * math.prod(args[1].shape[1:])
        elif name == "addmm":
            self.seen["classifier"] += math.prod(out.shape) * args[1].shape[1]
            self.seen["biases"] += math.prod(out.shape)
        elif "batch_norm" in name:
            self.seen["normalised"] += math.prod(out[0].shape)
        elif name == "mean":
            self.seen["pooled"] += math.prod(args[0].shape)
        return out


def count(network: nn.Module, image: Sequence[int]) -> Counts:
    """Costs of a network, which is left in evaluation mode, for one image `[c, H, W]`.

    A network without numbers (`generator=None`) will do, and needs no memory; PyTorch runs it 5 times slower, though.

    >>> from gpu_validation.supernets.nb201_network import NB201Network
    >>> costs = count(NB201Network([3] * 6, classes=10, generator=torch.Generator()), (3, 32, 32))
    >>> costs.parameters, costs.nats, costs.nb201
    (1531546, 220119690, 221934208)
    """
    network.eval()
    parameters = list(network.parameters())
    with torch.no_grad(), _Counter() as counter:
        network(torch.zeros(1, *image, device=parameters[0].device))
    return Counts(sum(p.numel() for p in parameters), **counter.seen)

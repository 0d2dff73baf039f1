"""The weights of a network as one row of numbers: gradients, steps and checkpoints are then a few vector operations.

A supernet of NAS-Bench-201 has 300 weight tensors; an optimiser step over them one by one costs more calls than a step
over one vector of 1.6 million numbers. The network itself is only a recipe: `call` runs it on the row it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class FlatNetwork:
    """A module as a pure function of (weights, buffers, inputs).

    `weights` `[n]` and `buffers` `[m]` are rows in the order of `named_parameters` and `named_buffers`; integer buffers
    (BatchNorm counters) are left out and stay as the module has them.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._parameters = {name: p.shape for name, p in module.named_parameters()}
        self._buffers = {name: b.shape for name, b in module.named_buffers() if b.is_floating_point()}

    @property
    def size(self) -> int:
        """Weights."""
        return sum(shape.numel() for shape in self._parameters.values())

    def initial(self) -> tuple[Tensor, Tensor]:
        """The module's own weights `[n]` and buffers `[m]`."""
        named = dict(self.module.named_buffers())
        weights = [p.detach().reshape(-1) for p in self.module.parameters()]
        buffers = [named[name].reshape(-1) for name in self._buffers]
        return torch.cat(weights), torch.cat(buffers) if buffers else weights[0].new_empty(0)

    def leaves(self, weights: Tensor) -> list[Tensor]:
        """The weight tensors as separate leaves of a graph, sharing memory with the row."""
        return [v.requires_grad_() for v in self.views(weights.detach())]

    def views(self, weights: Tensor) -> list[Tensor]:
        """The row cut into tensors. One `split`: its backward joins all gradients in one go."""
        return _cut(weights, list(self._parameters.values()))

    def call(
        self, tensors: Sequence[Tensor], buffers: Tensor, *inputs: Any, training: bool = True
    ) -> tuple[Any, Tensor]:
        """What the network makes of `inputs` at these weight tensors, and its buffers afterwards.

        `buffers` is not changed: in training the moved running statistics come back as a new row.
        """
        self.module.train(training)
        moved = buffers.clone() if training and len(buffers) else buffers
        named = dict(zip(self._parameters, tensors, strict=True))
        named |= dict(zip(self._buffers, _cut(moved, list(self._buffers.values())), strict=True))
        return functional_call(self.module, named, inputs), moved


def _cut(row: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    if not shapes:
        return []
    parts = torch.split(row, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def joined(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Gradients as one row `[n]`; a tensor that was not used has gradient 0."""
    return torch.cat(
        [(torch.zeros_like(t) if g is None else g).reshape(-1) for g, t in zip(gradients, like, strict=True)]
    )


def gradient(loss: Tensor, tensors: Sequence[Tensor], *, graph: bool = False) -> Tensor:
    """d loss / d tensors as one row.

    >>> a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    >>> gradient((a * a).sum(), [a, b]).tolist()
    [2.0, 4.0, 0.0]
    """
    return joined(torch.autograd.grad(loss, tensors, create_graph=graph, allow_unused=True), tensors)


LossAt = Callable[[Sequence[Tensor], Tensor], Tensor]

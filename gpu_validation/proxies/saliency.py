"""SNIP, GraSP, gradient norm and Fisher: how much the loss of one mini-batch depends on the weights.

With L the cross-entropy of the batch, batch normalisation in training mode, and w over the weights of convolutions and
linear layers (no biases, no batch normalisation):

    snip       sum |w dL/dw|                 the gradient of a mask of ones on w
    grasp      sum -w (H g)                  g = dL/dw, H its Hessian; temperature 1, one iteration
    grad_norm  sum over layers ||dL/dw||_2
    fisher     sum over layers and channels k of P_k 1/2 mean_n (sum_hw a_nk dL/da_nk)^2

where a is the output of a layer before its normalisation and P_k the number of weights of one of its channels: the
source gives each weight the number of its channel and sums over weights. Source: mohsaied/zero-cost-nas,
foresight/pruners/measures (Abdelfattah et al., ICLR 2021, arXiv 2101.08134; the methods: Lee et al. 1810.02340, Wang et
al. 2002.07376, Theis et al. 1801.05787). Deviations: the batch is never split (the source splits it when memory runs
out, which changes normalisation); nothing of the network is overwritten.

The signs and sizes depend on the draw of weights and batch; all four are large for networks with exploding gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_validation.proxies.taps import Taps, argument, undisturbed, weights, zeros_for_none
from nasbench_sim.errors import SpecError


class Batch(NamedTuple):
    """One mini-batch: `images[B, c, H, W]` as the network takes them, `labels[B]` int64."""

    images: Tensor
    labels: Tensor


def check_batch(batch: Batch) -> Batch:
    """`batch` as it is; raises `SpecError` for one that no proxy can be computed on.

    >>> check_batch(Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64)))
    Traceback (most recent call last):
    nasbench_sim.errors.SpecError: a proxy needs a batch of two images or more, got 1
    """
    images, labels = batch
    if images.dim() != 4 or not images.is_floating_point():
        raise SpecError(f"images are floating-point [B, c, H, W], got {images.dtype} {list(images.shape)}")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise SpecError(f"labels are int64 [{len(images)}], got {labels.dtype} {list(labels.shape)}")
    if len(images) < 2:
        raise SpecError(f"a proxy needs a batch of two images or more, got {len(images)}")
    if not bool(torch.isfinite(images).all()):
        raise SpecError("the images of the batch are not all finite")
    return batch


def loss(network: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of the batch."""
    images, labels = batch
    logits = network(images)
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        low, high = int(labels.min()), int(labels.max())
        raise SpecError(f"labels {low}..{high} do not fit a network of {logits.shape[1]} classes")
    return F.cross_entropy(logits, labels)


def _gradients(network: nn.Module, batch: Batch) -> tuple[list[nn.Parameter], list[Tensor]]:
    found = weights(network)
    with undisturbed(network), torch.enable_grad():
        gradients = torch.autograd.grad(loss(network, batch), found, allow_unused=True)
    return found, zeros_for_none(gradients, found)


def snip(network: nn.Module, batch: Batch) -> float:
    """Sum of |w dL/dw|.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    >>> with torch.no_grad():
    ...     _ = net[1].weight.copy_(torch.tensor([[0.0], [1.0]]))
    >>> x = Batch(torch.ones(2, 1, 1, 1), torch.tensor([0, 0]))
    >>> round(snip(net, x), 6), round(torch.sigmoid(torch.tensor(1.0)).item(), 6)  # dL/dw of the wrong class is its p
    (0.731059, 0.731059)
    """
    pairs = zip(*_gradients(network, batch), strict=True)
    return float(sum((w.detach() * g).abs().sum() for w, g in pairs))


def grad_norm(network: nn.Module, batch: Batch) -> float:
    """Sum over layers of the Euclidean norm of the gradient."""
    return float(sum(g.norm() for g in _gradients(network, batch)[1]))


def grasp(network: nn.Module, batch: Batch) -> float:
    """Sum of -w (H g): positive where a step along the gradient would make the gradient smaller."""
    found = weights(network)
    with undisturbed(network), torch.enable_grad():
        gradients = torch.autograd.grad(loss(network, batch), found, create_graph=True, allow_unused=True)
        along = [g for g in gradients if g is not None and g.requires_grad]
        product = sum((g * g.detach()).sum() for g in along)
        if not isinstance(product, Tensor):
            return 0.0
        second = torch.autograd.grad(product, found, allow_unused=True)
    return float(0.0 - sum((w.detach() * h).sum() for w, h in zip(found, second, strict=True) if h is not None))


def fisher(network: nn.Module, batch: Batch) -> float:
    """Sum over layers and channels of weights a channel times half the mean square of activation times gradient."""
    weights(network)
    outputs: list[Tensor] = []
    sizes: list[int] = []

    def keep(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        out = func(*args, **named)
        if out.requires_grad:
            outputs.append(out)
            sizes.append(argument("weight", 1, args, named)[0].numel())
        return out

    with undisturbed(network), Taps({"conv2d": keep, "linear": keep}), torch.enable_grad():
        gradients = torch.autograd.grad(loss(network, batch), outputs, allow_unused=True)
    total = 0.0
    for size, out, gradient in zip(sizes, outputs, gradients, strict=True):
        if gradient is not None:
            flow = (out.detach() * gradient).flatten(2).sum(-1) if out.dim() > 2 else out.detach() * gradient
            total += size * float(flow.square().mean(0).sum()) / 2
    return total

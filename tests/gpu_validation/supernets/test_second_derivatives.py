"""Products with the Hessian in the gates: the gradient's own gradient is the slope of the gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from .nets import gen, images, mixture, nb1shot1, nb201, slopes

NETS: dict[str, Callable[[], nn.Module]] = {
    "nb201": nb201,
    "nb201 fused": lambda: nb201(backend="fused"),
    "nb1shot1": nb1shot1,
}


@pytest.mark.parametrize("name", NETS)
def test_hessian_times_a_vector(name: str) -> None:
    net = NETS[name]()
    x, gates = images(), mixture(net.space)
    v = torch.randn(gates.shape, generator=gen(7), dtype=gates.dtype) * torch.from_numpy(net.space.mask)
    ahead, behind = (slopes(net, x, gates + sign * 1e-6 * v)[1] for sign in (1, -1))
    leaf = gates.clone().requires_grad_()
    logits = net(x, leaf)
    loss = (logits * torch.randn(logits.shape, generator=gen(9), dtype=logits.dtype)).sum()
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    (product,) = torch.autograd.grad((gradient * v).sum(), leaf)
    scale = float(product.abs().max())
    assert scale > 0.1
    torch.testing.assert_close(product / scale, (ahead - behind) / 2e-6 / scale, rtol=0, atol=1e-5)

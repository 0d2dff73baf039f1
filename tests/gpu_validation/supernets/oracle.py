"""Running statistics of a supernet made anew for given gates: those of the training mixture are no single cell's.

Source: Guo et al., Single Path One-Shot (ECCV 2020), where every path is evaluated with statistics of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gpu_validation.contracts import BN_MOMENTUM, Active
from nasbench_sim.errors import SpecError

_NEVER = -1.0  # no variance is negative, so a variance that is still this has not been moved


def recalibrate(
    net: nn.Module, batches: Iterable[Tensor], gates: Tensor, active: Active | None = None
) -> dict[str, Tensor]:
    """Buffers of `net` by name, whose running statistics are means over `batches` of each batch's own.

    Every batch counts the same, whatever its size (the cumulative mean of `nn.BatchNorm2d(momentum=None)`); variances
    are unbiased, as PyTorch keeps them. Statistics of options that do not run keep their present values. Nothing of
    `net` changes: give the result to `torch.func.functional_call`, or to `net.load_state_dict(..., strict=False)`.

    `batches`: images `[B, c, H, W]` each; `gates[D, K]` and `active` as in `contracts.Supernet`. Empty, with no batch
    looked at, for a net without buffers (`batch_norm="batch"`). Raises `SpecError` where there are no batches.

    >>> from gpu_validation.supernets.nb201 import NB201Supernet
    >>> made = torch.Generator().manual_seed(0)
    >>> net = NB201Supernet(channels=2, cells=1, batch_norm="running", generator=made)
    >>> new = recalibrate(net, [torch.rand(4, 3, 8, 8, generator=made)], torch.full((6, 5), 0.2))
    >>> bool((net.body.stem_norm.mean == 0).all()), bool((new["body.stem_norm.mean"] == 0).any())
    (True, False)
    """
    present = {name: buffer.detach() for name, buffer in net.named_buffers()}
    if not present:
        return {}
    total = {name: torch.zeros_like(buffer) for name, buffer in present.items()}
    ran: dict[str, Tensor] = {}
    seen = 0
    modes = [(module, module.training) for module in net.modules()]
    net.train()
    try:
        with torch.no_grad():
            for images in batches:
                if not ran:  # one more pass: a start below 0 would cost small variances their last digits
                    start = {name: torch.full_like(buffer, _NEVER) for name, buffer in present.items()}
                    functional_call(net, start, (images, gates, active))
                    ran = {name: start[_variance(name)] != _NEVER for name in present}
                moved = {name: torch.zeros_like(buffer) for name, buffer in present.items()}
                functional_call(net, moved, (images, gates, active))
                for name, buffer in moved.items():
                    total[name] += buffer / BN_MOMENTUM
                seen += 1
    finally:
        for module, training in modes:
            module.training = training
    if not seen:
        raise SpecError("recalibrate: no batches; give at least one batch of training images")
    return {name: torch.where(ran[name], total[name] / seen, buffer) for name, buffer in present.items()}


def _variance(name: str) -> str:
    """The variance that is moved together with a buffer.

    >>> _variance("body.stem_norm.mean"), _variance("var")
    ('body.stem_norm.var', 'var')
    """
    return f"{name.removesuffix('mean')}var" if name.endswith("mean") else name

"""A step of Adam or VAdam on stacked architecture parameters `[S, D, K]`, on the device, in one launch.

S supernets that are searched at once have S architecture optimisers of a few dozen numbers each. The updates of
`nasbench_sim.searchers.updates` would bring them to the host every step, PyTorch's optimisers launch a dozen kernels;
this takes the very same `Adam` and `VAdam` objects and gives the same bits.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gpu_validation.kernels.tiles import on_device, require_device
from gpu_validation.kernels.update import ADAM, PLAIN, VADAM, update
from gpu_validation.ops.autograd import check_shapes
from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.updates import Adam, VAdam


@lru_cache(maxsize=256)
def _hyper(rule: Adam | VAdam, device: torch.device) -> Tensor:
    """lr, L2, eps, beta1, 1 - beta1, beta2, 1 - beta2 on the device (kept: no copy a step)."""
    b1, b2 = rule.betas
    if isinstance(rule, Adam):
        values = (rule.lr, rule.weight_decay, rule.eps, b1, 1 - b1, b2, 1 - b2)
    else:
        rate, prior = rule._rate, rule.prior_precision / rule.train_size
        values = (rule.lr, prior, prior, b1, 1 - b1, 1 - rate, rate)
    return torch.tensor(values, dtype=torch.float64, device=device)


def stacked_init(rule: Adam | VAdam, alpha: Tensor) -> dict[str, Tensor]:
    """Fresh memory for `alpha[S, D, K]`, on its device: that of `rule.init`.

    >>> sorted(stacked_init(Adam(), torch.zeros(2, 6, 5)))
    ['m', 'power1', 'power2', 'v']
    """
    host = np.zeros(tuple(alpha.shape), dtype=str(alpha.dtype).removeprefix("torch."))
    return {name: torch.from_numpy(slot).to(alpha.device) for name, slot in rule.init(host).items()}


def stacked_update(
    rule: Adam | VAdam, alpha: Tensor, grad: Tensor, slots: Mapping[str, Tensor], square: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """New `alpha[S, D, K]` and slots: `rule.apply` with Estimate(grad, square), out of place.

    float32 or float64; `square[S, D, K]` is the second moment that enters VAdam's precision (Adam takes none).
    SpecError for another rule, precision, shape, or a missing slot.
    """
    require_device(alpha)
    if not isinstance(rule, (Adam, VAdam)):
        raise SpecError(f"a fused update is Adam or VAdam, got {type(rule).__name__}")
    second = "v" if isinstance(rule, Adam) else "s"
    missing = sorted({"m", second, "power1", "power2"} - set(slots))
    if missing:
        raise SpecError(f"slots lack {', '.join(missing)}: start with those of stacked_init")
    if isinstance(rule, VAdam) and square is None:
        raise SpecError("VAdam needs `square`, the second moment of the gradient")
    if alpha.dim() != 3 or alpha.numel() == 0 or alpha.dtype not in (torch.float32, torch.float64):
        raise SpecError(f"alpha is {alpha.dtype} {list(alpha.shape)}, and float32 or float64 [S, D, K] is asked for")
    taken = grad if square is None or isinstance(rule, Adam) else square
    named = {"alpha": alpha, "grad": grad, "square": taken, "m": slots["m"], second: slots[second]}
    check_shapes(**{name: (tensor, alpha.shape) for name, tensor in named.items()})
    check_shapes(alpha=(alpha, alpha.shape), **{n: (slots[n], alpha.shape[:1]) for n in ("power1", "power2")})
    for name, tensor in named.items():
        if tensor.dtype != alpha.dtype:
            raise SpecError(f"{name} holds {tensor.dtype} and alpha {alpha.dtype}: convert one of them")
    if not slots["power1"].dtype == slots["power2"].dtype == torch.float64:
        raise SpecError("power1 and power2 are float64: start with those of stacked_init")
    kind = ADAM if isinstance(rule, Adam) else VADAM if rule.denominator == "sqrt" else PLAIN
    tensors = (alpha, grad, taken, slots["m"], slots[second], slots["power1"], slots["power2"])
    with on_device(alpha):
        new, m, v, power1, power2 = update(
            kind, _hyper(rule, alpha.device), *(t.detach().contiguous() for t in tensors)
        )
    return new, {"power1": power1, "power2": power2, "m": m, second: v}

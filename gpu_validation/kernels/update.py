"""Adam and VAdam for the architecture parameters of many concurrent supernets, `[S, D, K]`, in one launch a step.

The arithmetic of `nasbench_sim.searchers.updates`, operation by operation in the same order, with divisions and roots
rounded correctly and no contraction to fused multiply-adds: the bits of NumPy. The clock of the bias correction, the
running products beta^t, is float64 and one a search, as there.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: what the kernel computes: Adam; VAdam with the root; VAdam as printed (no root, momentum or bias correction)
ADAM, VADAM, PLAIN = range(3)
BLOCK_S = 32


@triton.jit
def _divide(a, b, WIDE: tl.constexpr):
    if WIDE:
        return a / b
    else:
        return tl.div_rn(a, b)


@triton.jit
def _root(a, WIDE: tl.constexpr):
    if WIDE:
        return tl.sqrt(a)
    else:
        return tl.sqrt_rn(a)


@triton.jit(do_not_specialize=["searches"])
def update_kernel(
    new, new_m, new_v, new_power1, new_power2, alpha, grad, square, m, v, power1, power2, hyper, searches,
    N: tl.constexpr, KIND: tl.constexpr, WIDE: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """BLOCK_S searches of N numbers each. hyper (float64): lr, L2, eps, beta1, 1 - beta1, beta2, 1 - beta2."""
    kind: tl.constexpr = tl.float64 if WIDE else tl.float32
    search = tl.program_id(0) * BLOCK_S + tl.arange(0, BLOCK_S)
    number = tl.arange(0, BLOCK_N)
    there = search < searches
    mask = there[:, None] & (number < N)[None, :]
    where = search.to(tl.int64)[:, None] * N + number[None, :]

    keep1, keep2 = tl.load(hyper + 3), tl.load(hyper + 5)
    clock1 = tl.load(power1 + search, mask=there, other=0.0) * keep1
    clock2 = tl.load(power2 + search, mask=there, other=0.0) * keep2
    tl.store(new_power1 + search, clock1, mask=there)
    tl.store(new_power2 + search, clock2, mask=there)
    lr, l2, eps = tl.load(hyper).to(kind), tl.load(hyper + 1).to(kind), tl.load(hyper + 2).to(kind)
    take1, take2 = tl.load(hyper + 4).to(kind), tl.load(hyper + 6).to(kind)

    a = tl.load(alpha + where, mask=mask, other=0.0)
    g = tl.load(grad + where, mask=mask, other=0.0) + l2 * a
    second = g * g
    if KIND != 0:
        second = tl.load(square + where, mask=mask, other=0.0)
    second = keep2.to(kind) * tl.load(v + where, mask=mask, other=0.0) + take2 * second
    tl.store(new_v + where, second, mask=mask)
    first = tl.load(m + where, mask=mask, other=0.0)
    if KIND == 2:
        a = a - _divide(lr * g, second + eps, WIDE)
    else:
        first = keep1.to(kind) * first + take1 * g
        unbias1, unbias2 = (1.0 / (1.0 - clock1)).to(kind), (1.0 / (1.0 - clock2)).to(kind)
        step = _divide(first * unbias1[:, None], _root(second * unbias2[:, None], WIDE) + eps, WIDE)
        a = a - lr * step
    tl.store(new_m + where, first, mask=mask)
    tl.store(new + where, a, mask=mask)


def update(
    kind: int, hyper: Tensor, alpha: Tensor, grad: Tensor, square: Tensor, m: Tensor, v: Tensor, power1: Tensor,
    power2: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """New alpha, both moments, beta1^t and beta2^t, out of place. All contiguous; `hyper` float64 `[7]`."""
    searches, numbers = alpha.shape[0], alpha[0].numel()
    out = tuple(torch.empty_like(t) for t in (alpha, m, v, power1, power2))
    update_kernel[(-(-searches // BLOCK_S),)](
        *out, alpha, grad, square, m, v, power1, power2, hyper, searches, N=numbers, KIND=kind,
        WIDE=alpha.dtype == torch.float64, BLOCK_S=BLOCK_S, BLOCK_N=1 << (numbers - 1).bit_length(),
        enable_fp_fusion=False,
    )  # fmt: skip
    return out[0], out[1], out[2], out[3], out[4]

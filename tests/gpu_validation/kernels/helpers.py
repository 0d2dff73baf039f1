"""Inputs, the float64 truth, and how far from it a result may be.

Thresholds. Let u be the unit roundoff (2^-24, 2^-11, 2^-8) and e_k the relative RMS error after k stages, a stage being
a convolution, its normalisation and the sum of a node. A convolution of 9 C products errs by sqrt(9 C) u relative to
its size if it sums in that precision (errors of random sign, Higham & Mary 2019), everything else in a stage by a few
u: with float16 and bfloat16 sums are float32, and the tensors' own roundings, at most 8 a stage, are all there is.
Normalisation divides by the spread and so multiplies a relative error by r = RMS(z) / sqrt(var(z) + eps), which is
measured on the float64 reference, never on what is tested. Hence
    e_k = r (e_(k-1) + c u),   e_0 = 0,   c = 8 + sqrt(9 C) (float32, float64)  or  8 (16 bits),
with k = 3 for a cell's output and k = 6 for its gradients, which go there and back; k = 1 and 2 for one node. In
16 bits a rectifier may see the other sign in a node that is 0 to rounding: a share 0.8 e_2 of the elements (the normal
density at 0 times twice the error), each an error of the element's own size, so sqrt(0.8 e_2) on gradients. Tests
whose nodes are all positive do without that term.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import BN_EPS
from gpu_validation.reference import nb201 as reference

NAMES = ("output", "dx", "dw1", "dw3", "dgates")
UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
DTYPES = [
    pytest.param(torch.float32, id="fp32"),
    pytest.param(torch.float16, id="fp16"),
    pytest.param(torch.bfloat16, id="bf16", marks=pytest.mark.gpu),  # the interpreter rounds bfloat16 otherwise
]


def needs(dtype: torch.dtype) -> None:
    """Skips bfloat16 where there is no GPU."""
    if dtype == torch.bfloat16 and not torch.cuda.is_available():
        pytest.skip("bfloat16 is tested on a GPU only")


class Inputs:
    """x `[B, C, H, W]`, w1, w3, gates of `edges` edges and a gradient of the output, rounded to `dtype`."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: str, *, edges: int = 6, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.dtype, self.device = dtype, device
        c, lead = shape[1], (edges,) if edges else ()

        def draw(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, dtype=torch.float64)

        self.x = self._round(draw(*shape))
        self.w1 = self._round(draw(*lead, c, c, 1, 1) / math.sqrt(c))
        self.w3 = self._round(draw(*lead, c, c, 3, 3) / math.sqrt(9 * c))
        self.gates = draw(*lead, 5 if edges else 3).float().to(device)
        self.grad = self._round(draw(*shape))

    def _round(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype).to(self.device)

    @property
    def channels(self) -> int:
        """C."""
        return int(self.x.shape[1])


def run(function: Callable[..., Tensor], given: Inputs, *, double: bool = False, **options: Any) -> list[Tensor]:
    """Output and all gradients; in float64 on the CPU if `double`."""
    tensors = [given.x, given.w1, given.w3, given.gates]
    grad = given.grad
    if double:
        tensors, grad = [t.cpu().double() for t in tensors], grad.cpu().double()
    leaves = [t.detach().requires_grad_() for t in tensors]  # detach keeps strides, which is what some tests are about
    out = function(*leaves, **options)
    found = torch.autograd.grad(out, leaves, grad, allow_unused=True)  # the reference knows nothing of unused weights
    return [out.detach(), *(torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True))]


@contextmanager
def amplification() -> Iterator[list[float]]:
    """r of the convolutions that the reference normalises while this is open (the largest is what counts)."""
    found: list[float] = []
    original = F.batch_norm

    def noting(z: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        var, mean = torch.var_mean(z.detach(), dim=(0, 2, 3), correction=0)
        found.append(float(((mean**2 + var) / (var + BN_EPS)).mean().sqrt()))
        return original(z, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "batch_norm", noting)
        yield found


def threshold(dtype: torch.dtype, channels: int, r: float, stages: int, *, flips: bool = False) -> float:
    """e_stages of the module's docstring, with the flips of rectifiers if asked for.

    >>> f"{threshold(torch.float32, 16, 1.0, 3):.1e}"
    '3.6e-06'
    """
    unit, sums = UNIT[dtype], math.sqrt(9 * channels) if dtype in (torch.float32, torch.float64) else 0.0
    error = second = 0.0
    for stage in range(stages):
        error = max(r, 1.0) * (error + (8 + sums) * unit)
        second = error if stage < 2 else second
    return error + (math.sqrt(0.8 * second) if flips else 0.0)


def error(found: Tensor, truth: Tensor) -> float:
    """Relative RMS error; absolute where the truth is 0; NaN where either has one."""
    away = (found.cpu().double() - truth.cpu().double()).square().mean().sqrt()
    size = truth.cpu().double().square().mean().sqrt()
    return float(away / size) if size > 0 else float(away)


def compare(
    function: Callable[..., Tensor], given: Inputs, truth: Callable[..., Tensor] = reference.cell, *,
    stages: tuple[int, int] = (3, 6), flips: bool = True, **options: Any,
) -> list[Tensor]:  # fmt: skip
    """Output and gradients of `function`, every one of them as near the float64 reference as the precision allows."""
    with amplification() as found:
        wanted = run(truth, given, double=True, **options)
    r = max(found, default=1.0)
    got = run(function, given, **options)
    short = given.dtype in (torch.float16, torch.bfloat16)
    for name, a, b in zip(NAMES, got, wanted, strict=True):
        bound = threshold(
            given.dtype, given.channels, r, stages[name != "output"], flips=flips and short and name != "output"
        )
        away = error(a, b)
        assert away <= bound, f"{name}: {away:.1e} from float64, at most {bound:.1e} expected (r = {r:.2f})"
    return got

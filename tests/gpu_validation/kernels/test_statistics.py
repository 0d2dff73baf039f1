"""K1 is numerically sound, and addresses do not overflow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gpu_validation.contracts import BN_EPS
from gpu_validation.kernels import shapes
from tests.gpu_validation.kernels.helpers import UNIT, error


def statistics(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and 1/sqrt(variance + eps) of z as both convolutions of a node with one input."""
    from gpu_validation.kernels.statistics import statistics as function

    out = [torch.full((2, z.shape[1]), 7.0, dtype=shapes.accumulator(z.dtype), device=z.device) for _ in range(3)]
    function(out[0], out[1], out[2], [z], [z], 0x11, 0b0110)
    for table in out:
        assert torch.equal(table[0], table[1])
    return out[0][0], out[1][0], out[2][0]


@pytest.mark.parametrize("ratio", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("programs", [512, 2])
def test_variance_of_a_channel_far_from_zero(
    ratio: float, programs: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rounding of z - mean, u kappa with kappa = sqrt(1 + mean^2 / var), is all that is lost; E[z^2] - E[z]^2
    loses u kappa^2, which at kappa = 10^4 is more than everything. (8: a few roundings a tile, 5 or 6 tiles.)"""
    monkeypatch.setattr(shapes, "PROGRAMS", programs)
    generator = torch.Generator().manual_seed(0)
    z = (torch.randn(5, 3, 16, 17, generator=generator) + ratio).to(device)
    z = z.contiguous(memory_format=torch.channels_last)
    mean, var, rstd = statistics(z)
    true_var, true_mean = torch.var_mean(z.double(), dim=(0, 2, 3), correction=0)
    kappa = (1 + ratio**2) ** 0.5
    assert (mean.cpu() - true_mean.cpu()).abs().max() <= 8 * kappa * UNIT[torch.float32]
    assert error(var, true_var) <= 8 * kappa * UNIT[torch.float32]
    assert error(rstd, (true_var + BN_EPS).rsqrt()) <= (4 * kappa + 4) * UNIT[torch.float32]
    naive = (z * z).mean(dim=(0, 2, 3)) - z.mean(dim=(0, 2, 3)) ** 2
    if ratio == 1e4:
        assert error(naive, true_var) > 100 * error(var, true_var)  # the fault that this test is here to see


def test_a_constant_channel_has_no_variance_and_an_outlier_does(device: str) -> None:
    z = torch.full((4, 3, 16, 16), 1000.25, device=device).contiguous(memory_format=torch.channels_last)
    z[0, 1, 0, 0] = 0.0  # where a shifted sum would take its shift from
    z[3, 2, 15, 15] = -1e6
    mean, var, _ = statistics(z)
    true_var, true_mean = torch.var_mean(z.double(), dim=(0, 2, 3), correction=0)
    assert mean[0] == 1000.25 and var[0] == 0.0
    assert error(mean, true_mean) <= 1e-6 and error(var[1:], true_var[1:]) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype, device: str) -> None:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(5, 17, 1, 7, generator=generator, dtype=torch.float64).to(dtype).to(device) + 1
    mean, var, _ = statistics(z.contiguous(memory_format=torch.channels_last))
    true_var, true_mean = torch.var_mean(z.double(), dim=(0, 2, 3), correction=0)
    unit = UNIT[shapes.accumulator(dtype)]
    assert error(mean, true_mean) <= 8 * unit and error(var, true_var) <= 16 * unit


def test_what_is_off_is_not_read(device: str) -> None:
    from gpu_validation.kernels.statistics import statistics as function

    z = torch.full((2, 3, 4, 4), float("nan"), device=device).contiguous(memory_format=torch.channels_last)
    mean, var, rstd = (torch.empty(2, 3, device=device) for _ in range(3))
    function(mean, var, rstd, [z], [z], 0x11, 0)
    assert (mean == 0).all() and (var == 0).all() and torch.isfinite(rstd).all()


def test_addresses_beyond_32_bits(device: str) -> None:
    """A tensor of 10^10 elements: the last tile's offsets, its places in the image and its end, in exact integers."""
    index, pixels, stride, block = 40_000_000, 64 * 40_000_000 + 3, 48, 64
    out = torch.zeros(3 * block, dtype=torch.int64, device=device)
    from tests.gpu_validation.kernels.address_kernel import addresses

    addresses[(1,)](out, index, pixels, stride, BLOCK_P=block)
    where, place, there = out.view(3, block).tolist()
    assert where == [(index * block + lane) * stride for lane in range(block)] and where[-1] > 2**36
    assert place == [(index * block + lane) % 35 for lane in range(block)]
    assert there == [1, 1, 1] + [0] * 61

"""The choice block of NAS-Bench-1Shot1 on kernels is the plain one: outputs, gradients, options, ties, statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import BN_EPS, BN_MOMENTUM
from gpu_validation.reference.nb201 import RunningStats
from nasbench_sim.spaces import nb1shot1
from tests.gpu_validation.kernels.helpers import DTYPES, Inputs, compare, needs, run


def plain(
    x: Tensor, w1: Tensor, w3: Tensor, gates: Tensor, stats: RunningStats | None = None, *, training: bool = True,
    active: Any = None,
) -> Tensor:  # fmt: skip
    """The definition, one operation after another."""

    def norm(z: Tensor, row: int) -> Tensor:
        if stats is None:
            return F.batch_norm(z, None, None, training=True, eps=BN_EPS)
        return F.batch_norm(z, stats.mean[row], stats.var[row], None, None, training, BN_MOMENTUM, BN_EPS)

    on = [True] * 3 if active is None else active
    total = torch.zeros_like(x)
    if on[0]:
        total = total + gates[0] * F.max_pool2d(x, 3, stride=1, padding=1)
    if on[1]:
        total = total + gates[1] * F.relu(norm(F.conv2d(x, w3, padding=1), 1))
    if on[2]:
        total = total + gates[2] * F.relu(norm(F.conv2d(x, w1), 0))
    return total


def choice(*args: Any, **kwargs: Any) -> Tensor:
    """Imported late, as in test_nb201."""
    from gpu_validation.ops.choice_triton import choice_block

    out: Tensor = choice_block(*args, **kwargs)
    return out


def test_the_order_of_the_options_is_the_space_s() -> None:
    from gpu_validation.ops.choice_triton import CONV1, CONV3, POOL

    assert [nb1shot1.OPS[k] for k in (POOL, CONV3, CONV1)] == ["maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3, 7, 8), (1, 16, 8, 7), (5, 17, 1, 7), (5, 3, 1, 1)], ids=str)
def test_odd_shapes(dtype: torch.dtype, shape: tuple[int, ...], device: str) -> None:
    needs(dtype)
    compare(choice, Inputs(shape, dtype, device, edges=0), plain, stages=(1, 2))


@pytest.mark.parametrize("option", [0, 1, 2])
def test_one_option(option: int, device: str) -> None:
    active = np.arange(3) == option
    *_, dgates = compare(
        choice, Inputs((2, 3, 5, 4), torch.float32, device, edges=0), plain, stages=(1, 2), active=active
    )
    assert (dgates.cpu().numpy() != 0).tolist() == active.tolist()


def test_ties_of_the_pool_go_where_pytorch_sends_them(device: str) -> None:
    given = Inputs((2, 3, 7, 8), torch.float32, device, edges=0)
    given.x = given.x.round()  # a handful of values: most windows have ties
    active = np.array([True, False, False])
    compare(choice, given, plain, active=active)
    given.x = given.x.clamp(max=float("-inf"))  # nothing is larger than the start of the search for the largest
    (out, *_), (wanted, *_) = run(choice, given, active=active), run(plain, given, active=active)
    assert torch.equal(out, wanted)


def test_no_option_is_zero(device: str) -> None:
    given = Inputs((2, 3, 4, 4), torch.float32, device, edges=0)
    for tensor in run(choice, given, active=np.zeros(3, dtype=bool)):
        assert (tensor == 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics(training: bool, device: str) -> None:
    given = Inputs((5, 3, 4, 5), torch.float32, device, edges=0)
    active = np.array([True, True, False])
    results = []
    for function in (choice, plain):
        stats = RunningStats(torch.full((2, 3), 0.2, device=device), torch.full((2, 3), 0.8, device=device))
        results.append([*run(function, given, stats=stats, training=training, active=active), *stats])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)
    assert (stats.mean[0] == 0.2).all() and (stats.mean[1] != 0.2).all() == training

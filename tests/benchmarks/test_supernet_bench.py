"""The choices of the fused NAS-Bench-201 cell, each beside what it was chosen over. One core.

pytest tests/benchmarks/test_supernet_bench.py --benchmark-enable --benchmark-only
The whole bilevel step, interleaved, with its profile: gpu_validation.bench.report.run_bench.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from gpu_validation.bench.options import BenchOptions  # noqa: E402
from gpu_validation.bench.step import BilevelStep, candidates, distance  # noqa: E402
from gpu_validation.ops._nb201_algebra import pool  # noqa: E402

CPU = torch.device("cpu")
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
BATCH, C, SIDE = 64, 16, 32
SMALL = BenchOptions(cells=1)


@pytest.fixture(autouse=True)
def _one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(memory: str) -> Any:
    x = torch.randn(BATCH, C, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=FORMATS[memory])


def kernels(memory: str) -> Any:
    w = torch.randn(C, C, 3, 3, generator=torch.Generator().manual_seed(1)) / 12
    return w.contiguous(memory_format=FORMATS[memory])


@pytest.mark.parametrize("number", range(3), ids=["reference, contiguous", "reference, channels_last", "fused"])
@pytest.mark.parametrize("part", ["architecture", "weights"])
@pytest.mark.benchmark(group="half of a bilevel step (C 16, N 1, batch 64)")
def test_step(benchmark: Any, number: int, part: str) -> None:
    step = BilevelStep(candidates(SMALL)[number], SMALL, CPU)
    exact = BilevelStep(candidates(SMALL)[0], SMALL, CPU)
    if part == "architecture":
        found = benchmark(step.architecture_gradient)
        assert distance(found, exact.architecture_gradient()) < 1e-2  # sharp: the gate of gpu_validation.bench.step
    else:
        benchmark(step.weight_gradients)


@pytest.mark.parametrize("memory", FORMATS)
@pytest.mark.parametrize("what", ["conv3x3", "conv3x3 backward", "batch norm", "average pool"])
@pytest.mark.benchmark(group="memory format of one operation")
def test_memory_format(benchmark: Any, what: str, memory: str) -> None:
    x, w = images(memory), kernels(memory)
    calls = {
        "conv3x3": lambda: F.conv2d(x, w, padding=1),
        "conv3x3 backward": lambda: torch.ops.aten.convolution_backward(
            x, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
        ),
        "batch norm": lambda: F.batch_norm(x, None, None, training=True),
        "average pool": lambda: F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False),
    }
    out = benchmark(calls[what])
    assert (out[0] if isinstance(out, tuple) else out).is_contiguous(memory_format=FORMATS[memory])


@pytest.mark.parametrize("how", ["three", "merged"])
@pytest.mark.parametrize("stage", range(3))
@pytest.mark.benchmark(group="the three 3x3 convolutions that leave node 0: with BN, weighted sum and backward")
def test_merged_convolutions(benchmark: Any, how: str, stage: int) -> None:
    c, side = C << stage, SIDE >> stage
    generator = torch.Generator().manual_seed(0)
    x, *grads = (
        torch.randn(BATCH, c, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
        for _ in range(4)
    )
    totals = [torch.zeros_like(x) for _ in range(3)]
    w = (torch.randn(3 * c, c, 3, 3, generator=generator) / (9 * c) ** 0.5).contiguous(
        memory_format=torch.channels_last
    )
    each = [part.contiguous(memory_format=torch.channels_last) for part in w.split(c)]

    def backward(d: Any, z: Any, mean: Any, var: Any, kernel: Any) -> Any:
        weight, invstd = torch.ones_like(mean), (var + 1e-5).rsqrt()
        bn = (d, z, weight, None, None, mean, invstd, True, 1e-5, [True, True, False])
        dz = torch.ops.aten.native_batch_norm_backward(*bn)[0]
        conv = (dz, x, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False])
        return torch.ops.aten.convolution_backward(*conv)[0]

    def three() -> Any:
        kept = []
        for total, kernel in zip(totals, each, strict=True):
            z = F.conv2d(x, kernel, padding=1)
            mean, var = torch.batch_norm_update_stats(z, None, None, 0.1)
            total.addcmul_(z, var.view(1, -1, 1, 1))
            kept.append((z, mean, var, kernel))
        first, *rest = (backward(d, *left) for d, left in zip(grads, kept, strict=True))
        for dr in rest:
            first.add_(dr)
        return first

    def merged() -> Any:
        z = F.conv2d(x, w, padding=1)
        mean, var = torch.batch_norm_update_stats(z, None, None, 0.1)
        for total, part, scale in zip(totals, z.split(c, 1), var.split(c), strict=True):
            total.addcmul_(part, scale.view(1, -1, 1, 1))
        return backward(torch.cat(grads, 1), z, mean, var, w)

    assert distance(benchmark(three if how == "three" else merged), three()) < 1e-5


@pytest.mark.parametrize("how", ["average pool", "depthwise convolution"])
@pytest.mark.benchmark(group="pool, channels_last")
def test_pool(benchmark: Any, how: str) -> None:
    x = images("channels_last")
    expected = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    call = pool if how != "average pool" else lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(benchmark(call, x), expected)


@pytest.mark.parametrize("how", ["convolution", "matrix product"])
@pytest.mark.benchmark(group="conv1x1 and its input gradient added to another, channels_last")
def test_conv1x1(benchmark: Any, how: str) -> None:
    x, total = images("channels_last"), torch.zeros_like(images("channels_last"))
    w = kernels("channels_last")[:, :, 0, 0].contiguous()
    rows, sums = (t.permute(0, 2, 3, 1).reshape(-1, C) for t in (x, total))

    def convolution() -> Any:
        z = F.conv2d(x, w[:, :, None, None])
        dx = torch.ops.aten.convolution_backward(
            z, x, w[:, :, None, None], None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False]
        )[0]
        total.add_(dx)
        return z.permute(0, 2, 3, 1).reshape(-1, C)

    def product() -> Any:
        z = rows @ w.T
        sums.addmm_(z, w)
        return z

    torch.testing.assert_close(benchmark(convolution if how == "convolution" else product), rows @ w.T)

"""The Triton cell on a GPU: events, medians, and bandwidth against a measured copy.

pytest tests/benchmarks/test_kernels_bench.py --benchmark-enable --benchmark-only -m gpu

Every figure is of one run on one device and stands beside a copy of the same bytes measured in that run; `extra_info`
of the JSON (--benchmark-json) holds device, bytes by the model, bandwidth and its share of the copy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_validation.kernels.model import Layer, cell_row
from gpu_validation.reference import nb201 as reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="times of kernels need a CUDA device"),
]
ROUNDS = 50
LAYERS = [Layer(16 << k, 32 >> k, 64, 2) for k in range(3)]


def milliseconds(function: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median time of a call by CUDA events, the cache of the device flushed before each."""
    flush = torch.zeros(1 << 28, dtype=torch.uint8, device="cuda")  # 256 MiB: larger than any L2
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(rounds)]
    for _ in range(5):
        function()
    for start, end in pairs:
        flush.zero_()
        start.record()
        function()
        end.record()
    torch.cuda.synchronize()
    return sorted(start.elapsed_time(end) for start, end in pairs)[rounds // 2]


def copy_bandwidth() -> float:
    """Bytes a second, both directions, of a copy of 1 GiB: what this device's memory really does."""
    a = torch.zeros(1 << 28, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() * 4 / (milliseconds(lambda: b.copy_(a), 20) / 1e3)


def step(backend: str, layer: Layer) -> Callable[[], Any]:
    """Forward and backward of a cell with all gradients."""
    from gpu_validation.ops import nb201_triton

    function = {"triton": nb201_triton.cell, "reference": reference.cell}[backend]
    generator = torch.Generator("cuda").manual_seed(0)
    dtype = torch.bfloat16 if layer.itemsize == 2 else torch.float32

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device="cuda").to(dtype)

    c, last = layer.channels, torch.channels_last
    x = draw(layer.batch, c, layer.side, layer.side).contiguous(memory_format=last)
    grad = draw(*x.shape).contiguous(memory_format=last)
    leaves = [
        t.requires_grad_() for t in (x, draw(6, c, c, 1, 1) / c**0.5, draw(6, c, c, 3, 3) / c, draw(6, 5).float())
    ]
    return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"C{layer.channels}")
@pytest.mark.benchmark(group="NB201 cell, forward and backward, bfloat16, batch 64")
def test_cell(benchmark: Any, layer: Layer) -> None:
    times = {backend: milliseconds(step(backend, layer)) for backend in ("reference", "triton", "reference", "triton")}
    row, copy = cell_row(layer), copy_bandwidth()
    reached = row["fused_bytes"] / (times["triton"] / 1e3)
    benchmark.extra_info.update(
        device=torch.cuda.get_device_name(), torch=torch.__version__, milliseconds=times,
        speedup=times["reference"] / times["triton"], model=row, bytes_a_second=reached, copy_bytes_a_second=copy,
        share_of_copy=reached / copy,
    )  # fmt: skip
    run = step("triton", layer)

    def once() -> None:
        run()
        torch.cuda.synchronize()

    benchmark.pedantic(once, rounds=20, warmup_rounds=3)
    assert reached < 1.5 * copy  # more than memory can do would mean that the model or the clock is wrong


@pytest.mark.parametrize("number", range(5), ids=["statistics", "node", "sums", "convolutions", "source"])
@pytest.mark.benchmark(group="kernels of a node with 3 inputs, C 16, bfloat16, batch 64")
def test_kernel(benchmark: Any, number: int) -> None:
    from gpu_validation.kernels.backward import node_convolutions, node_sums
    from gpu_validation.kernels.model import node_kernels
    from gpu_validation.kernels.node import node
    from gpu_validation.kernels.shapes import empty_like_pixels
    from gpu_validation.kernels.source import gate_partials, source
    from gpu_validation.kernels.statistics import statistics

    layer = LAYERS[0]
    maps = [torch.randn(64, 16, 32, 32, device="cuda").bfloat16().contiguous(memory_format=torch.channels_last)] * 12
    x, a, b, out = ([m.clone() for m in maps[k : k + 3]] for k in (0, 3, 6, 9))
    wide, (mean, var, rstd) = torch.randn(6, 5, device="cuda"), torch.rand(3, 6, 16, device="cuda")
    layout, on = 0x111111, 0xFFF
    sums = node_sums(x[0], mean, rstd, a, b, layout, on)
    spare = [empty_like_pixels(m) for m in maps[:3]]
    partial = gate_partials(x[0])
    runs: list[Callable[[], Any]] = [
        lambda: statistics(mean, var, rstd, a, b, layout, on),
        lambda: node(wide, mean, rstd, x, a, b, layout, on),
        lambda: node_sums(x[0], mean, rstd, a, b, layout, on),
        lambda: node_convolutions(x[0], wide, sums, mean, rstd, a, b, out, spare, layout, on, training=True),
        lambda: source(partial, wide, 0, x[0], a[0], b[0], x, 0x999, need_dx=True),
    ]
    cost = node_kernels(layer, 3)[number]
    taken, copy = milliseconds(runs[number]), copy_bandwidth()
    benchmark.extra_info.update(
        device=torch.cuda.get_device_name(), milliseconds=taken, bytes=cost.bytes,
        share_of_copy=cost.bytes / (taken / 1e3) / copy,
    )  # fmt: skip

    def once() -> None:
        runs[number]()
        torch.cuda.synchronize()

    benchmark.pedantic(once, rounds=20, warmup_rounds=3)
    assert taken > 0

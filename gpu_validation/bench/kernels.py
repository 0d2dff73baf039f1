"""Where a step's time goes: PyTorch's profiler, by kind of operation on a CPU, by kernel on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

#: kind -> words in the names of the operations that belong to it; the first kind that fits takes an operation
KINDS: Mapping[str, tuple[str, ...]] = {
    "convolution": ("convolution", "conv2d"),
    "matrix product": ("::mm", "::addmm", "::bmm", "::matmul"),
    "batch norm": ("batch_norm",),
    "pooling": ("pool",),
    "compiled loops": ("CompiledFxGraph", "cpp_fused"),
    "element-wise": (
        *("::mul", "::add", "::clamp_min", "::threshold", "::relu", "::sum", "::dot", "::fill_", "::zero_", "::copy_"),
        *("::div", "::sub", "::mean"),
    ),
}
OTHER = "other"


def kind(name: str) -> str:
    """The kind of an operation of the profiler's table.

    >>> kind("aten::addmm_"), kind("aten::add_"), kind("aten::native_batch_norm"), kind("aten::empty")
    ('matrix product', 'element-wise', 'batch norm', 'other')
    """
    return next((k for k, words in KINDS.items() if any(word in name for word in words)), OTHER)


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Fraction of a call's CPU time by kind of operation (each operation's own time); run once before.

    >>> found = shares(lambda: torch.ones(64, 64) @ torch.ones(64, 64))
    >>> abs(sum(found.values()) - 1) < 1e-9, found["matrix product"] > 0
    (True, True)
    """
    run()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        run()
    times = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in record.key_averages():
        times[kind(event.key)] += event.self_cpu_time_total
    total = sum(times.values()) or 1.0
    return {name: value / total for name, value in times.items()}


def kernel_times(run: Callable[[], object], device: torch.device, *, most: int = 20) -> list[dict[str, Any]]:
    """The kernels that a call launches on a GPU, Triton's included: name, launches, seconds; longest first.

    Empty where the device is not a GPU.

    >>> kernel_times(lambda: None, torch.device("cpu"))
    []
    """
    if device.type != "cuda":
        return []
    run()
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
        run()
        torch.cuda.synchronize(device)
    found = [
        {"kernel": event.key, "launches": event.count, "seconds": event.self_device_time_total / 1e6}
        for event in record.key_averages()
        if str(event.device_type).endswith("CUDA") and event.self_device_time_total > 0
    ]
    return sorted(found, key=lambda row: -float(row["seconds"]))[:most]

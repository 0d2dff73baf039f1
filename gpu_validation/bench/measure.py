"""Paired timing: every repeat runs each candidate once, in turn, so that a slow minute of the machine hits all of them.

A ratio is taken within a repeat and the median over repeats is reported; times of different runs are never divided.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from nasbench_sim.errors import SpecError

Clock = Callable[[Callable[[], object]], tuple[float, float]]


@dataclass(frozen=True)
class Paired:
    """Seconds of each candidate by repeat: on the wall (events on a GPU), and of this process's CPU time."""

    seconds: Mapping[str, tuple[float, ...]]
    cpu_seconds: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        """Median seconds of a candidate.

        >>> Paired({"a": (1.0, 9.0, 2.0)}, {}).median("a")
        2.0
        """
        return statistics.median(self.seconds[name])

    def speedup(self, name: str, base: str, *, cpu: bool = False) -> tuple[float, float, float]:
        """How many times faster than `base`: median over repeats of the ratio within a repeat, smallest, largest.

        >>> Paired({"a": (2.0, 6.0, 2.0), "b": (1.0, 2.0, 2.0)}, {}).speedup("b", "a")
        (2.0, 1.0, 3.0)
        """
        times = self.cpu_seconds if cpu else self.seconds
        ratios = [theirs / ours for theirs, ours in zip(times[base], times[name], strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


def paired(
    candidates: Mapping[str, Callable[[], object]], *, repeats: int, warmup: int = 1, clock: Clock | None = None
) -> Paired:
    """Time candidates interleaved; every second repeat in the opposite order, so that neither end is favoured.

    Raises `SpecError` where there is nothing to time.

    >>> order = []
    >>> result = paired({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, warmup=0)
    >>> order, sorted(result.seconds)
    (['a', 'b', 'b', 'a'], ['a', 'b'])
    """
    if not candidates or repeats < 1 or warmup < 0:
        raise SpecError(f"nothing to time: {len(candidates)} candidates, {repeats} repeats; give at least one of each")
    measure = clock or wall_clock
    for _ in range(warmup):
        for run in candidates.values():
            run()
    names = list(candidates)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            seconds, busy = measure(candidates[name])
            wall[name].append(seconds)
            cpu[name].append(busy)
    return Paired({n: tuple(t) for n, t in wall.items()}, {n: tuple(t) for n, t in cpu.items()})


def wall_clock(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall and of CPU time that a call takes."""
    started, busy = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - busy


def clock_for(device: torch.device) -> Clock:
    """The clock of a device: CUDA events around the call on a GPU, the wall elsewhere.

    >>> clock_for(torch.device("cpu")) is wall_clock
    True
    """
    if device.type != "cuda":
        return wall_clock

    def events(run: Callable[[], object]) -> tuple[float, float]:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call,unused-ignore]
        torch.cuda.synchronize(device)
        busy = time.process_time()
        first.record()
        run()
        last.record()
        torch.cuda.synchronize(device)
        return first.elapsed_time(last) / 1e3, time.process_time() - busy

    return events


def copy_bandwidth(device: torch.device, *, size: int = 1 << 26, repeats: int = 9) -> float:
    """Bytes a second, read and written, of a plain copy of `size` bytes: what a memory-bound kernel can reach.

    >>> copy_bandwidth(torch.device("cpu"), size=1 << 16, repeats=3) > 1e6
    True
    """
    source = torch.zeros(size // 4, device=device)
    target = torch.empty_like(source)
    times = paired({"copy": lambda: target.copy_(source)}, repeats=repeats, warmup=2, clock=clock_for(device))
    return 2.0 * size / times.median("copy")


def machine(device: torch.device) -> dict[str, Any]:
    """What figures depend on: the device, its threads, and the versions of what computes.

    >>> sorted(machine(torch.device("cpu")))
    ['capability', 'cores', 'device', 'python', 'system', 'threads', 'torch']
    """
    capability = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        name, capability = about.name, f"{about.major}.{about.minor}"
    return {
        "device": f"{device.type}: {name}",
        "capability": capability,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }

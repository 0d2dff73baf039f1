"""When a batch does not fit into memory: say so in one line, with a batch that would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from nasbench_sim.errors import RunError

_HOST = re.compile("can't allocate memory|not enough memory|DefaultCPUAllocator")
KEEP = 0.9  # of the free memory: allocators fragment


@contextmanager
def told_what_fits(batch: int, probe: Callable[[int], None], device: torch.device) -> Iterator[None]:
    """Turn "out of memory" inside into a `RunError` that names a batch that would fit.

    `probe(n)` runs the passes of a step on n images; on a GPU two small ones are measured and a line is drawn through
    them. On a CPU nothing can be measured and half the batch is named.

    >>> with told_what_fits(64, lambda n: None, torch.device("cpu")):
    ...     raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    Traceback (most recent call last):
        ...
    nasbench_sim.errors.RunError: a batch of 64 images does not fit into the memory of cpu; try a batch of 32
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        fits = _measured(batch, probe, device) if device.type == "cuda" else batch // 2
        raise _line(batch, fits, device) from error
    except RuntimeError as error:
        if not _HOST.search(str(error)):
            raise
        raise _line(batch, batch // 2, device) from error


def _line(batch: int, fits: int, device: torch.device) -> RunError:
    what = f"try a batch of {fits}" if fits >= 2 else "no batch would; make the network smaller"
    return RunError(f"a batch of {batch} images does not fit into the memory of {device}; {what}")


def _measured(batch: int, probe: Callable[[int], None], device: torch.device) -> int:
    """The largest batch below `batch` that a line through the peaks of two small ones lets through."""
    torch.cuda.empty_cache()
    sizes = (max(2, batch // 32), max(4, batch // 16))
    peaks = []
    for n in sizes:
        torch.cuda.reset_peak_memory_stats(device)
        try:
            probe(n)
        except torch.OutOfMemoryError:
            return n // 2
        peaks.append(torch.cuda.max_memory_allocated(device))
        torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return fitting(sizes, (peaks[0], peaks[1]), free + torch.cuda.memory_allocated(device), batch)


def fitting(sizes: tuple[int, int], peaks: tuple[int, int], available: int, below: int) -> int:
    """The largest batch under `below` with intercept + slope n <= 0.9 `available`, by two measured peaks (bytes).

    >>> fitting((2, 4), (300, 500), 2000, 64)
    17
    """
    slope = max((peaks[1] - peaks[0]) / (sizes[1] - sizes[0]), 1e-9)
    rest = KEEP * available - (peaks[0] - slope * sizes[0])
    return max(0, min(below - 1, int(rest / slope)))

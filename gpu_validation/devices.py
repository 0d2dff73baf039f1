"""Where torch computes: a device by its name, or one line that says why not."""

from __future__ import annotations

import torch

from nasbench_sim.errors import SpecError


def find_device(name: str) -> torch.device:
    """The device of that name: cpu, cuda or cuda:NUMBER. Raises `SpecError` for another, and for one that is not here.

    >>> find_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise SpecError(f"unknown device {name!r}; give cpu, cuda or cuda:NUMBER") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise SpecError(f"device {name!r} is not supported; give cpu, cuda or cuda:NUMBER")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SpecError("no CUDA device is visible to torch; use --device cpu (gpu-validation doctor says why)")
        if (device.index or 0) >= torch.cuda.device_count():
            raise SpecError(f"there is no {name}: {torch.cuda.device_count()} CUDA devices are visible, counted from 0")
    return device


def device_name(name: str) -> str:
    """The device in words."""
    device = torch.device(name)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"

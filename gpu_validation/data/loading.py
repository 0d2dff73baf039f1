"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from gpu_validation.data.dataset import Dataset, synthetic
from nasbench_sim.errors import SpecError, unknown

#: name -> module of gpu_validation.data whose `load(name, folder, device)` makes it; None: made here
DATASETS: dict[str, str | None] = {
    "digits": "digits",
    "synthetic": None,
    "fashion-mnist": "idx",
    "fashion-mini": "mini",
    "cifar10": "archives",
    "cifar100": "archives",
    "ImageNet16-120": "archives",
    "cifar10-subset": "subset",
}


def load_dataset(name: str, *, folder: Path | None = None, device: str = "cpu") -> Dataset:
    """The data set on `device`; `folder` holds its files where it has any.

    Raises `SpecError` for an unknown name, `TableError` for files that are missing, damaged or not what they say.

    >>> load_dataset("synthetic").classes
    10
    """
    if name not in DATASETS:
        raise SpecError(unknown("data set", name, DATASETS))
    module = DATASETS[name]
    if module is None:
        return synthetic(device=device)
    load: Callable[..., Any] = import_module(f"gpu_validation.data.{module}").load
    made = load(name, folder, device)
    assert isinstance(made, Dataset)
    return made

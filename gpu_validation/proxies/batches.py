"""The mini-batch that proxies look at: the first training batch of a data set, a pure function of the seed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from gpu_validation.devices import find_device
from gpu_validation.proxies.saliency import Batch
from nasbench_sim.errors import SpecError


def load_batch(dataset: str, *, seed: int, size: int = 64, folder: Path | None = None, device: str = "cpu") -> Batch:
    """`size` training images without augmentation (normalised as in training), on `device`.

    Raises `SpecError` for a device that this machine does not have and for a data set of fewer images, and what
    `gpu_validation.data.load_dataset` raises for one that is absent.
    """
    find_device(device)
    data = import_module("gpu_validation.data")  # lazily: only proxies that look at data need it
    loaded = data.load_dataset(dataset, folder=folder, device=device)
    images, labels = data.batch(loaded, "train", seed=seed, step=0, size=size, augment=False)
    if len(images) != size:
        raise SpecError(f"data set {dataset} gives {len(images)} images at most, {size} were asked for")
    return Batch(images, labels)

"""Scores of many cells: one network a class of equal cells, kept, so that nothing is computed twice.

Every class (`gpu_validation.proxies.graph`) is scored on one network, drawn by PyTorch's default initialisation from a
generator with the setting's seed: a pure function of (class, setting, batch), in whatever order cells are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gpu_validation.proxies.graph import classes
from gpu_validation.proxies.registry import Proxy, as_published, get_proxy
from gpu_validation.proxies.saliency import Batch, check_batch
from gpu_validation.proxies.synflow_mean import synflow_mean
from nasbench_sim.errors import ArchError, SpecError, unknown
from nasbench_sim.spaces import NB201

#: (class, proxy, setting) -> published form of the score; the batch is the caller's, one cache a batch
Cache = MutableMapping[tuple[int, str, "Setting"], float]


class Images(NamedTuple):
    """What a data set's images are like."""

    classes: int
    size: int
    channels: int = 3


DATASETS: Mapping[str, Images] = {
    "cifar10": Images(10, 32),
    "cifar100": Images(100, 32),
    "ImageNet16-120": Images(120, 16),
}


@dataclass(frozen=True)
class Setting:
    """The network that is scored and the draw of its weights: 3 stages of `cells`, `channels` wide in the first.

    Raises `SpecError` for a network that does not exist. Sizes are multiples of 4: each of two stages halves them.
    """

    classes: int = 10
    size: int = 32
    in_channels: int = 3
    channels: int = 16
    cells: int = 5
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("classes", "size", "in_channels", "channels", "cells"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise SpecError(f"{name} is a positive whole number, got {value!r}")
        if self.size % 4:
            raise SpecError(f"size is a multiple of 4 (two stages halve it), got {self.size}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise SpecError(f"seed is a whole number 0..2^63-1, got {self.seed!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.in_channels, self.size, self.size

    @staticmethod
    def of(dataset: str, *, channels: int = 16, cells: int = 5, seed: int = 42) -> Setting:
        """The benchmark's network for a data set.

        >>> Setting.of("ImageNet16-120").shape
        (3, 16, 16)
        """
        if dataset not in DATASETS:
            raise SpecError(unknown("data set", str(dataset), DATASETS))
        images = DATASETS[dataset]
        return Setting(images.classes, images.size, images.channels, channels, cells, seed)


class MakeNetwork(Protocol):
    """What draws the stand-alone network of a cell; `gpu_validation.supernets.nb201_network.NB201Network`."""

    def __call__(
        self,
        arch: Any,
        *,
        channels: int,
        cells: int,
        classes: int,
        in_channels: int,
        generator: torch.Generator,
    ) -> nn.Module:
        """A network with freshly drawn weights."""


def score(
    name: str,
    archs: npt.ArrayLike,
    setting: Setting | None = None,
    *,
    batch: Batch | None = None,
    make: MakeNetwork | None = None,
    cache: Cache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Scores `[...]` of proxy `name` for `archs[..., 6]`, in the form the published table has; larger is better.

    `batch`: for the proxies that look at data, already on the device where the networks are to run. `cache`: kept
    between calls by the caller, for one batch. `progress(done, total)`: after each class. NaN: not finite.
    Raises `SpecError` for an unknown proxy or a batch that does not fit, `ArchError` for a cell of another space.

    >>> score("synflow-mean", [[3, 3, 3, 3, 3, 3], [1, 1, 1, 1, 1, 1]], Setting(size=4, cells=1)).round(3).tolist()
    [23.227, 15.155]
    """
    proxy, asked = get_proxy(name), setting or Setting()
    numbers = class_numbers(archs)
    return scores_of_classes(proxy, numbers, asked, batch=batch, make=make, cache=cache, progress=progress)


def class_numbers(archs: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The class `[...]` of cells `[..., 6]`; raises `ArchError` for what is no cell of NAS-Bench-201."""
    space = NB201()
    cells = space.check(archs)
    if cells.shape[-1:] != (space.D,):
        raise ArchError(f"a cell of {space.name} is {space.D} operations, got shape {list(cells.shape)}")
    return np.asarray(classes().number[space.index(cells)])


def scores_of_classes(
    proxy: Proxy,
    numbers: npt.NDArray[np.int64],
    setting: Setting,
    *,
    batch: Batch | None = None,
    make: MakeNetwork | None = None,
    cache: Cache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """As `score`, for classes `numbers[...]` of `graph.classes`."""
    _check_fits(proxy, setting, batch)
    kept: Cache = {} if cache is None else cache
    wanted, where = np.unique(numbers, return_inverse=True)
    missing = [int(n) for n in wanted if (int(n), proxy.name, setting) not in kept]
    if missing and not proxy.draws:
        raw = _mean(classes().cells[missing], setting)
        for number, value in zip(missing, raw, strict=True):
            kept[number, proxy.name, setting] = as_published(proxy, float(value))
        if progress is not None:
            progress(len(missing), len(missing))
        missing = []
    for done, number in enumerate(missing, start=1):
        network = draw(classes().cells[number], setting, make, batch)
        kept[number, proxy.name, setting] = as_published(proxy, one(proxy, network, setting, batch))
        if progress is not None:
            progress(done, len(missing))
    values = np.array([kept[int(n), proxy.name, setting] for n in wanted], dtype=np.float64)
    return values[where].reshape(numbers.shape)


def one(proxy: Proxy, network: nn.Module, setting: Setting, batch: Batch | None) -> float:
    """Raw score of one network."""
    if proxy.of_batch is not None:
        assert batch is not None
        return proxy.of_batch(network, batch)
    assert proxy.of_shape is not None
    return proxy.of_shape(network, setting.shape)


def draw(arch: npt.ArrayLike, setting: Setting, make: MakeNetwork | None, batch: Batch | None = None) -> nn.Module:
    """The stand-alone network of a cell, weights drawn with the setting's seed, where the batch is."""
    if make is None:  # lazily: what a test or another space brings along needs no supernets
        made: MakeNetwork = import_module("gpu_validation.supernets.nb201_network").NB201Network
    else:
        made = make
    network = made(
        np.asarray(arch),
        channels=setting.channels,
        cells=setting.cells,
        classes=setting.classes,
        in_channels=setting.in_channels,
        generator=torch.Generator().manual_seed(setting.seed),
    )
    return network if batch is None else network.to(batch.images.device, batch.images.dtype)


def _mean(cells: npt.NDArray[np.int64], setting: Setting) -> npt.NDArray[np.float64]:
    return synflow_mean(
        cells,
        size=setting.size,
        classes=setting.classes,
        channels=setting.channels,
        depth=setting.cells,
        in_channels=setting.in_channels,
    )


def _check_fits(proxy: Proxy, setting: Setting, batch: Batch | None) -> None:
    if not proxy.data:
        return
    if batch is None:
        raise SpecError(f"proxy {proxy.name} looks at a mini-batch: give it one (synflow needs none)")
    check_batch(batch)
    if tuple(batch.images.shape[1:]) != setting.shape:
        raise SpecError(f"images are {list(batch.images.shape[1:])}, but the network takes {list(setting.shape)}")
    low, high = int(batch.labels.min()), int(batch.labels.max())
    if low < 0 or high >= setting.classes:
        raise SpecError(f"labels {low}..{high} do not fit a network of {setting.classes} classes")

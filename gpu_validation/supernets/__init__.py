"""Networks: the weight-sharing supernets of each space, and the stand-alone networks of single cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from gpu_validation.data import Dataset
    from gpu_validation.settings import SupernetSettings


def make_supernet(settings: SupernetSettings, dataset: Dataset) -> Callable[[str, torch.Generator], nn.Module]:
    """`make(backend, generator)`: the supernet of these settings for images and classes of `dataset`."""
    sizes: dict[str, Any] = {
        "channels": settings.channels,
        "classes": dataset.classes,
        "in_channels": dataset.channels,
        "batch_norm": settings.batch_norm,
    }

    def make(backend: str, generator: torch.Generator) -> nn.Module:
        if settings.space == "nb201":
            from gpu_validation.supernets.nb201 import NB201Supernet

            return NB201Supernet(**sizes, cells=settings.cells, backend=backend, generator=generator)  # type: ignore
        from gpu_validation.supernets.nb1shot1 import NB1Shot1Supernet

        number = int(settings.space[-1])
        return NB1Shot1Supernet(number, **sizes, backend=backend, generator=generator)  # type: ignore

    return make

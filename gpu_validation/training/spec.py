"""How a network is trained alone: one frozen specification, and the network that it asks for.

Protocol `table` is that of NAS-Bench-201 (Dong & Yang, ICLR 2020, section 3.2; AutoDL-Projects, exps/NAS-Bench-201,
functions.py): SGD with Nesterov momentum 0.9, lr 0.1 to 0 by a cosine that moves every step, weight decay 5e-4 on all
weights, batch 256, 200 epochs, flip and crop, no cutout. `table-12` is its short run of 12 epochs.
`short` is ours, for small data on a CPU: 20 epochs, batch 64; its accuracies are in no table.

Deviations: an epoch's last mini-batch is filled up from the beginning of its permutation; NAS-Bench-1Shot1 cells are
trained by the same recipe, not by RMSProp as in NAS-Bench-101.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, nn

from gpu_validation.settings import Precision, checked
from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.spaces import NB1Shot1
from nasbench_sim.tables.manifest import cached_space

PROTOCOLS: dict[str, dict[str, Any]] = {
    "table": {},
    "table-12": {"epochs": 12},
    "short": {"epochs": 20, "batch": 64},
}


class TrainSpec(BaseModel):
    """One training run. `arch`: option numbers of a cell of `space`; `channels`, `cells`: the network around it.

    `cells` (a stage) says nothing to NAS-Bench-1Shot1, which has 9 modules; there `channels` is the width of the stem.
    `precision` other than float32 and float64 is autocast on float32 weights; `compiled`: by torch.compile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    space: Literal["nb201", "nb1shot1-1", "nb1shot1-2", "nb1shot1-3"] = "nb201"
    arch: tuple[int, ...]
    seed: int = Field(default=777, ge=0, lt=2**63)
    channels: int = Field(default=16, ge=1, le=1024)
    cells: int = Field(default=5, ge=1, le=50)
    epochs: int = Field(default=200, ge=1, le=100_000)
    batch: int = Field(default=256, ge=2, le=65536)
    lr: float = Field(default=0.1, gt=0, le=100, allow_inf_nan=False)
    momentum: float = Field(default=0.9, gt=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    augment: bool = True
    eval_batch: int = Field(default=512, ge=2, le=65536)
    precision: Precision = "float32"
    channels_last: bool = False
    compiled: bool = False

    @property
    def digest(self) -> str:
        """sha256 of all settings."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The cell in words."""
        return cached_space(self.space).format(self.arch)

    @property
    def index(self) -> int:
        """The cell's official index."""
        return int(cached_space(self.space).index(np.array(self.arch)))

    @property
    def recipe(self) -> str:
        """How it was trained, in words, for the source of predictions and records.

        >>> make_train_spec(1462, "short", channels=4, cells=1).recipe
        'C 4, N 1, SGD lr 0.1, batch 64, 20 epochs'
        """
        return f"C {self.channels}, N {self.cells}, SGD lr {self.lr:g}, batch {self.batch}, {self.epochs} epochs"


def make_train_spec(
    arch: str | int | npt.ArrayLike, protocol: str = "table", *, space: str = "nb201", **values: Any
) -> TrainSpec:
    """The specification of training `arch` (string, official index or option numbers) by a protocol, some things other.

    Raises `ArchError` for what is no cell of the space, `SpecError` for unknown or impossible settings.

    >>> make_train_spec("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|").epochs
    200
    >>> make_train_spec(1462, "table-12").batch
    256
    """
    if protocol not in PROTOCOLS:
        raise SpecError(unknown("protocol", protocol, PROTOCOLS))
    known = TrainSpec.model_fields["space"].annotation.__args__  # type: ignore[union-attr]
    if space not in known:
        raise SpecError(unknown("space", space, known))
    asked = cached_space(space)
    if isinstance(arch, str) and arch.strip().isdecimal():  # an index, as a command line gives it
        arch = int(arch) if len(arch.strip()) < 20 else -1
    numbers = asked.at(asked.resolve(arch))
    chosen = {**PROTOCOLS[protocol], **values, "space": space, "arch": tuple(int(k) for k in numbers)}
    return checked(TrainSpec, "training", chosen)


def make_network(spec: TrainSpec, *, classes: int, in_channels: int, generator: Generator | None) -> nn.Module:
    """The network of the specification, its weights drawn by `generator` alone (None: no numbers, meta device)."""
    sizes: dict[str, Any] = {"classes": classes, "in_channels": in_channels, "generator": generator}
    if spec.space == "nb201":
        from gpu_validation.supernets.nb201_network import NB201Network

        return NB201Network(np.array(spec.arch), channels=spec.channels, cells=spec.cells, **sizes)
    from gpu_validation.supernets.nb101_network import NB101Network

    space = cached_space(spec.space)
    assert isinstance(space, NB1Shot1)
    return NB101Network(*space.module(np.array(spec.arch)), stem=spec.channels, **sizes)

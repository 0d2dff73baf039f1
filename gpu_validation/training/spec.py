"""How a network is trained alone: the protocol of the tables, or a short one, with single numbers replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.errors import SpecError, unknown

_SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
#: protocol -> its numbers. `table`: NAS-Bench-201 (Dong & Yang 2020, section 2.2; FACTS A.4); `short`: minutes on a CPU
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "table": {
        "epochs": 200,
        "batch": 256,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "channels": 16,
        "cells": 5,
    },
    "short": {"epochs": 10, "batch": 64, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "channels": 8, "cells": 1},
}


class TrainSpec(BaseModel):
    """Everything that decides the numbers of one training.

    Equal specifications give equal curves, bit for bit, on a CPU with one number of threads; on a GPU only where its
    libraries are told to be deterministic (`torch.use_deterministic_algorithms`), which is left to the caller.

    SGD with Nesterov momentum, lr falling to 0 by a cosine over the epochs, constant within one. `seed`: initial
    weights, order of the images and their augmentation. `precision` bfloat16 and float16 are autocast on float32
    weights (float16 with losses scaled by 1,024); evaluations are in float32. `compiled`: steps run
    through torch.compile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    arch: str
    dataset: str
    protocol: Literal["table", "short"] = "short"
    seed: int = Field(default=0, ge=0, lt=2**63)
    epochs: int = Field(ge=1, le=100_000)
    batch: int = Field(ge=2, le=65_536)
    lr: float = Field(gt=0, le=100, allow_inf_nan=False)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, allow_inf_nan=False)
    channels: int = Field(ge=1, le=1024)
    cells: int = Field(ge=1, le=50)
    augment: bool = True
    eval_batch: int = Field(default=512, ge=2, le=65_536)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    compiled: bool = False

    @property
    def digest(self) -> str:
        """sha256 of the specification."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def make_train_spec(*, protocol: str = "short", **values: Any) -> TrainSpec:
    """The protocol's numbers with `values` in their place; every problem is told in one line as a `SpecError`.

    >>> make_train_spec(arch="...", dataset="digits", epochs=3).lr
    0.1
    """
    if protocol not in PROTOCOLS:
        raise SpecError(unknown("protocol", protocol, PROTOCOLS))
    try:
        return TrainSpec(**{**PROTOCOLS[protocol], "protocol": protocol, **values})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(f"impossible training: {problems}") from error

"""What a supernet is and how its weights train: one frozen specification that travels with a run's record."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gpu_validation.contracts import Backend, BatchNorm
from gpu_validation.second_order import SecondOrder
from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.gradient import StepOrder

SPACES = ("nb201", "nb1shot1-1", "nb1shot1-2", "nb1shot1-3")
Precision = Literal["float32", "float64", "bfloat16", "float16"]


class SupernetSettings(BaseModel):
    """Network, weight optimiser and evaluation of a supernet. Defaults: the published search of NAS-Bench-201.

    `space`, `channels`, `cells` (a stage; NAS-Bench-1Shot1 has 9 in all whatever it says), `batch_norm`, `backend`: the
    network. `batch` images in `shards` (see `parallel`), `lr` -> `lr_min` by cosine, `momentum` (Nesterov),
    `weight_decay`, `clip` (norm of the gradient, None: not at all), `augment`: the weight step (FACTS A.3). `order`,
    `second_order`: see `GradientSearcher` and `second_order`. `eval_images`: how many images of a split an evaluation
    looks at, in batches of `eval_batch`; `recalibration`: training batches from which running statistics are made anew
    before an evaluation. The curvature is taken on `hessian_batch` validation images every `curvature` epochs (0:
    never). `precision` other than float32 and float64 is autocast on float32 weights. `channels_last`, `compiled`: how
    it is computed; `static`: run every option whatever the gates, so that a compiled graph is made once (single paths
    then cost what a mixture does).

    >>> SupernetSettings(channels=4, cells=1).batch
    64
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    space: Literal["nb201", "nb1shot1-1", "nb1shot1-2", "nb1shot1-3"] = "nb201"
    channels: int = Field(default=16, ge=1, le=1024)
    cells: int = Field(default=5, ge=1, le=50)
    batch_norm: BatchNorm = "batch"
    backend: Backend = "fused"
    batch: int = Field(default=64, ge=2, le=65536)
    shards: int = Field(default=1, ge=1, le=1024)
    lr: float = Field(default=0.025, gt=0, le=100, allow_inf_nan=False)
    lr_min: float = Field(default=0.001, ge=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    clip: float | None = Field(default=5.0, gt=0)
    augment: bool = True
    order: StepOrder = "together"
    second_order: SecondOrder = "finite difference"
    eval_images: int = Field(default=10_000, ge=1)
    eval_batch: int = Field(default=512, ge=2, le=65536)
    recalibration: int = Field(default=8, ge=1)
    hessian_batch: int = Field(default=64, ge=2)
    curvature: int = Field(default=1, ge=0)
    precision: Precision = "float32"
    channels_last: bool = False
    compiled: bool = False
    static: bool = False

    @model_validator(mode="after")
    def _possible(self) -> SupernetSettings:
        if self.lr_min > self.lr:
            raise ValueError(f"lr falls from lr ({self.lr}) to lr_min ({self.lr_min}), which is larger")
        if 2 * self.shards > self.batch:
            raise ValueError(f"a shard has at least 2 images: {self.batch} images make no {self.shards} shards")
        if self.shards > 1 and self.second_order == "unrolled":
            raise ValueError("shards are joined by sums that have no derivative; use second_order hessian-vector")
        if self.backend == "triton" and self.precision == "float64":
            raise ValueError("backend triton is for float32 and autocast; float64 has backend reference or fused")
        return self

    @property
    def name(self) -> str:
        """Name of the network in records and figures.

        >>> SupernetSettings(channels=4, cells=1).name
        'nb201 supernet, C 4, N 1'
        """
        cells = f", N {self.cells}" if self.space == "nb201" else ""
        return f"{self.space} supernet, C {self.channels}{cells}"


def make_settings(**values: Any) -> SupernetSettings:
    """`SupernetSettings(**values)` with every problem told in one line as a `SpecError`.

    >>> make_settings(batch=1)
    Traceback (most recent call last):
        ...
    nasbench_sim.errors.SpecError: impossible supernet: batch: Input should be greater than or equal to 2
    """
    try:
        return SupernetSettings(**values)
    except ValidationError as error:
        problems = []
        for e in error.errors():
            where = ".".join(str(p) for p in e["loc"])
            message = e["msg"].removeprefix("Value error, ")
            if e["type"] == "extra_forbidden":
                message = f"there is no such setting; there are {', '.join(SupernetSettings.model_fields)}"
            problems.append(f"{where}: {message}" if where else message)
        raise SpecError("impossible supernet: " + "; ".join(problems)) from error

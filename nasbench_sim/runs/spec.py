"""What a run is: one frozen, validated specification that travels with its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.shared_params import with_fit
from nasbench_sim.searchers.gradient import StepOrder

MAX_SEEDS = 1_000_000
MAX_SEED_STEPS = 10**12


class RunSpec(BaseModel):
    """Everything that decides a run's numbers; two equal specs on one table give equal records, bit for bit.

    `steps_per_epoch` and `epochs` default to the published NAS-Bench-201 protocol of DARTS: 25,000 / 64 -> 391
    architecture steps an epoch, 50 epochs (FACTS: AutoDL-Projects configs/nas-benchmark/algos/DARTS.config).

    `landscape="evaluations"` (black-box methods): a search trains one cell after another until `budget` simulated
    seconds are spent; `epochs` is then the number of points of the anytime curve, and `steps_per_epoch` means nothing.

    `landscape="supernet"` (package `gpu_validation`): a true weight-sharing network is trained; `table` names it.

    `step_order`: of the weight and the architecture step of a gradient method, see `GradientSearcher`; written down
    only where it is not `together`, so that digests of runs made before it was a field hold. A supernet's is among its
    settings (`landscape_params`).

    `penalty`: metric of the table -> weight, in units of the loss per unit of the metric, added to the loss of a
    gradient search: `{"latency_ms/pixel3": 0.01}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: str
    params: dict[str, Any] = Field(default_factory=dict)
    table: str
    dataset: str
    landscape: Literal["tabular", "shared", "evaluations", "supernet"] = "shared"
    landscape_params: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...]
    epochs: int = Field(default=50, ge=1, le=100_000)
    steps_per_epoch: int = Field(default=391, ge=1, le=1_000_000)
    dtype: Literal["float32", "float64"] = "float32"
    budget: float | None = Field(default=None, gt=0, le=1e12, allow_inf_nan=False)
    penalty: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    step_order: StepOrder = "together"

    @field_validator("seeds", mode="before")
    @classmethod
    def _expand(cls, seeds: Any) -> Any:
        if isinstance(seeds, int) and not isinstance(seeds, bool):
            if seeds < 1:
                raise ValueError(f"a number of seeds is at least 1, got {seeds}")
            if seeds > MAX_SEEDS:
                raise ValueError(f"at most {MAX_SEEDS} seeds a run, got {seeds}")
            return tuple(range(seeds))
        if isinstance(seeds, range) and len(seeds) > MAX_SEEDS:
            raise ValueError(f"at most {MAX_SEEDS} seeds a run, got {len(seeds)}")
        return tuple(seeds) if isinstance(seeds, (list, range)) else seeds

    @model_validator(mode="after")
    def _possible(self) -> RunSpec:
        if not self.seeds:
            raise ValueError("a run needs at least one seed")
        if len(self.seeds) > MAX_SEEDS:
            raise ValueError(f"at most {MAX_SEEDS} seeds a run, got {len(self.seeds)}")
        if min(self.seeds) < 0 or max(self.seeds) >= 2**63:
            raise ValueError("seeds are integers in 0 .. 2^63-1")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds are repeated; each seed counts once")
        if self.budget is not None and self.landscape != "evaluations":
            raise ValueError("a budget in simulated seconds belongs to landscape 'evaluations' (black-box methods)")
        if self.step_order != "together" and self.landscape not in ("shared", "tabular"):
            own = "a supernet has it among its settings (--net order=...)"
            what = own if self.landscape == "supernet" else "black-box methods have none"
            raise ValueError(f"step_order is that of the two steps of a gradient search on a table; {what}")
        if self.penalty and self.landscape == "evaluations":
            raise ValueError("a penalty belongs to the gradient searches; black-box ones have nsga2 for two objectives")
        if len(self.seeds) * self.epochs * self.steps_per_epoch > MAX_SEED_STEPS:
            raise ValueError(f"seeds x epochs x steps_per_epoch exceeds {MAX_SEED_STEPS:.0e}")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = write(self)
        if plain.get("step_order") == "together":
            del plain["step_order"]
        return plain

    @property
    def digest(self) -> str:
        """sha256 of the specification without the seeds: runs with equal digests may be joined."""
        text = self.model_dump_json(exclude={"seeds"})
        return hashlib.sha256(json.dumps(json.loads(text), sort_keys=True).encode()).hexdigest()


def make_spec(**fields: Any) -> RunSpec:
    """`RunSpec(**fields)` with every problem told in one line as a `SpecError`.

    `fit` among the parameters of landscape `shared` is replaced by the numbers of that fit.

    >>> make_spec(method="darts", table="nb201-analog", dataset="cifar10", seeds=3).seeds
    (0, 1, 2)
    """
    given = fields.get("landscape_params")
    if isinstance(given, Mapping) and "fit" in given and fields.get("landscape") == "shared":
        fields = {**fields, "landscape_params": with_fit(given)}
    try:
        return RunSpec(**fields)
    except ValidationError as error:
        problems = []
        for e in error.errors():
            where = ".".join(str(p) for p in e["loc"])
            message = e["msg"].removeprefix("Value error, ")
            problems.append(f"{where}: {message}" if where else message)
        raise SpecError("impossible run: " + "; ".join(problems)) from error

"""The parameters of the weight-sharing model (`shared`), and the JSON files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.files import MAX_JSON, read_text
from nasbench_sim.resources import data_path


class SharedWeightsParams(BaseModel):
    """Named parameters of the weight-sharing model; the defaults of a run come from `data/shared_weights.json`.

    `scale` nats per unit of error; `rate` per unit of learning rate and usage, by option; `rate_progress` per pass
    over the training data; `none_visibility` in [0, 1]; `preference` nats by option (0 where not named); `onset` the
    training progress at which the preference sets in; `noise` and `idiosyncrasy` sd in nats per unit of theta;
    `lr_max`, `lr_min` of the cosine schedule of the shared weights (SGD 0.025 -> 0.001 in every recorded and
    published NAS-Bench-201 setting).

    The others are off by default, so that older files mean what they did. mu = mixing(theta)^none_fading is how much
    theta is a mixture (None: wholly; 0 for single cells). `none` acts as itself by 1 - mu; `bias` (nats by option)
    is a preference that only mixtures show, from the start; the table weighs 1 - (1 - mixed_scale) mu, and by
    `scale_growth` more after 50 epochs than at the start; `input_factor`: of the preference on edges that leave the
    input of a NAS-Bench-201 cell; `open_gate`: share of its slope that the open gate of a single cell shows.
    `mixing_power` of mixing in the progress, `steadiness_power` of how alike the forward weights of successive steps
    are, and as much of the preference is seen; `drive`: whether the preference grows with p (`progress`, at most 1) or
    with p / (1 - p) (`passes`: mixed passes over the data times rate_progress, without end); `noise_of` factor of noise
    and idiosyncrasy by option (1 where not named); `noise_growth` of both per unit of p / (1 - p).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float = Field(ge=0)
    rate: dict[str, float]
    rate_progress: float = Field(ge=0)
    none_visibility: float = Field(default=1.0, ge=0, le=1)
    preference: dict[str, float]
    onset: float = Field(ge=0, le=1)
    noise: float = Field(ge=0)
    idiosyncrasy: float = Field(ge=0)
    lr_max: float = Field(default=0.025, gt=0)
    lr_min: float = Field(default=0.001, ge=0)
    bias: dict[str, float] = Field(default_factory=dict)
    mixing_power: float = Field(default=1.0, ge=0)
    steadiness_power: float = Field(default=0.0, ge=0)
    none_fading: float | None = Field(default=None, ge=0)
    mixed_scale: float = Field(default=1.0, ge=0, le=1)
    scale_growth: float = Field(default=0.0, ge=0)
    input_factor: float = Field(default=1.0, ge=0)
    open_gate: float = 1.0
    drive: Literal["progress", "passes"] = "progress"
    noise_of: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    noise_growth: float = Field(default=0.0, ge=0)

    @classmethod
    def load(cls, path: Path | str | None = None, **changes: Any) -> Self:
        """Parameters from a JSON file (default: the project's fit), with single values replaced by `changes`."""
        path = data_path("shared_weights.json") if path is None else Path(path)
        try:
            values = json.loads(read_text(path, MAX_JSON))["params"]
            strange = set(changes) - set(cls.model_fields)
            if strange:
                raise SpecError(
                    f"shared-weights model has no parameter {', '.join(sorted(strange))}; it has "
                    f"{', '.join(cls.model_fields)}"
                )
            return cls(**{**values, **changes})
        except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, SpecError):
                raise
            if isinstance(error, ValidationError):
                problem = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
                raise SpecError(f"impossible shared-weights parameters: {' '.join(problem.split())[:1000]}") from error
            why = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())[:200]
            raise SpecError(
                f"{path} holds no shared-weights parameters ({why}); `gpu-validation calibrate` writes some"
            ) from error


def with_fit(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters in which `fit`, a fit that comes with the project or a file of one, stands for the numbers it holds.

    What else is given replaces single numbers of the fit. Raises `SpecError` where there is no such fit.

    >>> with_fit({"onset": 0.5})
    {'onset': 0.5}
    """
    rest = dict(params)
    if "fit" not in rest:
        return rest
    return {**SharedWeightsParams.load(fit_path(str(rest.pop("fit")))).model_dump(), **rest}


def fit_path(name: str) -> Path:
    """File of a fit that comes with the project, or the file `name` itself where that ends in .json.

    >>> fit_path("breadth").name
    'breadth.json'
    """
    known = sorted(path.stem for path in data_path("calibration").glob("*.json"))
    if name in known:
        return data_path("calibration", f"{name}.json")
    if not name.endswith(".json"):
        raise SpecError(f"{unknown('fit', name, known)}; or give a file FIT.json of `gpu-validation calibrate`")
    return Path(name)

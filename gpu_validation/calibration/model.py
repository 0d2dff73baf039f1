"""The ladder of models: which parameters each has, and the gradients that it predicts for recorded runs.

A prediction is the landscape's own code (`SharedWeightsLandscape.gradient`) at the recorded theta, in the state to
which the recorded forward weights drive it: maturity and progress half-way through each epoch, in closed form.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpu_validation.calibration.recordings import Recordings, felt, precision
from nasbench_sim.landscapes import Horizon, SharedWeightsLandscape, SharedWeightsParams
from nasbench_sim.landscapes.base import fresh_state

Array = npt.NDArray[Any]
PASSES = 50  # mixed passes over the data at which the drive of the preference is 1


class Free(NamedTuple):
    """A fitted number: where it starts, its bounds, how far off it is to be expected, whether on a log scale."""

    start: float
    low: float
    high: float
    width: float
    log: bool = False


class Step(NamedTuple):
    """One step of the ladder: its name and the numbers that it adds."""

    name: str
    adds: tuple[str, ...]


def numbers(space_options: list[str]) -> dict[str, Free]:
    """Every number that can be fitted, by name; options are those that a preference may name.

    >>> list(numbers(["none", "skip_connect"]))[:2]
    ['scale', 'rate']
    """
    out = {
        "scale": Free(0.3, 0.0, 10.0, 0.3),
        "rate": Free(1.0, 1e-3, 1e3, 2.0, log=True),
        "mixing_power": Free(8.0, 0.0, 30.0, 8.0),
        "steadiness_power": Free(100.0, 0.0, 1000.0, 200.0),
        "onset": Free(0.02, 0.0, 0.95, 0.3),  # before the drive of any run: beyond it there is no slope
        "none_visibility": Free(0.3, 0.0, 1.0, 0.3),
        "none_fading": Free(4.0, 0.05, 40.0, 1.0, log=True),
        "mixed_scale": Free(0.5, 0.0, 1.0, 0.3),
        "input_factor": Free(1.0, 0.0, 10.0, 2.0),
        "scale_growth": Free(0.0, 0.0, 10.0, 1.0),
        "open_gate": Free(1.0, -1.0, 2.0, 0.5),
    }
    for option in space_options:
        out[f"bias {option}"] = Free(0.0, -1.0, 1.0, 0.02)
        out[f"preference {option}"] = Free(0.0, -10.0, 10.0, 0.3)
    return out


def ladder(options: list[str]) -> list[Step]:
    """The models in the order in which terms are added; options[0] is what preferences are relative to.

    The table comes first: it is the simplest model, and terms that are taken before it do its work for the methods
    fitted and not for the one held out (docs/decisions.md).
    """
    free = options[1:]
    return [
        Step("table", ("scale", "none_visibility")),
        Step("+ mixtures differ from cells", ("none_fading", "mixed_scale")),
        Step("+ maturity", ("rate",)),
        Step("+ constant preference", tuple(f"bias {o}" for o in free)),
        Step("+ preference that grows", (*(f"preference {o}" for o in free), "onset")),
        Step("+ only in steady mixtures", ("steadiness_power",)),
        Step("+ power of mixing", ("mixing_power",)),
        Step("+ edges from the input", ("input_factor",)),
        Step("+ table grows", ("scale_growth",)),
        Step("+ open gates", ("open_gate",)),
    ]


def names_of(steps: list[Step]) -> list[str]:
    """The free parameters of a model that consists of these steps, in order.

    >>> names_of(ladder(["none", "skip_connect"])[:2])
    ['scale', 'none_visibility', 'none_fading', 'mixed_scale']
    """
    return [name for step in steps for name in step.adds]


def to_params(values: dict[str, float], base: SharedWeightsParams) -> SharedWeightsParams:
    """Model parameters from fitted numbers by name; what is not among them is switched off.

    Off is: scale 0, trained from the start (rate 10^6), progress linear in mixing, all mixtures alike. Preferences are
    driven by mixed passes over the data, 1 after `PASSES` of them: slope, onset and rate could not be told apart.
    """
    off: dict[str, Any] = {
        "scale": values.get("scale", 0.0),
        "rate": {name: values.get("rate", 1e6) for name in base.rate},
        "rate_progress": 1.0 / PASSES,
        "drive": "passes",
        "bias": {n.removeprefix("bias "): v for n, v in values.items() if n.startswith("bias ")},
        "preference": {n.removeprefix("preference "): v for n, v in values.items() if n.startswith("preference ")},
    }
    plain = {
        "mixing_power": 1.0,
        "steadiness_power": 0.0,
        "onset": 0.0,
        "none_visibility": 0.0,
        "none_fading": None,
        "mixed_scale": 1.0,
    }
    plain |= {"input_factor": 1.0, "scale_growth": 0.0, "open_gate": 1.0}
    off |= {name: values.get(name, without) for name, without in plain.items()}
    return base.model_copy(update=off)


class Predictor:
    """Predicted mean gradients `[R, E, D, K]` of recorded runs, for any parameters; and what they leave unexplained.

    `land`: the model on the table that belongs to the recordings, float64.
    """

    def __init__(self, found: Recordings, land: SharedWeightsLandscape) -> None:
        self.found, self.land = found, land
        self.weight = precision(found.spread, found.shown, found.steps)
        self.recorded = felt(found.gradient, self.weight)
        self.dof = int(np.maximum((self.weight > 0).sum(axis=3) - 1, 0).sum())
        seen = found.shown.any(axis=(2, 3))
        self._rows = [np.nonzero(seen & (found.single == kind)[:, None]) for kind in (False, True)]
        self._point = np.nan_to_num(found.point, nan=0.0)
        self._usage = np.nan_to_num(found.usage, nan=0.0)
        self._mixed, self._steady = (np.nan_to_num(some, nan=0.0) for some in (found.mixed, found.steady))
        shape = self._mixed.shape
        fresh = fresh_state(found.space, np.zeros(shape[0] * shape[1]), Horizon(1, 1), np.float64)
        epoch = np.broadcast_to(np.arange(shape[1]) * found.steps[:, None] + found.steps[:, None] // 2, shape)
        per_epoch = np.broadcast_to(found.steps[:, None], shape)
        self._fresh = fresh._replace(step=epoch.ravel(), steps_per_epoch=per_epoch.ravel())

    def states(self, params: SharedWeightsParams) -> tuple[Array, Array]:
        """Maturity `[R, E, D, K]` and progress `[R, E]` half-way through each epoch, driven by what was recorded.

        With usage constant within an epoch both equations have closed forms: 1 - m is a product over steps, and
        p = q / (1 + q) with q the sum over epochs of rate times the powers of mixing and of steadiness.
        """
        q = params.rate_progress * self._mixed**params.mixing_power * self._steady**params.steadiness_power
        q = np.cumsum(q, axis=1) - 0.5 * q
        parametric, by_name = self.found.space.parametric, self.land.with_params(params).rates
        maturity = np.ones_like(self._usage)
        for run, (epochs, steps) in enumerate(zip(self.found.epochs, self.found.steps, strict=True)):
            done = np.arange(self._usage.shape[1] * steps) / (epochs * steps)
            lr = params.lr_min + 0.5 * (params.lr_max - params.lr_min) * (1 + np.cos(np.pi * np.minimum(done, 1)))
            lr = lr.reshape(-1, int(steps))[:, :, None]
            x = np.minimum(by_name[parametric] * lr, 1) * self._usage[run][:, parametric][:, None]
            left = np.log1p(-np.minimum(x, 1 - 1e-9)).sum(axis=1)
            maturity[run][:, parametric] = 1 - np.exp(np.cumsum(left, axis=0) - 0.5 * left)
        return maturity, q / (1 + q)

    def gradients(self, params: SharedWeightsParams) -> Array:
        """The model's mean gradients, nats per unit of theta; 0 where none was recorded."""
        land = self.land.with_params(params)
        maturity, progress = self.states(params)
        out = np.zeros_like(self._point)
        for single, rows in zip((False, True), self._rows, strict=True):
            if len(rows[0]):
                flat = np.ravel_multi_index(rows, progress.shape)
                state = self._fresh._replace(
                    seeds=self._fresh.seeds[flat],
                    step=self._fresh.step[flat],
                    steps_per_epoch=self._fresh.steps_per_epoch[flat],
                    maturity=maturity[rows],
                    progress=progress[rows],
                    extra={"unsteady": 1 - self._steady[rows]},
                )
                out[rows] = land.gradient(state, self._point[rows], discrete=single, mixing=self._mixed[rows])
        return out

    def residual(self, params: SharedWeightsParams) -> Array:
        """(recorded - predicted) as a softmax feels it, in standard errors, `[R, E, D, K]`."""
        return self.recorded - felt(self.gradients(params), self.weight)

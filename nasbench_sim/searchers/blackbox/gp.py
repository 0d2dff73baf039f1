"""Gaussian-process Bayesian optimisation over cells: scikit-learn's regressor, expected improvement."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.blackbox.base import History, Method, Noise, Problem, Slots, uniform_cells
from nasbench_sim.searchers.blackbox.cells import codes, draw, neighbours
from nasbench_sim.searchers.blackbox.encodings import Encoding, Target, encode, targets
from nasbench_sim.searchers.blackbox.optional import need
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

_START = (0.0, 0.35, -4.6)  # logarithms of amplitude 1, l with l^2 = 2 edges, and noise 0.01 of the variance


@dataclass(frozen=True)
class GaussianProcess(Method):
    """Trains the candidate with the largest expected improvement under a Gaussian process on all results so far.

    Kernel: amplitude * exp(-|x - x'|^2 / (2 l^2)) + noise, x the cell's encoding. With one-hot edges |x - x'|^2 is
    twice the Hamming distance, so this is exp(-H / l^2); with "path" it compares the paths from input to output.
    Amplitude, l and noise maximise the marginal likelihood every `refit` evaluations and are kept in between.

    Target: log(100 - accuracy) or minus the accuracy (see `encodings.targets`), standardised.
    EI(x) = (best - mu) Phi(z) + sd phi(z), z = (best - mu) / sd, over untrained candidates: all cells, or ("local") the
    neighbours of the `parents` best cells and `random` uniform ones.

    Memory: `theta` float64 `[S, 3]`, the logarithms of the kernel's parameters. The loop over seeds is plain.
    """

    initial: int = 10
    refit: int = 5
    encoding: Encoding = "one-hot"
    target: Target = "log-error"
    candidates: Literal["local", "all"] = "local"
    parents: int = 5
    random: int = 200
    epochs: int | None = None
    name: str = "gp-bo"

    def __post_init__(self) -> None:
        for what in ("initial", "refit", "parents", "random"):
            if getattr(self, what) < 1:
                raise SpecError(f"{what} is at least 1, got {getattr(self, what)}")
        idle = [f.name for f in fields(self) if f.name in ("parents", "random") and getattr(self, f.name) != f.default]
        if self.candidates == "all" and idle:
            raise SpecError(f"{self.name} with all cells as candidates has no {', '.join(idle)}; leave that out")
        need("sklearn.gaussian_process", self.name)

    def levels(self, problem: Problem) -> tuple[int, ...]:
        """One fidelity; raises `SpecError` where the space has no paths to encode."""
        encode(problem.space, problem.space.all[:1], self.encoding)
        return super().levels(problem)

    def init(self, space: Space, seeds: Array) -> Slots:
        """The kernel as it stands before the first fit."""
        return {"theta": np.tile(np.array(_START), (len(seeds), 1))}

    def propose(
        self, problem: Problem, history: History, slots: Slots, streams: Noise, n: int
    ) -> tuple[Array, Array, Slots]:
        """A uniform cell for the first `initial`, afterwards the one that promises most."""
        archs = uniform_cells(problem, streams, n)
        fidelity = self.at_level(problem, len(archs))
        if n < self.initial:
            return archs, fidelity, slots
        theta, tune = slots["theta"].copy(), (n - self.initial) % self.refit == 0
        extra = draw(problem.space, streams.uniform("candidate", n, (self.random, problem.space.D)))
        for s in range(len(archs)):
            target = targets(history.value[s], self.target)
            options = self._candidates(problem.space, history.archs[s], target, extra[s])
            model = self.fit(problem.space, history.archs[s], target, theta[s], tune=tune)
            if tune:  # else exp and log of the same kernel, off by a last bit
                theta[s] = model.kernel_.theta
            mean, sd = model.predict(encode(problem.space, options, self.encoding), return_std=True)
            archs[s] = options[expected_improvement(mean, sd, target.min()).argmax()]
        return archs, fidelity, {"theta": theta}

    def fit(self, space: Space, archs: Array, target: Array, theta: Array, *, tune: bool) -> Any:
        """scikit-learn's regressor on `archs[n, D]`, its kernel at `theta[3]` or tuned from there."""
        gp = need("sklearn.gaussian_process", self.name)
        k = gp.kernels
        kernel = k.ConstantKernel(1.0, (1e-2, 1e2)) * k.RBF(2.0, (0.1, 100)) + k.WhiteKernel(1e-2, (1e-5, 1.0))
        model = gp.GaussianProcessRegressor(
            kernel.clone_with_theta(np.clip(theta, *kernel.bounds.T)),
            normalize_y=True,
            optimizer="fmin_l_bfgs_b" if tune else None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a parameter at its bound is an answer, not a problem
            return model.fit(encode(space, archs, self.encoding), target)

    def _candidates(self, space: Space, archs: Array, target: Array, extra: Array) -> Array:
        """Untrained cells `[c, D]`, in an order that does not depend on anything but the arguments."""
        if self.candidates == "all":
            options: Array = space.all
        else:
            parents = archs[np.argsort(target, kind="stable")[: self.parents]]
            options = np.concatenate([neighbours(space, parents).reshape(-1, space.D), extra])
        fresh = ~np.isin(codes(space, options), codes(space, archs))
        return options[fresh] if fresh.any() else options


def expected_improvement(mean: Array, sd: Array, best: float) -> npt.NDArray[np.float64]:
    """E[max(best - y, 0)] for y ~ N(mean, sd^2), `[c]`; max(best - mean, 0) where sd is 0 (Jones et al. 1998, eq. 15).

    >>> expected_improvement(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 2.0).round(4).tolist()
    [1.0, 2.0085]
    """
    gain = best - mean
    z = np.divide(gain, sd, out=np.zeros_like(gain), where=sd > 0)
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.where(sd > 0, gain * ndtr(z) + sd * density, np.maximum(gain, 0))

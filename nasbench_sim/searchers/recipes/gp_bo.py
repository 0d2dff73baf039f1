"""Bayesian optimisation with a Gaussian process and a simulated budget."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.encodings import Encoding, Target
from nasbench_sim.searchers.blackbox.gp import GaussianProcess
from nasbench_sim.searchers.registry import register


@register(
    name="gp-bo",
    family="black-box",
    title="GP Bayesian optimisation",
    paper="Jones, Schonlau & Welch, Efficient global optimization, J. Global Optimization 1998; kernels on cells: "
    "White et al., BANANAS, AAAI 2021 (path encoding), Ru et al., NAS with Bayesian optimisation, ICLR 2021",
    equation="argmax over untrained cells of E[max(best - y, 0)], y ~ GP(0, a exp(-|x - x'|^2 / 2 l^2) + noise)",
    deviations=(
        "one cell at a time; BANANAS trains batches of 10",
        "no Weisfeiler-Lehman kernel (Ru et al.): one-hot edges or paths",
    ),
    unknowns=(
        "target: log(100 - accuracy), or the accuracy; default log-error",
        "candidates: neighbours of the 5 best and 200 uniform cells, or all; default local",
    ),
    test_params={"initial": 4, "refit": 3, "random": 20},
    work=2500.0,
)
def gp_bo(
    *,
    initial: int = 10,
    refit: int = 5,
    encoding: Encoding = "one-hot",
    target: Target = "log-error",
    candidates: Literal["local", "all"] = "local",
    parents: int = 5,
    random: int = 200,
    epochs: int | None = None,
) -> BlackBox:
    """Gaussian process on the cells trained so far, expected improvement over untrained ones."""
    return GaussianProcess(initial, refit, encoding, target, candidates, parents, random, epochs)

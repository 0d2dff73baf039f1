"""GDAS: one sampled cell a step, with a straight-through gradient."""

from __future__ import annotations

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.gumbel import GumbelHard
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.updates import Adam


@register(
    name="gdas",
    family="differentiable",
    title="GDAS",
    paper="Dong & Yang, Searching for a Robust Neural Architecture in Four GPU Hours, CVPR 2019 (arXiv 1910.04465)",
    equation="c = argmax(log pi + g) forwards, softmax((log pi + g) / tau) backwards, g ~ Gumbel (section 3.2)",
    deviations=(
        "the gate's gradient is the loss with the drawn option minus the loss with `none` in its place, the exact "
        "finite form of the derivative at an open gate; a drawn `none` has none, as in the code, where it is x * 0",
        "AutoDL-Projects runs the drawn option only, but adds the gates of the others, 0 each, as scalars to its "
        "output, so that they receive the gradient of a constant shift; batch normalisation removes such shifts, and "
        "here those gradients are 0",
        "where a decision has no `none` (NAS-Bench-1Shot1) the drawn option is taken against the mean of the options",
        "the weight step trains the draw that the architecture step was taken at; the code draws again",
    ),
    unknowns=(
        "lr, betas, weight_decay, tau_max, tau_min: not those of the paper but of the NAS-Bench-201 scripts "
        "(AutoDL-Projects configs/nas-benchmark/algos/GDAS.config), whose epochs are 250",
    ),
    work=1.3,
)
def gdas(
    *,
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    tau_max: float = 10.0,
    tau_min: float = 0.1,
) -> Searcher:
    """Hard Gumbel draws with straight-through gradients of the drawn options, argmax including `none`."""
    return gradient_searcher("gdas", relaxation=GumbelHard(tau_max, tau_min), update=Adam(lr, betas, weight_decay))

"""NES-BS: an ensemble sampled from the posterior over architectures, by Monte Carlo or SVGD with diversity."""

from __future__ import annotations

from nasbench_sim.ensembles import PosteriorSample
from nasbench_sim.ensembles.posterior import Mode
from nasbench_sim.ensembles.selection import Metric
from nasbench_sim.searchers.registry import register


@register(
    name="nes-bs",
    family="ensemble",
    title="NES-BS",
    paper="Shu, Chen, Dai & Low, Neural Ensemble Search via Bayesian Sampling, UAI 2022 (arXiv 2109.02533; no code of "
    "the authors is public)",
    equation="members ~ p_alpha(A) by Monte Carlo, or particles of q* = argmin_q KL(q || p) + n delta E[k(x, x')] "
    "(SVGD-RD)",
    deviations=(
        "the posterior is the distribution theta that is given (of a finished search), not one fitted by ELBO on a "
        "supernet",
        "the posterior is conditioned on the architectures that have predictions; a particle becomes the nearest of "
        "them; of several training seeds one is drawn",
        "the SVGD-RD direction is the steepest descent of the printed objective, worked out here (factor 2 on delta)",
    ),
    unknowns=(
        "delta: not found; default 1.0 (more diverse than the posterior; 0 is plain SVGD, negative is less diverse)",
        "width of the relaxed posterior's Gaussians at the one-hot vectors: not found; default 0.5, at which particles "
        "can change their option (at 0.3 they stay where they start)",
        "lengthscale of the RBF kernel: not found; default None, the median heuristic of SVGD",
        "steps and step_size: not found; default 500 of 0.05, after which 500 more change the sampled cells little",
        "rounds: 10 sampled sets of which the best on validation is kept, as a public re-implementation does (code of "
        "Bayesian Quadrature for Neural Ensemble Search, TMLR 2023)",
    ),
    test_params={"size": 2, "mode": "svgd", "rounds": 2, "steps": 20},
)
def nes_bs(
    *,
    size: int = 3,
    mode: Mode = "mc",
    rounds: int = 10,
    metric: Metric = "nll",
    delta: float = 1.0,
    width: float = 0.5,
    lengthscale: float | None = None,
    steps: int = 500,
    step_size: float = 0.05,
) -> PosteriorSample:
    """Members drawn from an architecture distribution that is given, on predictions of the validation split."""
    return PosteriorSample(size, mode, rounds, metric, delta, width, lengthscale, steps, step_size)

"""REINFORCE with a simulated budget."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.reinforce import Reinforce
from nasbench_sim.searchers.registry import register


@register(
    name="reinforce",
    family="black-box",
    title="REINFORCE",
    paper="Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning, "
    "Machine Learning 1992; settings: AutoDL-Projects exps/NATS-algos/reinforce.py",
    equation="alpha <- Adam(-(R - b) d log p(cell)/d alpha), p = prod softmax(alpha_d), b: average of R, decay .9",
    deviations=(
        "the search returns the best cell it trained, as the NATS script; the first NAS-Bench-201 script returned the "
        "policy's mode",
        "an evaluation that does not fit into the budget is not made; the script lets the last one overrun "
        "(landscape parameter overrun)",
    ),
    unknowns=(
        "lr: 0.01 in the NATS commands, 0.5 in the NAS-Bench-201 README (worse here by more than one point of test "
        "accuracy on cifar100 in 40,000 s); default 0.01",
    ),
    test_params={"lr": 0.3},
    work=1.0,
)
def reinforce(
    *,
    lr: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.999),
    ema: float = 0.9,
    init_sd: float = 1e-3,
    epochs: int | None = None,
) -> BlackBox:
    """Policy gradient on a softmax policy over each edge, Adam, moving-average baseline; the best cell trained."""
    return Reinforce(lr, betas, ema, init_sd, epochs)

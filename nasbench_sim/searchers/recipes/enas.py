"""ENAS: an LSTM controller trained by REINFORCE on rewards under shared weights."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.controller import Controller
from nasbench_sim.searchers.enas import ControllerSearcher
from nasbench_sim.searchers.registry import register


@register(
    name="enas",
    family="sampling",
    title="ENAS",
    paper="Pham et al., Efficient Neural Architecture Search via Parameter Sharing, ICML 2018 (arXiv 1802.03268); "
    "settings: NAS-Bench-201 (arXiv 2001.00326), 250 epochs",
    equation="maximise E_{cell ~ pi(phi)}[R(cell, w)] by REINFORCE: grad = mean_m (R_m - b_m) grad log pi(cell_m); "
    "R = 1 - loss + entropy_weight H; weights on cells drawn from pi(phi) (section 2.2)",
    deviations=(
        "the reward is 1 - loss on one validation batch: the accuracy on a plain table, 1 - modelled nats with shared "
        "weights; the published reward is the batch accuracy",
        "the shared weights follow the landscape's one cosine schedule; the script's own (0.05 to 0.0005, restarting "
        "every 10 epochs, batch 128) can't be represented",
        "the 50 controller steps of an epoch are spread over it, at most one a weight step; the script makes them "
        "after the epoch's weight steps",
        "the history's cell of an epoch is the best of 100 samples, as at the end; the script looks at 10 each epoch",
    ),
    unknowns=(
        "baseline: `epoch` as in the NAS-Bench-201 script, whose moving average moves once an epoch and so stays near "
        "the reward of the first, making nearly every later sample look good; `sample` moves it with every sample, as "
        "the paper's moving average does",
        "hidden, layers, temperature, tanh_constant: those of the script; the paper's controller has 100 units",
        "batch: 128 images, training and validation, as in the script's settings",
        "lr, beta2, eps, clip, updates, aggregate, entropy_weight, baseline_decay: the script's (FACTS A.3)",
    ),
    test_params={"hidden": 8, "aggregate": 4, "evaluations": 10, "lr": 0.02},
    work=25.0,
)
def enas(
    *,
    lr: float = 1e-3,
    beta2: float = 0.999,
    eps: float = 1e-3,
    clip: float = 5.0,
    updates: int = 50,
    aggregate: int = 20,
    entropy_weight: float = 1e-4,
    baseline_decay: float = 0.99,
    baseline: Literal["epoch", "sample"] = "epoch",
    batch: int = 128,
    evaluations: int = 100,
    hidden: int = 32,
    layers: int = 2,
    temperature: float = 5.0,
    tanh_constant: float = 2.5,
) -> Searcher:
    """LSTM controller with REINFORCE and a moving-average baseline; the best of 100 cells it writes at the end."""
    return ControllerSearcher(
        Controller(hidden, layers, temperature, tanh_constant),
        lr,
        beta2,
        eps,
        clip,
        updates,
        aggregate,
        entropy_weight,
        baseline_decay,
        baseline,
        batch,
        evaluations,
    )

"""Any combination of parts, for ablations: the axes of a grid may be the parts themselves."""

from __future__ import annotations

from typing import Literal

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Searcher
from nasbench_sim.searchers.channels import PartialChannels
from nasbench_sim.searchers.gates import BinaryGates, PolicyGradient
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.gumbel import GumbelHard, GumbelSoftmax
from nasbench_sim.searchers.one_shot import BestOfTop, UniformPath
from nasbench_sim.searchers.perturbations import Perturbed
from nasbench_sim.searchers.pruning import BPNASRule, NoPruning, Pruning
from nasbench_sim.searchers.registry import register
from nasbench_sim.searchers.regularisers import DirichletKL
from nasbench_sim.searchers.relaxations import Deterministic, Dirichlet, Gaussian, ImportanceWeighted, Relaxation
from nasbench_sim.searchers.selection import Argmax, AtMostSkips, ProxySample, Selection
from nasbench_sim.searchers.stages import StagedPruning
from nasbench_sim.searchers.stopping import NeverStop, Stopping
from nasbench_sim.searchers.stopping_rules import EigenvalueRule, SkipLimit, StableRanking
from nasbench_sim.searchers.updates import SGD, Adam, Update, VAdam

Relaxing = Literal[
    "softmax",
    "gaussian",
    "dirichlet",
    "gumbel-soft",
    "gumbel-hard",
    "importance",
    "binary-gates",
    "policy-gradient",
    "uniform-path",
    "partial-channels",
    "perturbed",
]
#: relaxations that look at mixtures, so that a weight step can be unrolled at theta
MIXTURES = ("softmax", "gaussian", "dirichlet", "gumbel-soft", "partial-channels", "perturbed")


@register(
    name="compose",
    title="Any combination of parts",
    paper="none: the parts are those of the other methods' papers (methods show NAME)",
    equation="relaxation x update x pruning x regulariser x stopping x selection",
    deviations=(
        "settings of a part that are not named here are the part's own defaults; the defaults as a whole are DARTS",
    ),
    test_params={"relaxation": "dirichlet", "pruning": "staged", "regulariser": "dirichlet-kl"},
    work=2.5,
)
def compose(
    *,
    relaxation: Relaxing = "softmax",
    update: Literal["adam", "sgd", "vadam"] = "adam",
    pruning: Literal["none", "bpnas", "staged"] = "none",
    regulariser: Literal["none", "dirichlet-kl"] = "none",
    stopping: Literal["never", "skips", "ranking", "eigenvalue"] = "never",
    selection: Literal["argmax", "proxy", "top-validation", "at-most-skips"] = "argmax",
    lr: float = 3e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 1e-3,
    samples: int = 3,
    prior_precision: float = 1.0,
    init_precision: float = 1e4,
    denominator: Literal["sqrt", "plain"] = "sqrt",
    delta: float = 0.01,
    reg_scale: float = 1e-3,
    draws: int = 100,
    proxy: str = "synflow-mean",
    proxy_dataset: str | None = None,
    warmup: float = 0.0,
    order: Literal[1, 2] = 1,
) -> Searcher:
    """One part of each kind; combinations that make no sense are refused by name.

    `samples`: draws of the gaussian relaxation, cells of importance and policy-gradient. `delta`: of BPNAS. `draws`:
    cells of the proxy and top-validation selections. `weight_decay` belongs to adam and sgd, `prior_precision`,
    `init_precision` and `denominator` to vadam.
    """
    if samples < 1:
        raise SpecError(f"samples is at least 1, got {samples}")
    _refuse(relaxation, update, regulariser, selection, order)
    relaxations: dict[str, Relaxation] = {
        "softmax": Deterministic(),
        "gaussian": Gaussian(samples),
        "dirichlet": Dirichlet(),
        "gumbel-soft": GumbelSoftmax(),
        "gumbel-hard": GumbelHard(),
        "importance": ImportanceWeighted(samples),
        "binary-gates": BinaryGates(),
        "policy-gradient": PolicyGradient(samples),
        "uniform-path": UniformPath(),
        "partial-channels": PartialChannels(update=Adam(lr, betas, weight_decay), warmup=warmup),
        "perturbed": Perturbed(),
    }
    updates: dict[str, Update] = {
        "adam": Adam(lr, betas, weight_decay),
        "sgd": SGD(lr, 0.0, weight_decay),
        "vadam": VAdam(lr, betas, 25_000, prior_precision, init_precision, denominator),
    }
    prunings: dict[str, Pruning] = {"none": NoPruning(), "bpnas": BPNASRule(delta), "staged": StagedPruning()}
    rules: dict[str, Stopping] = {
        "never": NeverStop(),
        "skips": SkipLimit(),
        "ranking": StableRanking(),
        "eigenvalue": EigenvalueRule(),
    }
    selections: dict[str, Selection] = {
        "argmax": Argmax(),
        "proxy": ProxySample(draws, proxy, proxy_dataset),
        "top-validation": BestOfTop(draws),
        "at-most-skips": AtMostSkips(),
    }
    return gradient_searcher(
        "compose",
        relaxation=relaxations[relaxation],
        update=updates[update],
        pruning=prunings[pruning],
        regulariser=DirichletKL(reg_scale) if regulariser == "dirichlet-kl" else None,
        stopping=rules[stopping],
        selection=selections[selection],
        warmup=warmup,
        order=order,
    )


def _refuse(relaxation: str, update: str, regulariser: str, selection: str, order: int) -> None:
    """Raise `SpecError` for parts that do not fit each other."""
    if relaxation == "gaussian" and update != "vadam":
        raise SpecError(f"relaxation 'gaussian' draws from a posterior, which update {update!r} has not; use 'vadam'")
    if selection == "proxy" and update != "vadam":
        raise SpecError(f"selection 'proxy' draws from a posterior, which update {update!r} has not; use 'vadam'")
    if regulariser == "dirichlet-kl" and relaxation != "dirichlet":
        raise SpecError(f"regulariser 'dirichlet-kl' belongs to relaxation 'dirichlet', not to {relaxation!r}")
    if order == 2 and relaxation not in MIXTURES:
        raise SpecError(
            f"order 2 unrolls a weight step at a mixture, and relaxation {relaxation!r} runs single cells; use order 1"
        )

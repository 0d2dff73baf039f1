"""NSGA-II: accuracy against parameters, FLOPs, latency or energy, under a budget of simulated training time."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.nsga2 import NSGA2
from nasbench_sim.searchers.registry import register


@register(
    name="nsga2",
    family="multi-objective",
    title="NSGA-II",
    paper="Deb, Pratap, Agarwal & Meyarivan, A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE "
    "Transactions on Evolutionary Computation 6(2), 2002; for architectures: Lu et al., NSGA-Net, GECCO 2019 "
    "(arXiv 1810.03522)",
    equation="survivors of parents and children by (rank of the non-dominated front, crowding distance); parents by "
    "binary tournament in the same order; uniform crossover (0.9), each decision drawn anew with probability 1/D",
    deviations=(
        "categorical operators (uniform crossover, random choice) in place of the paper's SBX and polynomial mutation "
        "for real vectors; NSGA-Net's bit strings, its third phase (a Bayesian network) and its seeded start are not "
        "modelled",
        "the random generator is made anew for each generation from (seed, generation), so that a resumed search is "
        "the same search",
        "where pymoo's removal of repeats leaves fewer children than the population, uniform cells fill it up",
        "a cell that died out and is bred again is trained, and paid for, again",
    ),
    unknowns=(
        "population: a budget of 12,000 s is some 100 evaluations on CIFAR-10, for which no paper states one; "
        "default 20 (the 2002 paper has 100 with 25,000 evaluations)",
    ),
    test_params={"population": 8},
    work=15.0,
)
def nsga2(
    *,
    metrics: str | tuple[str, ...] = ("params_m",),
    population: int = 20,
    epochs: int | None = None,
    crossover: float = 0.9,
    mutation: float | None = None,
) -> NSGA2:
    """Evolves cells that no other beats in validation error and costs together; pymoo's NSGA-II."""
    chosen = (metrics,) if isinstance(metrics, str) else metrics
    return NSGA2(metrics=chosen, population=population, epochs=epochs, crossover=crossover, mutation=mutation)

"""Random search with a simulated budget."""

from __future__ import annotations

from nasbench_sim.searchers.blackbox.base import BlackBox
from nasbench_sim.searchers.blackbox.random_search import RandomSearch
from nasbench_sim.searchers.registry import register


@register(
    name="rs",
    family="black-box",
    title="Random search",
    paper="Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 2012; budgets and reporting: Dong & "
    "Yang, NAS-Bench-201, ICLR 2020 (arXiv 2001.00326)",
    equation="argmax over n uniform cells of the validation accuracy after 12 epochs, n as many as the budget pays",
    deviations=(
        "an evaluation that does not fit into the budget is not made; the script lets the last one overrun "
        "(landscape parameter overrun)",
        "a cell drawn twice is paid for twice",
    ),
    test_params={},
    work=0.5,
)
def rs(*, epochs: int | None = None) -> BlackBox:
    """Uniform cells, trained for the cheapest number of epochs; the best by validation accuracy."""
    return RandomSearch(epochs)

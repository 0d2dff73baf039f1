"""How fast black-box searches are, and what they find on the real table beside what was published.

    pytest tests/benchmarks/test_blackbox_bench.py --benchmark-enable --benchmark-only -s

Without `--benchmark-enable` each runs once, small, on a made-up table as a test. Times are never asserted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasbench_sim.reporting.published import labelled_row
from nasbench_sim.searchers import methods
from nasbench_sim.tables.table import Table
from tests.blackbox.helpers import NAMES, TABLE, batch, result

#: seeds of a whole benchmark run; methods that loop over seeds get fewer
SEEDS = {"gp-bo": 30, "tpe": 30, "pnas": 30, "bohb": 50, "nsga2": 50}
DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
#: label in data/published/nb201_blackbox.json: cells found on cifar10 in 12,000 s, 500 searches
PUBLISHED = {"rea": "REA", "rs": "RS", "reinforce": "REINFORCE", "bohb": "BOHB"}


def published(name: str) -> str:
    """The printed mean and sd of the test accuracy on each data set."""
    if name not in PUBLISHED:
        return "nothing"
    rows = [labelled_row("nb201_blackbox.json", PUBLISHED[name], d) for d in DATASETS]
    return " / ".join(f"{r.scores['test'].mean:.2f}+-{r.scores['test'].sd:.2f}" for r in rows if r is not None)


def row(table: Table, archs: np.ndarray) -> list[str]:
    """Mean and sd of the 200-epoch test accuracy of `archs[S, D]` on each data set."""
    index = table.space.index(archs)
    values = [table.values(dataset=d, split="test", epochs=200, seed="mean")[index] for d in DATASETS]
    return [f"{v.mean():.2f}+-{v.std(ddof=1):.2f}" for v in values]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="12,000 simulated seconds on cifar10")
def test_whole_search(benchmark: Any, name: str, request: pytest.FixtureRequest, capsys: Any) -> None:
    """Target: regularised evolution, 500 searches in at most 5 s in one process."""
    table = request.getfixturevalue("nb201_table") if benchmark.enabled else TABLE
    seeds = SEEDS.get(name, 500) if benchmark.enabled else 3
    about: dict[str, Any] = {"params": {}, "budget": 12_000.0} if benchmark.enabled else {}

    def run() -> Any:
        return result(batch(name, range(seeds), table=table, epochs=1, **about))

    out = benchmark.pedantic(run, rounds=1)
    assert out["archs"].shape == (seeds, 1, 6)
    if benchmark.enabled:
        ours = " / ".join(row(table, out["archs"][:, -1].astype(np.int64)))
        each = benchmark.stats.stats.median / out["evaluations"].sum() * 1e6
        benchmark.extra_info.update(searches=seeds, us_an_evaluation=each, test=ours, published=published(name))
        with capsys.disabled():
            print(f"\n{name:20} n={seeds}  {ours}  published {published(name)}")
            print(f"{each:.0f} us an evaluation, {each / methods()[name].work:.1f} a unit of the recipe's work")

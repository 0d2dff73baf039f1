"""Time of a run against its seeds and its steps, one process, shared landscape: draws plots/cost.png.

python plots/cost.py
"""

from __future__ import annotations

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter
from threadpoolctl import threadpool_limits

import nasbench_sim as nb
from nasbench_sim.reporting import save_figure
from nasbench_sim.runs.engine import Batch

SEEDS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048)
STEPS = (100, 200, 400, 800, 1600)
METHODS = {"darts": ("#0072B2", "o-"), "balenas": ("#D55E00", "s--"), "parsec": ("#009E73", "^:")}


def seconds(table: nb.Table, method: str, seeds: int, steps: int) -> float:
    """Best of two timings of one epoch of `steps` steps."""
    key = table.search_key
    spec = nb.make_spec(
        method=method, table=table.name, dataset=key.dataset, seeds=seeds, epochs=1, steps_per_epoch=steps
    )
    best = np.inf
    for _ in range(2):
        batch = Batch(spec, table, np.arange(seeds))
        start = batch.start()
        began = time.perf_counter()
        batch.advance(start)
        best = min(best, time.perf_counter() - began)
    return float(best)


def main() -> None:
    """Measure and draw."""
    table = nb.open_table("nb201-analog")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    with threadpool_limits(1):
        for method, (colour, line) in METHODS.items():
            by_seeds = [seconds(table, method, n, 200) / 200 * 1e3 for n in SEEDS]
            left.loglog(SEEDS, by_seeds, line, color=colour, label=method, markersize=4)
            by_steps = [seconds(table, method, 256, n) for n in STEPS]
            right.plot(STEPS, by_steps, line, color=colour, label=method, markersize=4)
            print(method, [f"{n}: {ms:.3f} ms a step" for n, ms in zip(SEEDS, by_seeds, strict=True)])
            print(method, [f"{n}: {s:.2f} s" for n, s in zip(STEPS, by_steps, strict=True)])
    left.set(xlabel="seeds", ylabel="time a step (ms)", title="one step, by seeds")
    right.set(xlabel="steps", ylabel="time (s)", title="256 seeds, by steps", xlim=(0, None), ylim=(0, None))
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.legend(frameon=False)
    for ax in (left, right):
        ax.grid(alpha=0.3)
    print(save_figure(figure, Path(__file__).with_name("cost.png")))


if __name__ == "__main__":
    main()

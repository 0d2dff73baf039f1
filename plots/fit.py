"""The weight-sharing model beside the recorded supernets: draws plots/fit.png. Needs the table `nb201`.

python plots/fit.py --trajectories supernet_trajectories.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import nasbench_sim as nb
from nasbench_sim.reporting import save_figure
from nasbench_sim.spaces.nb201 import OPS

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from fit_shared_weights import DARTS, VADAM, r_squared, simulate

CASES = (
    ("DARTS seed 1 (fitted)", *DARTS),
    ("BaLeNAS, initial precision 100, M = 1 (fitted)", "balenas", {**VADAM, "samples": 1, "init_precision": 100.0}),
    ("BaLeNAS, initial precision 1, M = 1 (held out)", "balenas", {**VADAM, "samples": 1, "init_precision": 1.0}),
    ("BaLeNAS, initial precision 1, M = 3 (held out)", "balenas", {**VADAM, "samples": 3, "init_precision": 1.0}),
)
COLOURS = ("#000000", "#D55E00", "#56B4E9", "#0072B2", "#E69F00")


def main() -> None:
    """Simulate the recorded settings and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trajectories", type=Path, required=True)
    runs = json.loads(parser.parse_args().trajectories.read_text())["runs"]
    table, params = nb.open_table("nb201"), nb.SharedWeightsParams.load()
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, sharey=True, layout="constrained")
    with threadpool_limits(1):
        for ax, run, (title, method, settings) in zip(axes.flat, runs, CASES, strict=False):
            theirs = np.array([e["theta"] for e in run["epochs"]]).mean(axis=1)
            ours = simulate(table, params, method, settings, len(theirs)).mean(axis=(0, 2))
            epochs = np.arange(1, len(theirs) + 1)
            for k, op in enumerate(OPS):
                ax.plot(epochs, theirs[:, k], color=COLOURS[k], linewidth=1.8, label=op)
                ax.plot(epochs, ours[:, k], color=COLOURS[k], linewidth=1.1, linestyle="--")
            ax.set_title(f"{title}: R² = {r_squared(ours, theirs):.2f}", fontsize=9)
            ax.grid(alpha=0.3)
    axes[0, 0].legend(
        frameon=False, fontsize=8, title="solid: recorded; dashed: model, mean of 48 seeds", title_fontsize=8
    )
    figure.supxlabel("epoch of the recorded supernet (NAS-Bench-201, 8 channels, 10,000 images)", fontsize=9)
    figure.supylabel("weight of an operation, mean over the six edges", fontsize=9)
    print(save_figure(figure, Path(__file__).with_name("fit.png")))


if __name__ == "__main__":
    main()

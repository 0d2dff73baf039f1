"""DARTS and BaLeNAS on true supernets beside the same searches on the model: draws plots/supernet_cifar10.png.

    gpu-validation record depth --data-folder cifar10_jpeg_subset.npz --threads 1 --out runs/depth
    python plots/supernet_cifar10.py --traces runs/depth/traces

Needs the table `nb201`. Without --traces the recordings of data/traces/depth are drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter
from threadpoolctl import threadpool_limits

import nasbench_sim as nb
from nasbench_sim.reporting import save_figure
from nasbench_sim.reporting.style import RC
from nasbench_sim.runs.trace import Trace, trace_of

ROWS = (
    ("skip_ratio", "skip connections\n(fraction of edges)"),
    ("loss", "search loss (nats)"),  # the model's has no common offset with a network's
    ("eigenvalue", "dominant eigenvalue\n(1/α²)"),
)
SUPERNET, MODEL = "#D55E00", "#0072B2"
SEEDS = 64


def simulated(trace: Trace) -> Trace:
    """The recorded search on the weight-sharing model over nb201's CIFAR-10 accuracies."""
    return trace_of(trace.simulated(nb.open_table("nb201"), "cifar10", SEEDS), trace.about)


def values(trace: Trace, name: str) -> np.ndarray[Any, Any]:
    """`[S, E]` of a row of the figure."""
    return trace.skip_ratio if name == "skip_ratio" else trace.epoch[name]


def main() -> None:
    """Read, simulate, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=Path(__file__).parents[1] / "data" / "traces" / "depth")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("supernet_cifar10.png"))
    args = parser.parse_args()
    traces = [Trace.load(path) for path in sorted(args.traces.glob("*.h5"))]
    methods = sorted({trace.method for trace in traces}, reverse=True)
    with plt.rc_context(RC), threadpool_limits(1):
        figure, axes = plt.subplots(
            3, len(methods), figsize=(3.6 * len(methods), 6.6), sharex=True, sharey="row", squeeze=False
        )
        for column, method in enumerate(methods):
            mine = [trace for trace in traces if trace.method == method]
            model = simulated(mine[0])
            for ax, (name, words) in zip(axes[:, column], ROWS, strict=True):
                for trace in mine:
                    seen = values(trace, name)[0]
                    there = np.flatnonzero(np.isfinite(seen))
                    ax.plot(there + 1, seen[there], color=SUPERNET, linewidth=1.2, marker="o" * (len(there) < 10))
                low, middle, high = np.nanquantile(values(model, name), (0.05, 0.5, 0.95), axis=0)
                epochs = np.arange(1, len(middle) + 1)
                ax.fill_between(epochs, low, high, color=MODEL, alpha=0.2, linewidth=0)
                ax.plot(epochs, middle, color=MODEL, linestyle="--")
                if not column:
                    ax.set_ylabel(words)
            n = min(trace.epochs for trace in mine)
            gap = np.mean([t.skip_ratio[0, :n] for t in mine], axis=0) - model.skip_ratio[:, :n].mean(axis=0)
            for name, _ in ROWS:  # what plots/README.md says
                ends = [f"{values(t, name)[0, -1]:.2f}" for t in mine]
                low = [f"{np.nanmin(values(t, name)):.2f}" for t in mine]
                theirs = f"at the end {', '.join(ends)}; lowest {', '.join(low)}"
                print(f"{method} {name}: {theirs}; model at the end {values(model, name)[:, -1].mean():.3f}")
            rmse = float(np.sqrt((gap**2).mean()))
            print(f"{method}: RMSE of the mean skip ratio {rmse:.2f}")
            axes[0, column].set_title(f"{nb.methods()[method].title}: skip RMSE {rmse:.2f}")
        axes[0, 0].plot([], [], color=SUPERNET, label="true supernet, one line a seed")
        axes[0, 0].plot([], [], color=MODEL, linestyle="--", label=f"model, {SEEDS} seeds: median, 5-95 %")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=2)
        for ax in axes[-1]:
            ax.set_xlabel("search epoch")
        axes[2, 0].set_yscale("log")
        axes[2, 0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        figure.suptitle("CIFAR-10, 10,000 images, C 8, N 1, 40 epochs", fontsize=8.5)
        figure.tight_layout(rect=(0, 0.03, 1, 1))
        print(save_figure(figure, args.out))


if __name__ == "__main__":
    main()

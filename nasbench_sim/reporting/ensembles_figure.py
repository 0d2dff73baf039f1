"""The figure of a study of ensembles: accuracy, NLL and ECE by size, and the accuracy gained over one method."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nasbench_sim.reporting.ensembles import Scored, difference
from nasbench_sim.reporting.style import LEGEND_ROW, PANEL_HEIGHT, PANEL_WIDTH, Look, look, style

PANELS = (("accuracy", "test accuracy (%)"), ("nll", "test NLL (nats)"), ("ece", "test ECE (fraction)"))
REFERENCE = "nes-rs"  # what differences are taken from; where it is not there, the first method
_ORDER = ("deep", "nes-rs", "bpnas", "nes-bs", "random", "nes-bs-svgd")  # bpnas and random as in every other figure
_LOOKS = {name: look(i) for i, name in enumerate(_ORDER)}


def plot_ensembles(scored: Mapping[str, Scored], title: str) -> Figure:
    """Three scores by size (mean over repetitions, band: central 95 % of them) and differences with 95 % intervals."""
    with style():
        figure = Figure(layout="constrained")
        axes = figure.subplots(2, 2).ravel()
        for ax, (metric, label) in zip(axes[:3], PANELS, strict=True):
            for name, each in scored.items():
                _line(ax, _LOOKS[name], each, metric)
            _dress(ax, label)
        reference = REFERENCE if REFERENCE in scored else next(iter(scored))
        _apart(axes[3], scored, reference)
        axes[0].set_title(textwrap.fill(title, 60), loc="left")
        used = [_LOOKS[name] for name in scored]
        handles = [Line2D([], [], color=k.colour, linestyle=k.dashes, marker=k.marker) for k in used]
        columns = min(len(handles), 6)
        figure.legend(handles, list(scored), loc="outside upper left", ncols=columns, borderpad=0.1)
        note = (
            "Line: mean over repetitions; band: central 95 % of repetitions. Differences: bars are 95 % intervals over "
            "repetitions and test images together."
        )
        text = textwrap.fill(note, 122)
        figure.supxlabel(text, fontsize=7, x=0.01, ha="left", color="#444444")
        figure.set_size_inches(
            2 * PANEL_WIDTH, 2 * PANEL_HEIGHT + LEGEND_ROW * (1 + (len(handles) - 1) // columns) + 0.4
        )
        return figure


def _line(ax: Axes, look: Look, scored: Scored, metric: str) -> None:
    sizes = list(scored.scores)
    each = [scored.values(metric, size) for size in sizes]
    low, high = np.array([np.percentile(values, [2.5, 97.5]) for values in each]).T
    if len(sizes) > 1:
        ax.fill_between(sizes, low, high, color=look.colour, alpha=0.12, linewidth=0)
    else:  # an area over one size has no width
        ax.vlines(sizes, low, high, colors=look.colour, alpha=0.3, linewidth=3)
    means = [values.mean() for values in each]
    ax.plot(sizes, means, color=look.colour, linestyle=look.dashes, marker=look.marker)


def _apart(ax: Axes, scored: Mapping[str, Scored], reference: str) -> None:
    others = [name for name in scored if name != reference]
    ax.axhline(0, color="#767676", linewidth=0.8)
    for i, name in enumerate(others):
        sizes = [s for s in scored[name].scores if s in scored[reference].scores]
        found = [difference(scored[name], scored[reference], "accuracy", s) for s in sizes]
        x = np.array(sizes) + 0.12 * (i - (len(others) - 1) / 2)  # side by side
        look, mean = _LOOKS[name], np.array([d.mean for d in found])
        half = np.array([d.half or 0.0 for d in found])
        ax.errorbar(
            x, mean, yerr=half, color=look.colour, linestyle="none", marker=look.marker, elinewidth=1.0, capsize=1.5
        )
    _dress(ax, f"accuracy minus {reference} (points)")


def _dress(ax: Axes, label: str) -> None:
    ax.set_xlabel("members of the ensemble (count)")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))

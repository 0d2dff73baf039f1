"""The figure of final accuracies: where the searches of every run ended, one row a run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasbench_sim.reporting.canvas import (
    NAME,
    STRETCH_NOTE,
    Cell,
    Sheet,
    best_of,
    dress,
    published_marks,
    sheet,
    stretch,
)
from nasbench_sim.reporting.series import FloatArray, roles, short
from nasbench_sim.reporting.style import OPTIMUM, PANEL_WIDTH, axis_label, style
from nasbench_sim.runs.record import Run

MOST_DOTS = 80  # a row; more distinct accuracies are counted in as many equal bins
SIZES = (2.4, 11.0)  # dot diameter in points for one seed of many, and for all seeds


def plot_final(runs: Sequence[Run], figure: Figure | None = None) -> Figure:
    """Final true accuracy (%) of all seeds, one row a run, one panel a landscape and role.

    A dot stands at every accuracy that occurred, its area grows with the share of seeds (cells are discrete, so many
    seeds end on the same accuracy). The bar is 25-75 %, the tick and the number are the median; the diamond below is
    the published mean with a line of ± 2 sd. Raises `RunError` for no runs.
    """
    with style():
        page = sheet(runs, figure)
        cells = [
            Cell(panel, role) for panel, members in page.members.items() for role in roles([runs[i] for i in members])
        ]
        heights = [0.9 + 0.36 * len(page.members[cell.panel]) for cell in cells]
        marked = stretched = False
        for ax, cell in zip(page.grid(cells, heights), cells, strict=True):
            members = [i for i in page.members[cell.panel] if cell.quantity in runs[i].table["report_keys"]]
            names = [textwrap.fill(short(page.names[i], NAME), 24) for i in members]
            longest = max(len(line) for name in names for line in name.split("\n"))
            dress(ax, cell, x=cell.quantity, width=min(56, int((PANEL_WIDTH - 0.1 - 0.07 * longest) / 0.072)))
            ax.set_ylabel("method")
            for y, i in enumerate(members):
                _row(page, ax, i, y, np.asarray(runs[i].final(cell.quantity)[~runs[i].failed], dtype=np.float64))
                marked |= _published(page, ax, i, y, cell.quantity)
            best = best_of(runs[members[0]], cell.quantity)
            if best is not None:
                ax.axvline(best, color=OPTIMUM, linestyle=(0, (4, 3)), linewidth=1.0, label="_optimum")
            ax.set_yticks(range(len(members)), names)
            ax.set_ylim(len(members) - 0.35, -0.6)
            stretched |= stretch(ax, "x", best)
            _beside(ax, "median", len(members) - 0.35, va="top", color="#444444")
            ax.grid(axis="y", visible=False)
            ax.set_xlabel(axis_label(cell.quantity))
        diamond = "Diamond and line: published mean ± 2 sd." if marked else ""
        scale = STRETCH_NOTE if stretched else ""
        failed = [
            f"{page.names[i]}: {run.failed.sum()} of {len(run.seeds)}" for i, run in enumerate(runs) if run.failed.any()
        ]
        lost = f"Diverged, not drawn: {'; '.join(failed)}." if failed else ""
        page.used.clear()  # the rows are named at the axis
        return page.finish(
            (
                "Dot: an accuracy that occurred, its area the share of seeds. Bar: 25–75 %; tick and number: median. "
                f"Dashed grey: best cell of the table. {diamond} {scale} {lost}",
            )
        )


def dots(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Accuracies that occurred and their shares: exact to 0.01 where at most `MOST_DOTS` differ, else bin centres.

    >>> dots(np.array([54.3, 54.3, 94.4, 54.3]))
    (array([54.3, 94.4]), array([0.75, 0.25]))
    """
    at, count = np.unique(values.round(2), return_counts=True)
    if len(at) > MOST_DOTS:
        count, edges = np.histogram(values, bins=MOST_DOTS)
        at, count = ((edges[:-1] + edges[1:]) / 2)[count > 0], count[count > 0]
    return at, count / len(values)


def _row(page: Sheet, ax: Axes, i: int, y: int, values: FloatArray) -> None:
    look = page.looks[page.names[i]]
    if not len(values):
        _beside(ax, "all failed", y, va="center")
        return
    at, share = dots(values)
    # few sizes: each size is one line object, and an SVG stays small
    step = np.ceil(np.sqrt(share) * 8).astype(int)
    for level in np.unique(step):
        size = SIZES[0] + (SIZES[1] - SIZES[0]) * level / 8
        some = at[step == level]
        ax.plot(
            some,
            np.full(len(some), y),
            linestyle="none",
            marker="o",
            markersize=size,
            color=look.colour,
            alpha=0.4,
            markeredgewidth=0,
        )
    low, middle, high = np.percentile(values, (25, 50, 75))
    ax.plot([low, high], [y, y], color="black", linewidth=1.6, solid_capstyle="butt", label=f"_quartiles {i}")
    ax.plot([middle, middle], [y - 0.2, y + 0.2], color="black", linewidth=1.2, label=f"_median {i}")
    _beside(ax, f"{middle:.2f}", y, va="center")


def _beside(ax: Axes, text: str, y: float, **look: Any) -> None:
    """Small text to the right of the axes, at data height `y`."""
    at = (1.0, y)
    ax.annotate(
        text, at, xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", fontsize=7, **look
    )


def _published(page: Sheet, ax: Axes, i: int, y: int, role: str) -> bool:
    marks = published_marks(page.runs[i], role)
    for mean, sd in marks:
        ax.plot([mean - 2 * sd, mean + 2 * sd], [y + 0.34, y + 0.34], color="black", linewidth=0.8)
        ax.plot(
            [mean], [y + 0.34], marker="D", markersize=3.2, color="white", markeredgecolor="black", linestyle="none"
        )
    return bool(marks)

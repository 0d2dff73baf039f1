"""Figures over the epochs of a search: accuracy, skip connections, Hessian eigenvalue, entropy, pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasbench_sim.reporting.canvas import (
    MEAN_NOTE,
    STRETCH_NOTE,
    Cell,
    Sheet,
    best_of,
    dress,
    listed,
    log_axis,
    message,
    published,
    published_marks,
    sheet,
    stretch,
)
from nasbench_sim.reporting.series import drawn_epochs, history, prunes, roles
from nasbench_sim.reporting.style import OPTIMUM, PANEL_HEIGHT, style
from nasbench_sim.runs.record import Run

SINGLE_SEEDS = 3  # single searches shown beside the median of the pruning figure


def plot_convergence(runs: Sequence[Run], figure: Figure | None = None) -> Figure:
    """True accuracy (%) of the derived cell by epoch: median and bands over seeds, one panel a landscape and role.

    A dashed line marks the best cell of the table; hollow marks at the right edge are published means with a bar of
    ± 2 sd, except where the table's accuracy is not the published one (`nb201-analog`).

    Raises `RunError` for no runs.
    """
    with style():
        page = sheet(runs, figure)
        cells = [
            Cell(panel, role) for panel, members in page.members.items() for role in roles([runs[i] for i in members])
        ]
        marked = stretched = False
        for ax, cell in zip(page.grid(cells), cells, strict=True):
            dress(ax, cell)
            members = [i for i in page.members[cell.panel] if cell.quantity in runs[i].table["report_keys"]]
            for i in members:
                values = history(runs[i], cell.quantity)
                if values is not None:
                    page.draw_line(ax, i, values)
            best = best_of(runs[members[0]], cell.quantity)
            if best is not None:
                ax.axhline(best, color=OPTIMUM, linestyle=(0, (4, 3)), linewidth=1.0, label="_optimum")
            marked |= _published_edge(page, ax, members, cell.quantity)
            stretched |= stretch(ax, "y", best)
        edge = "Hollow mark and bar at the right edge: published mean ± 2 sd of the same method." if marked else ""
        scale = STRETCH_NOTE if stretched else ""
        return page.finish((f"{page.bands_note} Dashed grey: best cell of the table. {edge} {scale}",))


def _published_edge(page: Sheet, ax: Axes, members: Sequence[int], role: str) -> bool:
    """Published means of the members, beside the right edge; a column a method so that bars do not cover marks."""
    column = 0
    seen = set()
    for i in members:
        marks = published_marks(page.runs[i], role)
        key = (page.runs[i].spec.method, *marks)
        if key in seen:  # variants of a method share their marks: drawn once, in the look of the first
            continue
        seen.add(key)
        look = page.looks[page.names[i]]
        for mean, sd in marks:
            at = 1.02 + 0.022 * column
            edge: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "clip_on": False, "color": look.colour}
            ax.plot([at, at], [mean - 2 * sd, mean + 2 * sd], linewidth=1.0, **edge)
            ax.plot(
                [at],
                [mean],
                marker=look.marker,
                markerfacecolor="white",
                linestyle="none",
                label=f"_published {i}",
                **edge,
            )
        column += bool(marks)
    return column > 0


def plot_skip_ratio(runs: Sequence[Run], figure: Figure | None = None) -> Figure:
    """Skip connections in the derived cell by epoch, as a fraction of its edges: mean and 25-75 % over seeds.

    The mean, because a median over cells of six edges jumps by a sixth. Raises `RunError` for no runs.
    """
    return _one_quantity(runs, figure, "skip_ratio", "no cell derived", mean=True, limits=(-0.03, 1.03))


def plot_eigenvalue(runs: Sequence[Run], figure: Figure | None = None) -> Figure:
    """Dominant eigenvalue of the Hessian of the search loss in alpha by epoch, logarithmic; 1/alpha^2.

    Methods that have none are named below the panels. Raises `RunError` for no runs.
    """
    return _one_quantity(runs, figure, "eigenvalue", "no Hessian", log=True)


def plot_entropy(runs: Sequence[Run], figure: Figure | None = None) -> Figure:
    """Mean entropy of the architecture distribution per decision by epoch, nats: median and bands over seeds.

    Methods without a distribution are named below the panels. Raises `RunError` for no runs.
    """
    return _one_quantity(runs, figure, "entropy", "no architecture distribution")


def _one_quantity(
    runs: Sequence[Run],
    figure: Figure | None,
    name: str,
    lacking: str,
    *,
    log: bool = False,
    mean: bool = False,
    limits: tuple[float, float] | None = None,
) -> Figure:
    with style():
        page = sheet(runs, figure)
        cells = [Cell(panel, name) for panel in page.members]
        without: list[str] = []
        for ax, cell in zip(page.grid(cells), cells, strict=True):
            dress(ax, cell)
            drawn = 0
            for i in page.members[cell.panel]:
                values = history(runs[i], name)
                if values is not None and log:
                    values = np.where(values > 0, values, np.nan)  # a zero has no place on a logarithmic axis
                if values is None or np.isnan(values).all():
                    without.append(page.names[i])
                    continue
                page.draw_line(ax, i, values, mean=mean)
                drawn += 1
            if not drawn:
                message(ax, f"{lacking[0].upper()}{lacking[1:]} in any of these runs.")
            elif log:
                log_axis(ax)
            if drawn and limits is not None:
                ax.set_ylim(*limits)
        absent = f"Not drawn, {lacking}: {listed(without)}." if without else ""
        return page.finish((MEAN_NOTE if mean else page.bands_note, absent))


def plot_pruning(runs: Sequence[Run], figure: Figure | None = None) -> Figure:
    """Active operations by epoch of the runs that prune: median and bands over seeds, and a few single seeds.

    A dotted line marks the epochs a paper reports for the same method. Where no run prunes, the panel says so.
    Raises `RunError` for no runs.
    """
    with style():
        page = sheet(runs, figure)
        chosen = {p: [i for i in members if prunes(runs[i])] for p, members in page.members.items()}
        cells = [Cell(panel, "active_ops") for panel, members in chosen.items() if members]
        if not cells:
            cells = [Cell(next(iter(chosen)), "active_ops")]
        dotted = False
        heights = [PANEL_HEIGHT if chosen[cell.panel] else 0.65 * PANEL_HEIGHT for cell in cells]
        for ax, cell in zip(page.grid(cells, heights), cells, strict=True):
            dress(ax, cell)
            for i in chosen[cell.panel]:
                values = history(runs[i], "active_ops")
                assert values is not None  # a run that prunes has it
                at = drawn_epochs(values.shape[1])
                look = page.looks[page.names[i]]
                for one in values[:SINGLE_SEEDS]:
                    ax.plot(at + 1, one[at], color=look.colour, linewidth=0.6, alpha=0.7, drawstyle="steps-post")
                page.draw_line(ax, i, values)
                for row in published(runs[i], "epochs"):
                    if row.epochs is not None:
                        ax.axvline(row.epochs, color=look.colour, linestyle=":", linewidth=1.0)
                        dotted = True
            if chosen[cell.panel]:
                ax.set_ylim(bottom=0)
            else:
                message(ax, "No run prunes operations.")
        epochs = "Dotted: search epochs that the paper of the method reports." if dotted else ""
        some = any(chosen.values())
        return page.finish((f"{page.bands_note} Thin lines: single seeds. {epochs}" if some else "",))

"""The figure of accuracy against cost: all cells, the table's own front, and what the searches found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nasbench_sim.errors import RunError
from nasbench_sim.landscapes.penalised import COSTS
from nasbench_sim.reporting.canvas import STRETCH_NOTE, Cell, Sheet, dress, sheet, stretch
from nasbench_sim.reporting.pareto import TradeOff, trade_off
from nasbench_sim.reporting.pareto_found import check_runs, families, found, trains_cells
from nasbench_sim.reporting.series import clean, panel_of, short
from nasbench_sim.reporting.style import COLOURS, Look, axis_label, looks, style
from nasbench_sim.runs.record import Run
from nasbench_sim.tables.columns import family
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]
PANEL = 3.3  # inches: a cloud of 15,625 points wants more height than a curve
ALL, FRONT = "all cells of the table", "the table's front"
GREY = "#4D4D4D"
TOO_CLOSE = (0.05, 0.05)


class Mark(NamedTuple):
    """A mean over seeds: cost, accuracy in percent, and the weight of the penalty as text."""

    cost: float
    accuracy: float
    text: str


def cost_label(name: str) -> str:
    """Words and unit of a cost for an axis.

    >>> cost_label("latency_ms/edgegpu"), cost_label("params_m")
    ('latency on edgegpu (ms)', 'parameters (millions)')
    """
    words, unit = COSTS[family(name)]
    return f"{words.format(name.partition('/')[2])} ({unit})"


def plot_pareto(
    runs: Sequence[Run], table: Table, metrics: Sequence[str], *, role: str | None = None, figure: Figure | None = None
) -> Figure:
    """Accuracy (%) against each cost: one panel a cost, one data set, all methods and landscapes together.

    Grey: every cell of the table. Black steps: its exact front. Small marks: the cells that the seeds of a run found
    (for a black-box search its non-dominated set, for others the final cell). Large marks: the mean over seeds of
    final cells, joined over the weights of a penalty; coloured steps: the median over seeds of the best accuracy at a
    cost, for sets. Cells are chosen on validation; `role` (default `test`) says which accuracy is drawn. Raises
    `RunError` for runs of several data sets or another table, and as `trade_off`.
    """
    if not metrics:
        raise RunError("a trade-off is between an accuracy and a cost; name at least one cost")
    dataset = check_runs(runs, table)
    planes = [trade_off(table, dataset, [name], role=role) for name in metrics]
    with style():
        named = families(runs)
        page = sheet([runs[members[0]] for members in named.values()], figure)
        page.names = list(named)
        page.looks = _apart_from_grey(looks([(n, r.spec.method) for n, r in zip(page.names, page.runs, strict=True)]))
        cells = [Cell(panel_of(runs[0]), plane.role) for plane in planes]
        stretched = False
        page.used = {
            ALL: Line2D([], [], color="#BBBBBB", marker="o", markersize=2.5, linestyle="none"),
            FRONT: Line2D([], [], color="black", linewidth=1.2),
        }
        for ax, cell, plane in zip(page.grid(cells, [PANEL] * len(cells)), cells, planes, strict=True):
            dress(ax, cell, x=plane.metrics[0])
            ax.set_xlabel(cost_label(plane.metrics[0]))
            stated = f"{plane.key.epochs} epochs" if isinstance(plane.key.epochs, int) else "epochs not stated"
            ax.set_title(short(clean(f"{dataset} ({table.name}), {stated}"), 60), loc="left")
            _table(ax, plane)
            texts = [_family(page, ax, name, _by_weight(runs, members), plane) for name, members in named.items()]
            stretched |= stretch(ax, "y", float(100.0 - plane.objectives[:, 0].min()))
            for marks in texts:
                _weights(ax, marks)
        page.names += [ALL, FRONT]  # the legend's columns are as wide as its longest name
        return page.finish((f"{_explained(runs, planes[0])} {STRETCH_NOTE if stretched else ''}",))


def _explained(runs: Sequence[Run], plane: TradeOff) -> str:
    """What is drawn, in words: which accuracy, and the marks that these runs have."""
    drawn = axis_label(plane.role).removesuffix(" (%)")
    out = [f"Drawn: {drawn} of cells chosen on {plane.seen}. Small marks: cells found, all seeds."]
    if any(map(trains_cells, runs)):
        out.append("Coloured steps: median over seeds of the best accuracy at a cost.")
    if not all(map(trains_cells, runs)):
        weights = ", beside it the weight of the penalty" if any(run.spec.penalty for run in runs) else ""
        out.append(f"Large mark: mean over seeds of final cells{weights}.")
    return " ".join(out)


def _table(ax: Axes, plane: TradeOff) -> None:
    """The cloud of all cells, as an image also in vector files (a mark each makes them large), and the front."""
    cost, accuracy = plane.objectives[:, 1], 100.0 - plane.objectives[:, 0]
    ax.plot(
        cost, accuracy, linestyle="none", marker="o", markersize=1.0, markeredgewidth=0, color="#BBBBBB",
        rasterized=True, zorder=1, label="_all",
    )  # fmt: skip
    x, y = _steps(cost[plane.front], accuracy[plane.front], cost.max())
    ax.plot(x, y, drawstyle="steps-post", color="black", linewidth=1.0, zorder=3, label="_front")


def _steps(cost: Array, accuracy: Array, end: float) -> tuple[Array, Array]:
    """Corners of the best accuracy at a cost, by rising cost, drawn on to `end`."""
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    return np.append(cost[order], end), np.append(best, best[-1])


def _by_weight(runs: Sequence[Run], members: Sequence[int]) -> list[Run]:
    """The runs of a family by rising sum of their weights: the order in which their means are joined."""
    return sorted((runs[i] for i in members), key=lambda run: sum(run.spec.penalty.values()))


def _apart_from_grey(looks: dict[str, Look]) -> dict[str, Look]:
    """The looks with another colour for a grey one, which could not be told from the cloud and the front."""
    taken = {look.colour for look in looks.values()}
    free = [colour for colour in COLOURS if colour not in (*taken, GREY)] or [c for c in COLOURS if c != GREY]
    greys = [name for name, look in looks.items() if look.colour == GREY]
    return looks | {name: looks[name]._replace(colour=free[i % len(free)]) for i, name in enumerate(greys)}


def _family(page: Sheet, ax: Axes, name: str, runs: Sequence[Run], plane: TradeOff) -> list[Mark]:
    """The cells of one method; its trade-off curve over weights, or its median attainment. Returns what to write."""
    look = page.looks[name]
    point: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": "none"}
    page.used[name] = Line2D([], [], **{**point, "linestyle": look.dashes})
    cost, accuracy = plane.objectives[:, 1], 100.0 - plane.objectives[:, 0]
    means: list[Mark] = []
    for run in runs:
        sets = [cells for cells, lost in zip(found(run, plane), run.failed, strict=True) if not lost]
        every = np.concatenate([*sets, np.empty(0, dtype=np.int64)])
        at, count = np.unique(every, return_counts=True)
        strength = (0.25 + 0.65 * count / max(count.max(initial=1), 1)).round(1)
        for level in np.unique(strength):  # few strengths: each is one line object
            some = at[strength == level]
            ax.plot(cost[some], accuracy[some], markersize=2.6, markeredgewidth=0, alpha=level, zorder=4, **point)
        if trains_cells(run):
            x, y = median_attainment(sets, plane)
            ax.plot(x, y, drawstyle="steps-post", color=look.colour, linestyle=look.dashes, zorder=5, label=f"_{name}")
        elif len(every):
            text = ", ".join(f"{w:g}" for w in run.spec.penalty.values()) or "0"
            means.append(Mark(float(cost[every].mean()), float(accuracy[every].mean()), text))
    if means:
        x, y = np.array([mean[:2] for mean in means]).T
        ax.plot(x, y, color=look.colour, linestyle=look.dashes, linewidth=0.9, zorder=5, label=f"_means {name}")
        ax.plot(x, y, markersize=5.5, markeredgecolor="white", markeredgewidth=0.7, zorder=6, **point)
    return means if any(run.spec.penalty for run in runs) else []


def _weights(ax: Axes, marks: Sequence[Mark]) -> None:
    """The weights beside the means; one text for means that lie too close for two (in shares of the axes)."""
    into_axes = ax.transData + ax.transAxes.inverted()
    groups: list[list[Mark]] = []
    for mark in marks:
        here = into_axes.transform(mark[:2])
        near = [g for g in groups if (np.abs(into_axes.transform(g[0][:2]) - here) < TOO_CLOSE).all()]
        near[0].append(mark) if near else groups.append([mark])
    for group in groups:
        text = ", ".join(mark.text for mark in group)
        ax.annotate(text, group[0][:2], (4, -9), textcoords="offset points", fontsize=6.5, zorder=7)


def median_attainment(sets: Sequence[Array], plane: TradeOff) -> tuple[Array, Array]:
    """Corners of the median over seeds of the best accuracy (%) among a seed's cells of at most a cost.

    More than half of the seeds attain it; it starts at the cost at which that many have a cell, and goes on to the
    dearest cell of the table. Source: attainment surfaces, Fonseca & Fleming, PPSN 1996.
    """
    cost, accuracy = plane.objectives[:, 1], 100.0 - plane.objectives[:, 0]
    grid = np.unique(np.concatenate([cost[cells] for cells in sets] + [cost.max()[None]]))
    best = np.full((len(sets), len(grid)), -np.inf)
    for row, cells in zip(best, sets, strict=True):
        if len(cells):
            x, y = _steps(cost[cells], accuracy[cells], cost.max())
            at = np.searchsorted(x, grid, side="right") - 1
            row[at >= 0] = y[at[at >= 0]]
    if not len(sets):
        return np.empty(0), np.empty(0)
    middle = np.sort(best, axis=0)[(len(sets) - 1) // 2]  # lower median: -inf where too few have any cell
    kept = np.isfinite(middle)
    return grid[kept], middle[kept]

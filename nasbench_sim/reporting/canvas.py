"""The sheet that figures are drawn on: a grid of panels, one legend above, one line of notes below."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nasbench_sim.reporting.published import PublishedRow, published_rows
from nasbench_sim.reporting.series import (
    FloatArray,
    Panel,
    bands,
    clean,
    drawn_epochs,
    is_nb201,
    labels,
    orientation_only,
    panel_of,
    panels,
    published_role,
    settings,
    short,
)
from nasbench_sim.reporting.style import LEGEND_ROW, PANEL_HEIGHT, PANEL_WIDTH, Look, axis_label, looks
from nasbench_sim.runs.record import Run

COLUMNS = 2
NAME = 44  # characters of a name; settings that tell variants apart stand at its end
BANDS_NOTE = "Line: median over seeds; dark band: 25–75 %; light band: 5–95 %."
CROWD_NOTE = "Line: median over seeds; band: 25–75 %."
CROWD = 6  # runs a panel; with more of them the 5-95 % bands cover each other and say nothing
MEAN_NOTE = "Line: mean over seeds; band: 25–75 %."
STRETCH_NOTE = "Accuracy axis: logarithmic in the distance to 1 point above the best cell."
STRETCH_FROM = 15.0  # points of accuracy; a wider range would press everything near the best cell into one line


class Cell(NamedTuple):
    """One set of axes: a panel and the quantity shown in it."""

    panel: Panel
    quantity: str


@dataclass
class Sheet:
    """The runs with their names and looks, and the figure they are drawn on."""

    runs: Sequence[Run]
    figure: Figure
    names: list[str] = field(init=False)
    looks: dict[str, Look] = field(init=False)
    members: dict[Panel, list[int]] = field(init=False)
    used: dict[str, Any] = field(init=False, default_factory=dict)
    height: float = field(init=False, default=PANEL_HEIGHT)

    def __post_init__(self) -> None:
        self.names = labels(self.runs)
        self.looks = looks([(n, r.spec.method) for n, r in zip(self.names, self.runs, strict=True)])
        self.members = panels(self.runs)

    @property
    def crowded(self) -> bool:
        """Whether any panel has more runs than outer bands can be told apart for."""
        return max(map(len, self.members.values())) > CROWD

    @property
    def bands_note(self) -> str:
        """What the line and the bands are."""
        return CROWD_NOTE if self.crowded else BANDS_NOTE

    def grid(self, cells: Sequence[Cell], heights: Sequence[float] | None = None) -> list[Axes]:
        """One set of axes a cell, two a row; `heights` (inches, a cell) defaults to the standard panel height."""
        columns = min(COLUMNS, len(cells))
        rows = math.ceil(len(cells) / columns)
        each = heights or [PANEL_HEIGHT] * len(cells)
        row_heights = [max(each[i * columns : (i + 1) * columns]) for i in range(rows)]
        self.height = sum(row_heights)
        spec = self.figure.add_gridspec(rows, columns, height_ratios=row_heights)
        return [self.figure.add_subplot(spec[i // columns, i % columns]) for i in range(len(cells))]

    def draw_line(self, ax: Axes, i: int, values: FloatArray, *, mean: bool = False) -> None:
        """Median and both bands of `values` `[S, E]` of run `i` over the epochs 1..E; or mean and the inner band.

        On a sheet with a crowded panel the inner band alone, for either.
        """
        look = self.looks[self.names[i]]
        b = bands(values)
        at = drawn_epochs(values.shape[1])
        x = (at + 1.0) * seconds_a_point(self.runs[i])
        every = max(1, len(at) // 6)
        line = Line2D([], [], color=look.colour, linestyle=look.dashes, marker=look.marker)
        beside = self.members[panel_of(self.runs[i])]
        if len(at) == 1:  # an area over one epoch has no width: bars instead, side by side
            x = x * (1 + 0.5 * ((beside.index(i) + 0.5) / len(beside) - 0.5))
            ax.set_xlim(0.5 * seconds_a_point(self.runs[i]), 1.5 * seconds_a_point(self.runs[i]))
            ax.vlines(x, b.lowest[at], b.highest[at], colors=look.colour, alpha=0.3, linewidth=3)
            ax.vlines(x, b.low[at], b.high[at], colors=look.colour, alpha=0.6, linewidth=3)
        else:
            if not mean and not self.crowded:
                ax.fill_between(x, b.lowest[at], b.highest[at], color=look.colour, alpha=0.08, linewidth=0)
            inner = 0.1 if self.crowded else 0.2
            ax.fill_between(x, b.low[at], b.high[at], color=look.colour, alpha=inner, linewidth=0)
        ax.plot(
            x,
            (b.mean if mean else b.median)[at],
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markevery=((i * every) // max(1, len(self.names)), every),
            label=f"_{'mean' if mean else 'median'} {i}",
        )
        self.used[self.names[i]] = line

    def finish(self, notes: Sequence[str]) -> Figure:
        """Legend of what was drawn, and the notes below."""
        if self.figure.get_layout_engine() is None:
            self.figure.set_layout_engine("constrained")
        rows = math.ceil(len(self.used) / self._legend_columns())
        text = "\n".join(textwrap.fill(clean(note), 122) for note in notes if note)
        lines = text.count("\n") + 1 if text else 0
        self.figure.set_size_inches(PANEL_WIDTH * COLUMNS, self.height + LEGEND_ROW * rows + 0.13 * lines + 0.1)
        if self.used:
            # matplotlib leaves out legend names that begin with an underscore, hence the blank
            names = [f" {short(n, NAME)}" if n.startswith("_") else short(n, NAME) for n in self.used]
            self.figure.legend(
                list(self.used.values()), names, loc="outside upper left", ncols=self._legend_columns(), borderpad=0.1
            )
        if text:
            self.figure.supxlabel(text, fontsize=7, x=0.01, ha="left", color="#444444")
        return self.figure

    def _legend_columns(self) -> int:
        widest = max(len(short(n, NAME)) for n in self.names)
        return max(1, min(len(self.names), 6, int(PANEL_WIDTH * COLUMNS / (0.62 + 0.066 * widest))))


def seconds_a_point(run: Run) -> float:
    """Simulated seconds between the points of an anytime curve; 1 where the points are search epochs."""
    return float(run.final_state["budget"][0]) / run.epochs if "budget" in run.final_state else 1.0


def sheet(runs: Sequence[Run], figure: Figure | None) -> Sheet:
    """A sheet for `runs` on `figure`, or on a new figure that belongs to no window."""
    return Sheet(runs, Figure(layout="constrained") if figure is None else figure)


def dress(ax: Axes, cell: Cell, x: str = "epoch", width: int = 48) -> None:
    """Title (lines of `width` characters), axis labels with units, whole epochs."""
    if x == "epoch" and cell.panel.landscape == "evaluations":
        x = "seconds"
    ax.set_title(textwrap.fill(short(cell.panel.title, 2 * width - 8), width), loc="left")
    ax.set_xlabel(axis_label(x))
    ax.set_ylabel(axis_label(cell.quantity))
    if x == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def log_axis(ax: Axes) -> None:
    """Logarithmic y axis with plain numbers; enough ticks for a range of less than a decade."""
    low, high = ax.dataLim.intervaly
    ax.set_yscale("log")
    decades = math.log10(high / low) if 0 < low < high < math.inf else 0.0
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.8 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def stretch(ax: Axes, axis: Literal["x", "y"], best: float | None) -> bool:
    """Give an accuracy axis of wide range room near the best cell; returns whether it did.

    A collapsed method lies 40 points below the others, which differ by tenths: the scale is the logarithm of the
    distance to one point above the best cell. Axes of a narrow range stay linear.
    """
    low, high = ax.dataLim.intervalx if axis == "x" else ax.dataLim.intervaly
    if best is None or not high - low >= STRETCH_FROM:
        return False
    top = best + 1.0

    def forward(accuracy: FloatArray) -> FloatArray:
        return -np.log(np.maximum(top - np.asarray(accuracy, dtype=np.float64), 0.2))

    def inverse(position: FloatArray) -> FloatArray:
        return top - np.exp(-np.asarray(position, dtype=np.float64))

    start, end = forward(np.array([low, max(high, best)]))
    span = float(end - start)
    limits = inverse(np.array([start - 0.06 * span, end + 0.06 * span]))
    chosen: list[float] = []
    whole = np.arange(math.floor(best), math.floor(low), -1.0)
    for candidates in (whole[:1], whole[whole % 10 == 0], whole[whole % 5 == 0], whole):
        for tick in candidates:
            if all(abs(float(forward(np.array(tick)) - forward(np.array(c)))) > 0.085 * span for c in chosen):
                chosen.append(float(tick))
    scale, limit = (ax.set_xscale, ax.set_xlim) if axis == "x" else (ax.set_yscale, ax.set_ylim)
    scale("function", functions=(forward, inverse))
    limit(float(limits[0]), float(limits[1]))
    side = ax.xaxis if axis == "x" else ax.yaxis
    side.set_major_locator(FixedLocator(sorted(chosen)))
    side.set_minor_locator(NullLocator())
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return True


def best_of(run: Run, role: str) -> float | None:
    """Accuracy of the table's best cell in percent, None where the record does not say."""
    best = run.table.get("best", {}).get(role)
    return None if best is None else float(best["accuracy"])


def message(ax: Axes, text: str) -> None:
    """Say in the axes why nothing is drawn."""
    ax.text(0.5, 0.5, textwrap.fill(text, 44), transform=ax.transAxes, ha="center", va="center", color="#444444")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)


def published(run: Run, role: str) -> list[PublishedRow]:
    """Published rows to mark for a run and accuracy role: none where they could be read for orientation only."""
    if role == "epochs" or not orientation_only(run, role):
        rows = published_rows(run.spec.method, run.spec.dataset, params=settings(run)) if is_nb201(run) else []
        return [row for row in rows if role == "epochs" or published_role(role) in row.scores]
    return []


def published_marks(run: Run, role: str) -> list[tuple[float, float]]:
    """Distinct published (mean, sd) in percent to mark for a run and accuracy role; sd 0 where none is printed."""
    scores = [row.scores[published_role(role)] for row in published(run, role)]  # type: ignore[index]
    return list(dict.fromkeys((score.mean, score.sd or 0.0) for score in scores))


def listed(names: Sequence[str]) -> str:
    """Names in one line, each once."""
    return ", ".join(np.unique([short(n, NAME) for n in names]).tolist())

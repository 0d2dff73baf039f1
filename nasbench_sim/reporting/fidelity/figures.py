"""The figures of a comparison, drawn from its document alone: curves, distributions, ranking, one-shot ranking."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nasbench_sim.reporting.canvas import STRETCH_NOTE, stretch
from nasbench_sim.reporting.outcomes import dots
from nasbench_sim.reporting.series import short
from nasbench_sim.reporting.style import AXIS, COLOURS, LEGEND_ROW, OPTIMUM, PANEL_WIDTH, Look, axis_label, style

Doc = Mapping[str, Any]
WIDTH, COLUMNS, SMALL = 2 * PANEL_WIDTH, 4, 1.55  # inches; panels a row; inches
#: how each side is drawn everywhere, and what it is called
SIDES: dict[str, tuple[str, Look]] = {
    "supernet": ("supernets, recorded", Look("#000000", "-", "o")),
    "simulator": ("simulator", Look(COLOURS[0], "-", "s")),
    "held_out": ("simulator, fitted without the method", Look(COLOURS[1], (0, (5, 1.6)), "^")),
    "plain_table": ("plain table", Look(OPTIMUM, (0, (1.2, 1.4)), "D")),
}


class Kind(NamedTuple):
    """A figure of a scene: its name, title, caption and function."""

    name: str
    title: str
    caption: str
    draw: Callable[[Doc], Figure]


def present(scene: Doc) -> list[str]:
    """The sides that any method of the scene has."""
    return [side for side in SIDES if any(row["sides"].get(side, {}).get("n") for row in scene["methods"])]


def plot_skips(scene: Doc) -> Figure:
    """Skip connections of the derived cell by epoch, a small panel a method: mean over seeds, 25-75 % as bands."""

    def draw(ax: Axes, row: Doc, side: str, look: Look) -> bool:
        found = row["sides"].get(side, {}).get("skip_ratio")
        if found is None:
            return False
        x = np.arange(1, len(found["mean"]) + 1)
        if len(row["supernet_seeds"]) > 1 or side != "supernet":
            ax.fill_between(
                x, _floats(found["low"]), _floats(found["high"]), color=look.colour, alpha=0.12, linewidth=0
            )
        ax.plot(x, _floats(found["mean"]), color=look.colour, linestyle=look.dashes, label=side)
        ax.set_ylim(-0.03, 1.03)
        return True

    note = "Line: mean over seeds; band: 25–75 %."
    return _panels(scene, draw, "skips (fraction of edges)", note)


def plot_one_shot(scene: Doc) -> Figure:
    """Kendall's tau of one-shot and stand-alone accuracy by epoch, a small panel a method: mean over seeds."""

    def draw(ax: Axes, row: Doc, side: str, look: Look) -> bool:
        found = (row["one_shot"] or {"tau": {}})["tau"].get(side)
        ax.axhline(0, color="#999999", linewidth=0.7)
        if not found:
            return False
        x = row["one_shot"]["epochs"]
        ax.plot(x, _floats(found), color=look.colour, linestyle=look.dashes, marker=look.marker, label=side)
        return True

    note = "Cells under the shared weights of each search against the table; of the simulator the modelled losses."
    return _panels(scene, draw, "Kendall τ (unitless)", note)


def _panels(scene: Doc, draw: Callable[[Axes, Doc, str, Look], bool], y: str, note: str) -> Figure:
    methods = scene["methods"]
    columns = min(COLUMNS, len(methods))
    rows = math.ceil(len(methods) / columns)
    with style():
        figure = Figure(layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        drawn = set()
        for ax, row in zip(axes.flat, methods, strict=False):
            for side, (_, look) in SIDES.items():
                if draw(ax, row, side, look):
                    drawn.add(side)
            ax.set_title(f"{short(row['label'], 24)} ({len(row['supernet_seeds'])} recorded)", loc="left")
            ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        for ax in axes.flat[len(methods) :]:
            ax.set_visible(False)
        for ax in axes.flat[max(0, len(methods) - columns) : len(methods)]:  # the lowest of each column
            ax.set_xlabel(AXIS["epoch"])
            ax.xaxis.set_tick_params(labelbottom=True)
        figure.supylabel(y, fontsize=8)
        return _finish(figure, drawn, rows * SMALL + 0.35, note)


def plot_accuracies(scene: Doc) -> Figure:
    """Where the searches ended: every accuracy that occurred, its area the share of seeds, one band a method."""
    sides = present(scene)
    stretched = False
    with style():
        figure = Figure(layout="constrained")
        ax = figure.subplots()
        for m, row in enumerate(scene["methods"]):
            for i, side in enumerate(sides):
                values = row["sides"].get(side, {}).get("accuracy", {}).get("values")
                if values:
                    _strip(ax, np.array(values), m + (i - (len(sides) - 1) / 2) * 0.8 / len(sides), SIDES[side][1])
            if m:
                ax.axhline(m - 0.5, color="#DDDDDD", linewidth=0.5)
        ax.set_yticks(range(len(scene["methods"])), [short(row["label"], 24) for row in scene["methods"]])
        ax.set_ylim(len(scene["methods"]) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_ylabel("method")
        best = max(
            v
            for row in scene["methods"]
            for s in row["sides"].values()
            for v in s.get("accuracy", {}).get("values", ())
        )
        stretched = stretch(ax, "x", best)
        ax.set_xlabel(f"{axis_label(scene['role'])}, {scene['table']}")
        note = "Dot: an accuracy that occurred, its area the share of seeds. Tick: mean."
        if stretched:
            note += f" {STRETCH_NOTE}"
        return _finish(figure, set(sides), 0.6 + 0.13 * (1 + len(sides)) * len(scene["methods"]), note)


def _strip(ax: Axes, values: Any, y: float, look: Look) -> None:
    at, share = dots(values)
    for level in np.unique(np.ceil(np.sqrt(share) * 8)):
        some = at[np.ceil(np.sqrt(share) * 8) == level]
        size = 2.0 + 6.0 * level / 8
        ax.plot(
            some, np.full(len(some), y), linestyle="none", marker="o", markersize=size, color=look.colour, alpha=0.5,
            markeredgewidth=0,
        )  # fmt: skip
    ax.plot([values.mean()] * 2, [y - 0.09, y + 0.09], color=look.colour, linewidth=1.3)


def plot_ranking(scene: Doc) -> Figure:
    """Mean final accuracy of each method, simulated against recorded: a panel a side, the diagonal is a perfect one."""
    sides = [side for side in present(scene) if side != "supernet"]
    with style():
        figure = Figure(layout="constrained")
        axes = figure.subplots(1, len(sides), sharex=True, sharey=True, squeeze=False)
        for ax, side in zip(axes[0], sides, strict=True):
            _scatter(ax, scene, side)
        axes[0][0].set_ylabel(f"simulated mean {axis_label(scene['role'])}")
        low, high = axes[0][0].get_xlim()
        bottom, top = axes[0][0].get_ylim()
        ends = [max(low, bottom), min(high, top)]
        for ax in axes[0]:
            ax.plot(ends, ends, color="#999999", linewidth=0.7, zorder=0)
            ax.set_xlabel(f"supernets' mean {axis_label(scene['role'])}")
        return _finish(
            figure, set(), 3.0, "Bars: standard error of the mean. Grey: equal means. τ: Kendall's, 95 % interval."
        )


def _scatter(ax: Axes, scene: Doc, side: str) -> None:
    name, look = SIDES[side]
    found = scene["ranking"].get(side)
    tau = "too few methods to rank"
    if found is not None and found["value"] is not None:
        tau = f"τ {found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
    ax.set_title(f"{name}: {tau}", loc="left", fontsize=7)
    ends: list[float] = []
    names = []
    for row in scene["methods"]:
        here = row["sides"].get(side, {})
        theirs = row["sides"]["supernet"]
        if not here.get("n") or not theirs["n"]:
            continue
        x, y = theirs["accuracy"], here["accuracy"]
        errors = [(a["sd"] or 0.0) / math.sqrt(n) for a, n in ((x, theirs["n"]), (y, here["n"]))]
        ax.errorbar(
            x["mean"], y["mean"], xerr=errors[0], yerr=errors[1], marker=look.marker, color=look.colour, linewidth=0.8
        )
        ends.append(x["mean"])
        place: dict[str, Any] = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 6.5}
        names.append(ax.annotate(short(row["label"], 16), (x["mean"], y["mean"]), **place))
    for turn, i in enumerate(np.argsort(ends)):  # from left to right above and below by turns
        at, text = ends[i], names[i]
        side_y = 3 if turn % 2 == 0 else -8
        text.xyann = (4, side_y)
        if at > (min(ends) + max(ends)) / 2:  # to the left, so that it stays inside
            text.set_horizontalalignment("right")
            text.xyann = (-4, side_y)


def _finish(figure: Figure, drawn: set[str], height: float, note: str) -> Figure:
    """Legend above, the note below."""
    named = [(name, look) for side, (name, look) in SIDES.items() if side in drawn]
    lines = [Line2D([], [], color=k.colour, linestyle=k.dashes, marker=k.marker) for _, k in named]
    text = textwrap.fill(note, 122)
    figure.set_size_inches(WIDTH, height + LEGEND_ROW * bool(named) + 0.13 * (text.count("\n") + 1) + 0.1)
    if named:
        figure.legend(lines, [name for name, _ in named], loc="outside upper left", ncols=len(named), borderpad=0.1)
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left", color="#444444")
    return figure


def _floats(values: Sequence[float | None]) -> Any:
    return np.array([math.nan if v is None else v for v in values])


KINDS = (
    Kind(
        "skips", "Skip connections by epoch", "Share of the derived cell's edges that are skip connections.", plot_skips
    ),
    Kind(
        "accuracies",
        "Where the searches ended",
        "Accuracy, looked up in the table, of the cell derived after the last epoch.",
        plot_accuracies,
    ),
    Kind("ranking", "Ranking of the methods", "Mean final accuracy, simulated against recorded.", plot_ranking),
    Kind(
        "one-shot",
        "One-shot against stand-alone accuracy",
        "How the shared weights of a search rank cells, held against the cells trained alone.",
        plot_one_shot,
    ),
)


def figures_of(scene: Doc) -> list[Kind]:
    """The figures that this scene has numbers for."""
    if not any(row["sides"]["supernet"]["n"] for row in scene["methods"]):
        return []
    looked = any(row["one_shot"] for row in scene["methods"])
    wanted = {"one-shot": looked, "ranking": len(present(scene)) > 1}
    return [kind for kind in KINDS if wanted.get(kind.name, True)]

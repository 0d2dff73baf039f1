"""The figure of an ablation: one panel an axis, mean and interval a value; a heat map where two axes meet."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nasbench_sim.reporting.canvas import STRETCH_FROM, STRETCH_NOTE, message, stretch
from nasbench_sim.reporting.effects import Effect, by_seed, mean_interval
from nasbench_sim.reporting.series import clean, short
from nasbench_sim.reporting.style import COLOURS, OPTIMUM, PANEL_HEIGHT, PANEL_WIDTH, axis_label, style
from nasbench_sim.runs.ablate_results import Ablation
from nasbench_sim.runs.grid import Panel

INK, PALE, FAILED = COLOURS[1], "#9CC7E4", COLOURS[0]
NEAR = 5.0  # points below the best cell; where nothing comes nearer, there is nothing to make room for
MOST = 60  # values of an axis that can be told apart in one panel
MANY = 4  # panels; with more of them three stand in a row
ROOM = {1: 90, 2: 50, 3: 34}  # characters of a title, by panels in a row
_NOTE = (
    "Point: mean over seeds; bar: its 95 % bootstrap interval; pale bar: 25–75 % of seeds. Filled: differs from the "
    "baseline (diamond, dashed line), paired over seeds, p < 0.05 after correction."
)


class _Value(NamedTuple):
    """One value of an axis as drawn."""

    label: str
    values: Any  # [n], percent, a seed each
    interval: tuple[float, float] | None
    failed: int
    searches: int
    differs: bool
    baseline: bool


def plot_effects(ablation: Ablation, found: Sequence[Effect], figure: Figure | None = None) -> Figure:
    """Mean accuracy (%) by value, one panel an axis (by data set and landscape); for a grid of two axes a heat map.

    `found` are the ablation's `effects`. Failed searches are counted in red at their value. Returns the figure.
    """
    with style():
        sheet = Figure(layout="constrained") if figure is None else figure
        panels = list(dict.fromkeys(cell.panel for cell in ablation.cells))
        parts = [(panel, number) for panel in panels for number in range(len(ablation.axes))]
        maps = panels if len(ablation.axes) == 2 and ablation.grid.mode == "grid" else []
        columns = 3 if len(parts) > MANY else 2 if len(parts) > 1 else 1
        rows = math.ceil(len(parts) / columns)
        map_rows = math.ceil(len(maps) / columns)
        tall = [0.9 + 0.26 * min(len(ablation.axes[1].values), MOST)] * map_rows if maps else []
        heights = [0.88 * PANEL_HEIGHT] * rows + [max(h, 0.88 * PANEL_HEIGHT) for h in tall]
        spec = sheet.add_gridspec(rows + map_rows, columns, height_ratios=heights)
        stretched = False
        drawn = {part: _values(ablation, found, *part) for part in parts}
        for i, (panel, number) in enumerate(parts):
            ax = sheet.add_subplot(spec[i // columns, i % columns])
            spans = [_span(value) for part in parts if part[0] == panel for value in drawn[part] if len(value.values)]
            stretched |= _axis(ax, ablation, drawn[panel, number], panel, number, spans, columns)
            named = len(panels) > 1 and panel.title
            title = f"{ablation.axes[number].name} ({panel.title})" if named else ablation.axes[number].name
            ax.set_title(textwrap.fill(short(clean(title), 60), ROOM[columns]), loc="left")
            if i % columns == 0 or len(panels) > 1:
                ax.set_ylabel(axis_label(ablation.role))
            else:
                ax.tick_params(axis="y", labelleft=False)  # as in the first column
        for i, panel in enumerate(maps):
            place = spec[rows + i // columns, slice(None) if len(maps) == 1 else i % columns]
            _map(sheet.add_subplot(place), ablation, panel, ROOM[1 if len(maps) == 1 else columns])
        width = 2 * PANEL_WIDTH
        notes = textwrap.fill(f"{_NOTE} {STRETCH_NOTE if stretched else ''}", 122 if columns > 1 else 116)
        head = textwrap.fill(clean(heading(ablation)), 100)
        lines = head.count("\n") + notes.count("\n") + 2
        sheet.set_size_inches(width, sum(heights) + 0.15 * lines + 0.1)
        sheet.suptitle(head, fontsize=8.5, x=0.01, ha="left")
        sheet.supxlabel(notes, fontsize=7, x=0.01, ha="left", color="#444444")
        return sheet


def heading(ablation: Ablation) -> str:
    """What was run, in one line: `balenas on nb201, cifar10, shared landscape: 100 seeds, 50 epochs of 391 steps`."""
    grid, specs = ablation.grid, [cell.spec for cell in ablation.cells]

    def all_of(values: Sequence[Any], joint: str = " and ") -> str:
        return joint.join(str(v) for v in dict.fromkeys(values))

    fixed = ", ".join(f"{k}={v}" for k, v in {**grid.params, **grid.landscape_params}.items())
    where = f"{all_of([s.dataset for s in specs])}, {all_of([s.landscape for s in specs])} landscape"
    how = f"{len(ablation.seeds)} seeds, {all_of([s.epochs for s in specs], ' or ')} epochs"
    steps = f" of {all_of([s.steps_per_epoch for s in specs], ' or ')} steps"
    mode = (
        "" if grid.mode == "grid" or len(ablation.axes) == 1 else "; one axis at a time, the others at their baseline"
    )
    return (
        f"{all_of([s.method for s in specs])}{f' ({fixed})' if fixed else ''} on {ablation.table['name']}, {where}: "
        f"{how}{'' if specs[0].landscape == 'evaluations' else steps}{mode}"
    )


def _axis(
    ax: Axes,
    ablation: Ablation,
    drawn: Sequence[_Value],
    panel: Panel,
    number: int,
    spans: Sequence[tuple[float, float]],
    columns: int,
) -> bool:
    """One panel, on the accuracy axis that all panels of its data set share; returns whether that was stretched."""
    labels = [short(clean(value.label), 22) for value in drawn]
    lost = [f"{value.failed} of {value.searches} failed" if value.failed else "" for value in drawn]
    wide = [max(len(label), len(text)) + 2 for label, text in zip(labels, lost, strict=True)]
    # neighbours must not touch, and all of them stand at equal distances
    crowded = max(a + b for a, b in itertools.pairwise(wide)) / 2 * len(wide) > {1: 92, 2: 42, 3: 28}[columns]
    joint = ": " if crowded else "\n"
    labels = [f"{label}{joint}{text}" if text else label for label, text in zip(labels, lost, strict=True)]
    if len(drawn) > MOST:
        message(ax, f"{len(drawn)} values: too many to draw; effects.csv holds them")
        return False
    if not spans:
        message(ax, "every search failed")
        return False
    for x, value in enumerate(drawn):
        if len(value.values):
            _point(ax, x, value)
    centre = drawn[ablation.axes[number].baseline].values
    if len(centre):
        ax.axhline(centre.mean(), color=OPTIMUM, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    ax.update_datalim([(0, low), (0, high)])
    best = ablation.best.get(panel.dataset, {}).get(ablation.role, high)
    stretched = best - high < NEAR and stretch(ax, "y", best)
    if not stretched:
        pad = max(0.08 * (high - low), 0.02)
        ax.set_ylim(low - pad, high + pad)
    ax.set_xticks(range(len(drawn)), labels)
    for text, value in zip(ax.get_xticklabels(), drawn, strict=True):
        text.set_color(FAILED if value.failed else "black")
    if len(drawn) > 10:
        ax.tick_params(axis="x", labelrotation=90, labelsize=6)
    elif crowded:
        ax.tick_params(axis="x", labelrotation=30)
        for text in ax.get_xticklabels():
            text.set_horizontalalignment("right")
            text.set_rotation_mode("anchor")
    ax.set_xlim(-0.6, len(drawn) - 0.4)
    ax.grid(axis="x", visible=False)
    return stretched


def _values(ablation: Ablation, found: Sequence[Effect], panel: Panel, number: int) -> list[_Value]:
    axis = ablation.axes[number]
    mine = {effect.value: effect for effect in found if effect.panel == panel and effect.axis == axis.name}
    any_effect = next(iter(mine.values()))
    out = []
    for level, (label, values) in enumerate(zip(axis.labels, by_seed(ablation, panel, number), strict=True)):
        effect = mine.get(label)
        failed = any_effect.baseline_failed if effect is None else effect.failed
        differs = effect is not None and effect.differs
        good = values[~np.isnan(values)]
        numbers = (failed, any_effect.searches, differs, level == axis.baseline)
        out.append(_Value(label, good, mean_interval(good), *numbers))
    return out


def _span(value: _Value) -> tuple[float, float]:
    """Lowest and highest accuracy that is drawn of a value."""
    ends = [value.values.mean(), *np.percentile(value.values, (25, 75)), *(value.interval or ())]
    return float(min(ends)), float(max(ends))


def _point(ax: Axes, x: int, value: _Value) -> None:
    quartiles = np.percentile(value.values, (25, 75))
    ax.plot([x, x], quartiles, color=PALE, linewidth=6, solid_capstyle="butt", zorder=2)
    if value.interval is not None:
        ax.plot([x, x], value.interval, color=INK, linewidth=1.6, solid_capstyle="butt", zorder=3)
    fill = INK if value.differs else "white"
    marker, size = ("D", 4.6) if value.baseline else ("o", 4.8)
    look: dict[str, Any] = {"marker": marker, "markersize": size, "markerfacecolor": fill, "markeredgecolor": INK}
    ax.plot([x], [value.values.mean()], linestyle="none", zorder=4, **look)


def _map(ax: Axes, ablation: Ablation, panel: Panel, room: int) -> None:
    """Mean accuracy of every cell of two axes; the baseline's cell is framed."""
    first, second = ablation.axes
    shape = (len(second.values), len(first.values))
    mean, failed = np.full(shape, np.nan), np.zeros(shape, dtype=int)
    for cell in ablation.cells:
        if cell.panel == panel:
            values = ablation.accuracy[ablation.role][cell.number].astype(np.float64)
            at = (cell.levels[1], cell.levels[0])
            failed[at] = int(np.isnan(values).sum())
            mean[at] = np.nanmean(values) if failed[at] < len(values) else np.nan
    title = f"{axis_label(ablation.role)}, mean over seeds{f': {panel.title}' if panel.title else ''}"
    ax.set_title(textwrap.fill(title, room), loc="left")
    if max(shape) > MOST:
        message(ax, f"{shape[1]} x {shape[0]} cells: too many to draw")
        return
    if np.isnan(mean).all():
        message(ax, "every search failed")
        return
    shade = _shades(mean)
    ax.imshow(shade, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(mean):
        lost = f"\n{failed[row, column]} failed" if failed[row, column] else ""
        dark = np.isnan(value) or shade[row, column] > 0.55
        text = "all failed" if np.isnan(value) else f"{value:.2f}{lost}"
        ax.text(column, row, text, ha="center", va="center", fontsize=7, color="black" if dark else "white")
    corner = (first.baseline - 0.5, second.baseline - 0.5)
    ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=COLOURS[0], linewidth=1.8, clip_on=False))
    ax.set_xticks(range(shape[1]), [short(label, 22) for label in first.labels])
    ax.set_yticks(range(shape[0]), [short(label, 22) for label in second.labels])
    ax.set_xlabel(short(first.name, 60))
    ax.set_ylabel(short(second.name, 30))
    ax.grid(False)


def _shades(mean: Any) -> Any:
    """0 to 1 from the worst to the best mean; over a wide range by the logarithm of the distance to the best."""
    low, high = float(np.nanmin(mean)), float(np.nanmax(mean))
    if high - low < 1e-9:
        return np.where(np.isnan(mean), np.nan, 0.8)
    if high - low >= STRETCH_FROM:
        mean, low, high = -np.log(high + 1 - mean), -math.log(high + 1 - low), 0.0
    return (mean - low) / (high - low)

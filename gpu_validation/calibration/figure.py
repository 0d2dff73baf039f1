"""The figure of a calibration: recorded and fitted gradients by option, and what is explained of what was held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.style import COLOURS, PANEL_HEIGHT, PANEL_WIDTH, style

_COLUMNS = 3
_OPTIONS = (*COLOURS[:4], *COLOURS[5:])  # grey is for the legend's own words
_LOWEST = -20.0  # bars end there: worse than noise is all that they say


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw a document of `calibration.run.calibrate`."""
    methods = document["by_method"]
    options = list(document["params"]["noise_of"]) or [str(k) for k in range(5)]
    rows = -(-len(methods) // _COLUMNS)
    with style():
        figure = Figure(
            figsize=(PANEL_WIDTH * 0.8 * _COLUMNS, 0.8 * PANEL_HEIGHT * rows + PANEL_HEIGHT + 0.6), layout="constrained"
        )
        top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[0.8 * rows, 1.1])).tolist()
        axes: Any = top.subplots(rows, _COLUMNS, squeeze=False)
        for axis, (method, found) in zip(axes.flat, methods.items(), strict=False):
            _gradients(axis, method, found, len(options))
        for axis in axes.flat[len(methods) :]:
            axis.set_visible(False)
        handles = [Line2D([], [], color=_OPTIONS[k], label=f" {name}") for k, name in enumerate(options)]
        handles += [
            Line2D([], [], color="#444444", marker="o", linestyle="", label="recorded"),
            Line2D([], [], color="#444444", label="fitted"),
        ]
        top.legend(handles=handles, loc="outside upper left", ncols=len(handles), columnspacing=1.2, handlelength=1.4)
        _bars(bottom.subplots(), document)
        with atomic_path(path) as part:
            figure.savefig(part, format="png")


def _gradients(axis: Any, method: str, found: Mapping[str, Any], options: int) -> None:
    recorded, fitted = (np.array(found[name], dtype=np.float64) for name in ("recorded", "fitted"))
    epochs = np.arange(1, len(recorded) + 1)
    for k in range(options):
        axis.plot(epochs, recorded[:, k], color=_OPTIONS[k], marker="o", markersize=2.2, linestyle="", alpha=0.55)
        axis.plot(epochs, fitted[:, k], color=_OPTIONS[k])
    axis.set_title(method, loc="left")
    axis.set(xlabel="search epoch", ylabel="gradient, centred (nats)")


def _bars(axis: Any, document: Mapping[str, Any]) -> None:
    table = [*document["baselines"], *document["ladder"]]
    ways = ["fitted", *(by for by in ("method", "seed", "width") if by in document["ladder"][0])]
    height = 0.8 / len(ways)
    for i, way in enumerate(ways):
        values = [100 * (row[way] or 0.0) for row in table]
        label = "fitted to all" if way == "fitted" else f"held out by {way}"
        axis.barh(
            np.arange(len(table)) + i * height, np.maximum(values, _LOWEST), height, color=COLOURS[i], label=label
        )
    axis.axvline(100 * document["ceiling"], color="#767676", linestyle=(0, (4, 2)), label="all but step noise")
    axis.set(
        yticks=np.arange(len(table)) + 0.4 - height / 2,
        xlabel=f"squared recorded gradients explained (%; bars end at {_LOWEST:.0f})",
    )
    names = [row["model"] + (" (taken)" if row["model"] == document["model"] else "") for row in table]
    axis.set_yticklabels(names)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(ways) + 1)

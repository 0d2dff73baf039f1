"""The figure of a bench run: time of a bilevel step by candidate, and where that time goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.style import COLOURS, PANEL_WIDTH, style

PARTS = {"architecture": ("architecture step", COLOURS[1]), "weights": ("weight step", COLOURS[6])}
KIND_COLOURS = {
    "convolution": COLOURS[1],
    "matrix product": COLOURS[6],
    "batch norm": COLOURS[2],
    "pooling": COLOURS[3],
    "element-wise": COLOURS[0],
    "compiled loops": COLOURS[5],
    "other": "#BBBBBB",
}


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw a document of `gpu_validation.bench.report.run_bench` that has results."""
    results: Mapping[str, Any] = document["results"]
    kinds: Mapping[str, Any] = document.get("shares", {})
    names = list(results)
    rows = range(len(names))
    with style():
        panels = 2 if kinds else 1
        figure = Figure(figsize=(PANEL_WIDTH * (0.6 + 1.15 * panels), 1.5 + 0.34 * len(names)), layout="constrained")
        axes: Any = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        left = [0.0] * len(names)
        for part, (label, colour) in PARTS.items():
            values = [results[name][f"seconds_{part}"] for name in names]
            axes[0].barh(rows, values, left=left, height=0.62, color=colour, label=label)
            left = [a + b for a, b in zip(left, values, strict=True)]
        for row, name in zip(rows, names, strict=True):
            axes[0].text(left[row], row, f"  {speedups(results[name])}", va="center", fontsize=7)
        axes[0].set(yticks=list(rows), yticklabels=names, xlabel="seconds a bilevel step (median)")
        axes[0].set_xlim(0, 1.3 * max(left))
        axes[0].invert_yaxis()
        drawn = [axes[0]]
        if kinds:
            _shares(axes[1], [kinds[name] for name in names])
            drawn.append(axes[1])
        for axis in drawn:
            axis.grid(axis="y", visible=False)
            axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, columnspacing=1.0, handlelength=1.2)
        figure.supxlabel(note(document), fontsize=6.5, color="#555555", x=0.01, ha="left")
        with atomic_path(path) as part_path:
            figure.savefig(part_path, format="png")


def speedups(found: Mapping[str, Any]) -> str:
    """Speedups against the references, contiguous first.

    >>> speedups({"speedup": {"reference, contiguous": {"median": 2.04}}})
    '2.04x'
    """
    return " | ".join(f"{ratio['median']:.2f}x" for ratio in found.get("speedup", {}).values())


def note(document: Mapping[str, Any]) -> str:
    """What the numbers are, of what, on what."""
    o, m = document["options"], document["machine"]
    return (
        f"C {o['channels']}, N {o['cells']}, batch {o['batch']}, {o['side']}x{o['side']}; {m['device']} "
        f"({m['capability']}), {m['threads']} of {m['cores']} cores, torch {m['torch']}; {o['repeats']} interleaved "
        "repeats.\nBeside the bars: speed against the reference, contiguous | channels_last (median of the ratios "
        "within a repeat)."
    )


def _shares(axis: Any, by_name: list[Mapping[str, float]]) -> None:
    left = [0.0] * len(by_name)
    for name, colour in KIND_COLOURS.items():
        values = [100.0 * found.get(name, 0.0) for found in by_name]
        if max(values) >= 0.5:
            axis.barh(range(len(by_name)), values, left=left, height=0.62, color=colour, label=name)
            left = [a + b for a, b in zip(left, values, strict=True)]
    axis.set(xlabel="share of CPU time by kind of operation (%)", xlim=(0, 100))

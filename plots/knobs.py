"""Which settings of a method collapse: predicted on the model over a whole grid, tried on true supernets at its ends.

    nasbench-sim ablate plots/knobs_balenas.yaml --out runs/knobs-balenas
    python plots/knobs.py choose runs/knobs-balenas --name balenas
    gpu-validation record data/plans/knobs_balenas.yaml --threads 1 --out runs/knobs-balenas-supernet
    python plots/knobs.py draw --name balenas --traces runs/knobs-balenas-supernet/traces  # default: data/knobs/balenas

`choose` writes data/knobs_NAME.json (every setting with what was predicted) and the plan: the three settings that are
predicted to collapse least and the three that collapse most, no two of one end alike in all but one knob. The
measure is the share of edges of the final cell without weights (skip connection, pooling, none).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import yaml
from scipy.stats import permutation_test, spearmanr

from nasbench_sim.files import atomic_path
from nasbench_sim.reporting import save_figure
from nasbench_sim.reporting.style import RC
from nasbench_sim.runs import Run
from nasbench_sim.runs.trace import Trace
from nasbench_sim.spaces import NB201

ROOT = Path(__file__).parents[1]
ENDS = 3
SEEDS = [0, 1, 2]
COLLAPSED = 0.8  # 5 or 6 of 6 edges without weights
ORDER = "step order"
NET = {"channels": 2, "cells": 1, "batch": 64, "augment": False, "eval_images": 1000, "eval_batch": 1000}


def without_weights(archs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Share of decisions of cells `[..., 6]` whose operation has no weights."""
    free = ~NB201().parametric
    return np.asarray(free[np.arange(6), archs].mean(axis=-1))


def predicted(folder: Path) -> list[dict[str, Any]]:
    """Every setting of an ablation: its parameters, mean share without weights, share of searches that collapsed."""
    points = []
    for path in sorted(folder.glob("cells/*/run.json")):
        run = Run.load(path.parent)
        share = without_weights(run.archs[~run.failed])
        points.append(
            {
                "params": {**run.spec.params, ORDER: run.spec.step_order},
                "without_weights": round(float(share.mean()), 4),
                "collapsed": round(float((share > COLLAPSED).mean()), 4),
                "test": round(float(np.nanmean(run.final("test"))), 3),
                "seeds": len(run.seeds),
            }
        )
    return points


def ends(points: list[dict[str, Any]], knobs: list[str]) -> list[dict[str, Any]]:
    """The `ENDS` settings predicted to collapse least, then those that do most; see the head."""
    order = sorted(points, key=lambda p: (p["without_weights"], p["collapsed"]))
    chosen = []
    for side in (order, order[::-1]):
        kept: list[dict[str, Any]] = []
        for point in side:
            if all(sum(point["params"][k] != other["params"][k] for k in knobs) > 1 for other in kept):
                kept.append(point)
            if len(kept) == ENDS:
                break
        chosen += kept
    return chosen


def choose(folder: Path, name: str) -> None:
    """Write the map of all settings and the plan of those that are tried."""
    points = predicted(folder)
    knobs = sorted({k for p in points for k in p["params"] if len({repr(q["params"][k]) for q in points}) > 1})
    tried = ends(points, knobs)
    runs = []
    for number, point in enumerate(tried):
        point["label"] = f"{name}-{'low' if number < ENDS else 'high'}{number % ENDS}"
        params = {knob: value for knob, value in point["params"].items() if knob != ORDER}
        entry = {"method": name, "label": point["label"], "params": params}
        if point["params"][ORDER] != "together":
            entry["net"] = {"order": point["params"][ORDER]}
        runs.append(entry)
    with atomic_path(ROOT / "data" / f"knobs_{name}.json") as part:
        lines = ",\n ".join(json.dumps(point) for point in points)
        part.write_text(f'{{"knobs": {json.dumps(knobs)}, "points": [\n {lines}\n]}}\n')
    plan = {
        "name": f"knobs-{name}",
        "about": f"settings of {name} that the model predicts to collapse least and most (plots/knobs.py choose)",
        "data": "fashion-mini",
        "net": {**NET, "curvature": 0},
        "seeds": SEEDS,
        "epochs": 50,
        "every": 50,
        "cells": 0,
        "runs": runs,
    }
    with atomic_path(ROOT / "data" / "plans" / f"knobs_{name}.yaml") as part:
        part.write_text(f"# Written by plots/knobs.py choose\n{yaml.safe_dump(plan, sort_keys=False)}")
    for point in tried:
        print(point["label"], point["without_weights"], point["collapsed"], {k: point["params"][k] for k in knobs})


def tell(points: list[dict[str, Any]], knobs: list[str], seen: dict[str, list[float]]) -> None:
    """Print what the map says of all settings and of the order of steps, and how its two ends came out."""
    shares, lost = (np.array([p[what] for p in points]) for what in ("without_weights", "collapsed"))
    print(f"predicted: share {shares.min():.2f} to {shares.max():.2f}, mean {shares.mean():.2f}")
    print(f"predicted: {lost.min():.0%} to {lost.max():.0%} of searches collapse")
    orders: dict[str, dict[str, float]] = {}
    for point in points:
        others = repr([(k, point["params"][k]) for k in knobs if k != ORDER])
        orders.setdefault(point["params"][ORDER], {})[others] = point["without_weights"]
    for order, found in orders.items():
        moved = [share - orders["together"][others] for others, share in found.items()]
        if order != "together":
            print(f"{order}: share {np.mean(moved):+.3f} against together, {len(moved)} pairs of settings")
    tried = {
        side: [v for label, values in seen.items() if f"-{side}" in label for v in values] for side in ("low", "high")
    }
    for side, values in tried.items():
        gone = sum(value > COLLAPSED for value in values)
        print(f"{side}, on supernets: mean share {np.mean(values or np.nan):.2f}, {gone} of {len(values)} collapsed")
    if all(tried.values()):
        difference = permutation_test(
            (tried["high"], tried["low"]),
            lambda a, b, axis: a.mean(axis) - b.mean(axis),
            alternative="greater",
            n_resamples=np.inf,  # exact: 48,620 ways to deal out 18 searches
        )
        print(f"high - low {difference.statistic:.2f}, p = {difference.pvalue:.3f} (permutation test, one-sided)")


def draw(name: str, folder: Path) -> None:
    """The map, and what true supernets did at its ends."""
    document = json.loads((ROOT / "data" / f"knobs_{name}.json").read_text())
    points, knobs = document["points"], document["knobs"]
    tried = [p for p in points if "label" in p]
    seen = {}
    for point in tried:
        traces = [Trace.load(path) for path in sorted(folder.glob(f"{point['label']}-seed*.h5"))]
        for trace in traces:
            alone = (np.nanmax(trace.epoch["theta"][0], axis=2) > 0.999).all(axis=1)
            print(
                point["label"],
                trace.archs[0, -1],
                f"one operation an edge from epoch {alone.argmax() + 1}" if alone.any() else "",
            )
        if traces:
            seen[point["label"]] = [float(without_weights(t.archs[0, -1])) for t in traces]
    tell(points, knobs, seen)
    with plt.rc_context(RC):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 4.4), width_ratios=(1.7, 1))
        row, ticks = 0, []
        for knob in knobs:
            for value in sorted({p["params"][knob] for p in points}):
                shares = [p["without_weights"] for p in points if p["params"][knob] == value]
                left.plot(shares, np.full(len(shares), row), "|", color="#0072B2", alpha=0.25, markersize=9)
                left.plot(np.mean(shares), row, "o", color="#D55E00", markersize=5)
                ticks.append((row, f"{knob} = {value}"))
                row += 1
            row += 0.6
        left.set_yticks([r for r, _ in ticks], [t for _, t in ticks])
        left.invert_yaxis()
        left.set_xlabel("predicted share of edges without weights (dot: mean over the other knobs)")
        left.set_title(f"{len(points)} settings on the model, {points[0]['seeds']} seeds each")
        for point in tried:
            values = seen.get(point["label"], [])
            low = "low" in point["label"]
            # side by side, since shares are sixths: a column a setting, a place in it a seed
            beside = point["without_weights"] + 0.04 * (int(point["label"][-1]) - 1) + 0.012 * np.arange(len(values))
            label = f"predicted to collapse {'least' if low else 'most'}" if point["label"].endswith("0") else None
            colour, marker = ("#009E73", "o") if low else ("#CC79A7", "s")
            right.plot(beside, values, marker, color=colour, markersize=4, label=label)
        right.legend(loc="lower left", fontsize=8)
        right.plot([0, 1], [0, 1], color="#767676", linewidth=0.8, linestyle=":")
        pairs = [(p["without_weights"], np.mean(seen[p["label"]])) for p in tried if p["label"] in seen]
        if len(pairs) > 2:
            right.set_title(f"on true supernets: Spearman {spearmanr(*zip(*pairs, strict=True))[0]:.2f}")
        right.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        right.set_xlabel("predicted share (settings side by side)")
        right.set_ylabel("on a true supernet, one mark a seed")
        figure.tight_layout()
        print(save_figure(figure, Path(__file__).with_name(f"knobs_{name}.png")))


def main() -> None:
    """Choose or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("choose", "draw"))
    parser.add_argument("folder", type=Path, nargs="?", help="choose: the folder of the ablation")
    parser.add_argument("--name", required=True, choices=("balenas", "bpnas"))
    parser.add_argument("--traces", type=Path)
    args = parser.parse_args()
    if args.what == "choose":
        choose(args.folder, args.name)
    else:
        draw(args.name, args.traces or ROOT / "data" / "knobs" / args.name)


if __name__ == "__main__":
    main()

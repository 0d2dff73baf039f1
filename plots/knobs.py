"""Which settings of a method collapse: predicted on the model over a whole grid, tried on true supernets at its ends.

    nasbench-sim ablate plots/knobs_balenas.yaml --out runs/knobs-balenas
    python plots/knobs.py choose runs/knobs-balenas --name balenas
    gpu-validation record data/plans/knobs_balenas.yaml --threads 1 --out runs/knobs-balenas-supernet
    python plots/knobs.py again runs/knobs-balenas --name balenas  # later: a newer fit's map, the same plan
    python plots/knobs.py draw --name balenas --traces runs/knobs-balenas-supernet/traces  # default: data/knobs/balenas

`choose` writes data/knobs_NAME.json (every setting with what was predicted) and the plan: the three settings that are
predicted to collapse least and the three that collapse most, no two of one end alike in all but one knob. The
measure is the share of edges of the final cell without weights (skip connection, pooling, none).
`draw` holds every recording in data/knobs/NAME (or --traces) against what the map says of its setting, also those
that an earlier map picked; and the settings of the plan against what was predicted when they were picked.
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
EARLY = 3  # epochs: no later search of BPNAS was decided before epoch 30
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
    if not points:
        raise SystemExit(f"{folder} holds no finished cell of an ablation; run `nasbench-sim ablate` into it")
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


def write_map(name: str, knobs: list[str], points: list[dict[str, Any]], picked: list[dict[str, Any]]) -> None:
    """data/knobs_NAME.json: every setting as predicted now, those of the plan as predicted when they were picked."""
    lists = {what: ",\n ".join(json.dumps(point) for point in some) for what, some in
             (("points", points), ("picked", picked))}  # fmt: skip
    with atomic_path(ROOT / "data" / f"knobs_{name}.json") as part:
        body = ", ".join(f'"{what}": [\n {lines}\n]' for what, lines in lists.items())
        part.write_text(f'{{"knobs": {json.dumps(knobs)}, {body}}}\n')


def read_map(name: str) -> dict[str, Any]:
    """That file."""
    document: dict[str, Any] = json.loads((ROOT / "data" / f"knobs_{name}.json").read_text())
    return document


def again(folder: Path, name: str) -> None:
    """A new map of the same settings; the plan, and what was predicted of it, stay."""
    document, points = read_map(name), predicted(folder)
    settings = [point["params"] for point in points]
    if any(point["params"] not in settings for point in document["points"]):
        raise SystemExit(f"{folder} lacks settings of data/knobs_{name}.json: finish the ablation, or `choose` anew")
    write_map(name, document["knobs"], points, document["picked"])


def choose(folder: Path, name: str) -> None:
    """Write the map of all settings and the plan of those that are tried."""
    points = predicted(folder)
    knobs = sorted({k for p in points for k in p["params"] if len({repr(q["params"][k]) for q in points}) > 1})
    picked: list[dict[str, Any]] = []
    runs = []
    for number, point in enumerate(ends(points, knobs)):
        label = f"{name}-{'least' if number < ENDS else 'most'}{number % ENDS}"
        picked.append({"label": label, **point})
        params = {knob: value for knob, value in point["params"].items() if knob != ORDER}
        entry = {"method": name, "label": label, "params": params}
        if point["params"][ORDER] != "together":
            entry["net"] = {"order": point["params"][ORDER]}
        runs.append(entry)
    write_map(name, knobs, points, picked)
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
    for point in picked:
        print(point["label"], point["without_weights"], point["collapsed"], {k: point["params"][k] for k in knobs})


def tell(points: list[dict[str, Any]], knobs: list[str]) -> None:
    """Print what the map says of all settings and of the order of steps."""
    shares, lost = (np.array([p[what] for p in points]) for what in ("without_weights", "collapsed"))
    print(f"predicted: share {shares.min():.2f} to {shares.max():.2f}, mean {shares.mean():.2f}")
    print(f"predicted: {lost.min():.0%} to {lost.max():.0%} of searches collapse")
    for knob in knobs:
        means = {repr(v): np.mean([p["without_weights"] for p in points if p["params"][knob] == v])
                 for v in sorted({p["params"][knob] for p in points})}  # fmt: skip
        print(f"{knob}: " + ", ".join(f"{value} {mean:.3f}" for value, mean in means.items()))
    orders: dict[str, dict[str, float]] = {}
    for point in points:
        others = repr([(k, point["params"][k]) for k in knobs if k != ORDER])
        orders.setdefault(point["params"][ORDER], {})[others] = point["without_weights"]
    for order, found in orders.items():
        moved = [share - orders["together"][others] for others, share in found.items()]
        if order != "together":
            print(f"{order}: share {np.mean(moved):+.3f} against together, {len(moved)} pairs of settings")


def final(trace: Trace) -> float:
    """Share without weights of the last cell."""
    return float(without_weights(trace.archs[0, -1]))


def recorded(points: list[dict[str, Any]], knobs: list[str], folder: Path) -> list[tuple[dict[str, Any], list[float]]]:
    """Settings of the map that were recorded, with the share without weights of each final cell by seed."""
    seen: dict[str, list[float]] = {}
    ends_of: dict[bool, list[float]] = {True: [], False: []}  # by whether it was decided early
    for trace in (Trace.load(path) for path in sorted(folder.glob("*.h5"))):
        order = trace.about.get("setting", {}).get("order", "together")
        params = {**trace.about["params"], ORDER: order}
        key = repr([params.get(knob) for knob in knobs])
        share = final(trace)
        alone = (np.nanmax(trace.epoch["theta"][0], axis=2) > 0.999).all(axis=1)
        print(
            f"seed {trace.seeds[0]}: {share:.2f}",
            {knob: params.get(knob) for knob in knobs},
            f"one operation an edge from epoch {alone.argmax() + 1}" if alone.any() else "",
        )
        seen.setdefault(key, []).append(share)
        ends_of[bool(alone.any()) and int(alone.argmax()) < EARLY].append(share)
    for early, shares in ends_of.items():
        gone = sum(share > COLLAPSED for share in shares)
        when = f"within {EARLY} epochs" if early else "later or never"
        print(f"one operation an edge {when}: {gone} of {len(shares)} collapsed")
    found = {repr([p["params"][knob] for knob in knobs]): p for p in points}
    return [(found[key], shares) for key, shares in seen.items() if key in found]


def higher(these: list[float], those: list[float]) -> Any:
    """One-sided permutation test that the mean of `these` is the higher one; `statistic` is the difference."""
    return permutation_test(
        (these, those),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        alternative="greater",
        n_resamples=100_000,
        rng=np.random.default_rng(0),
    )


def compare(tried: list[tuple[dict[str, Any], list[float]]]) -> str:
    """Print how predictions and recordings agree; returns the line for the figure."""
    tried = sorted(tried, key=lambda one: one[0]["without_weights"])
    for point, shares in tried:
        gone = sum(share > COLLAPSED for share in shares)
        said = f"predicted {point['without_weights']:.2f}, {np.mean(shares):.2f} on supernets"
        print(f"{point.get('label', 'earlier map')}: {said}, {gone} of {len(shares)} collapsed")
    half = len(tried) // 2
    low, high = ([v for _, shares in side for v in shares] for side in (tried[:half], tried[half:]))
    if len(tried) < 4:
        return f"{len(tried)} settings"
    difference = higher(high, low)
    predicted_apart = np.mean([p["without_weights"] for p, _ in tried[half:]]) - np.mean(
        [p["without_weights"] for p, _ in tried[:half]]
    )
    rank = spearmanr([p["without_weights"] for p, _ in tried], [np.mean(shares) for _, shares in tried])
    print(f"upper half of the predictions - lower half: {difference.statistic:.2f} (predicted {predicted_apart:.2f}), "
          f"p = {difference.pvalue:.5f} (permutation test of {len(low) + len(high)} searches, one-sided)")  # fmt: skip
    print(f"Spearman over {len(tried)} settings {rank.statistic:.2f}, p = {rank.pvalue:.4f}")
    return f"{len(tried)} settings on true supernets:\nSpearman {rank.statistic:.2f}"


def as_picked(picked: list[dict[str, Any]], folder: Path) -> None:
    """Print how the settings of the plan came out, the end that was to collapse most against the other.

    Of their own recordings only: one of them may have been recorded before, when an earlier map picked it.
    """
    traces = {p["label"]: [Trace.load(f) for f in sorted(folder.glob(f"{p['label']}-seed*.h5"))] for p in picked}
    missing = [label for label, some in traces.items() if not some]
    if missing:
        print(f"as picked: not tested, {folder} has no recording of {', '.join(missing)}")
        return
    seen = {label: [final(trace) for trace in some] for label, some in traces.items()}
    seconds = sum(trace.about["seconds"] for some in traces.values() for trace in some)
    least, most = ([v for point in side for v in seen[point["label"]]] for side in (picked[:ENDS], picked[ENDS:]))
    said, lost = (
        [float(np.mean([point[what] for point in side])) for side in (picked[:ENDS], picked[ENDS:])]
        for what in ("without_weights", "collapsed")
    )
    test = higher(most, least)
    gone = [f"{sum(v > COLLAPSED for v in side)} of {len(side)}" for side in (least, most)]
    print(f"as picked: predicted {said[0]:.2f} and {said[1]:.2f}, on supernets {np.mean(least):.2f} and "
          f"{np.mean(most):.2f} (p = {test.pvalue:.5f}, one-sided); predicted to collapse {lost[0]:.0%} and "
          f"{lost[1]:.0%}, collapsed {gone[0]} and {gone[1]}; recorded in {seconds:.0f} s of one core")  # fmt: skip


def draw(name: str, folder: Path) -> None:
    """The map, and what true supernets did."""
    document = read_map(name)
    points, knobs, picked = document["points"], document["knobs"], document["picked"]
    for point in points:
        point |= next(({"label": one["label"]} for one in picked if one["params"] == point["params"]), {})
    tell(points, knobs)
    tried = recorded(points, knobs, folder)
    if not tried:
        raise SystemExit(f"{folder} holds no recording of a setting of the map; `gpu-validation record` makes them")
    title = compare(tried)
    as_picked(picked, folder)
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
        labels = set()
        for place, (point, values) in enumerate(sorted(tried, key=lambda one: one[0]["without_weights"])):
            end = point.get("label", "")
            kind = "least" if "least" in end else "most" if "most" in end else ""
            colour, marker = {"least": ("#009E73", "o"), "most": ("#CC79A7", "s"), "": ("#767676", "D")}[kind]
            label = f"predicted to collapse {kind}" if kind else "picked by an earlier map"
            # side by side, since shares are sixths: a column a setting, a place in it a seed
            beside = point["without_weights"] + 0.006 * np.arange(len(values))
            jitter = 0.006 * (place % 3 - 1)
            right.plot(
                beside,
                np.array(values) + jitter,
                marker,
                color=colour,
                markersize=4,
                alpha=0.8,
                label=None if label in labels else label,
            )
            labels.add(label)
        right.legend(loc="lower left", fontsize=8)
        right.plot([0, 1], [0, 1], color="#767676", linewidth=0.8, linestyle=":")
        right.set_title(title)
        right.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        right.set_xlabel("predicted share (marks of a setting side by side)")
        right.set_ylabel("on a true supernet, one mark a seed")
        figure.tight_layout()
        print(save_figure(figure, Path(__file__).with_name(f"knobs_{name}.png")))


def main() -> None:
    """Choose, map again or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("choose", "again", "draw"))
    parser.add_argument("folder", type=Path, nargs="?", help="choose, again: the folder of the ablation")
    parser.add_argument("--name", required=True, choices=("balenas", "bpnas"))
    parser.add_argument("--traces", type=Path)
    args = parser.parse_args()
    if args.what != "draw" and args.folder is None:
        parser.error(f"{args.what} needs the folder of the ablation")
    if args.what != "draw":
        (choose if args.what == "choose" else again)(args.folder, args.name)
    else:
        draw(args.name, args.traces or ROOT / "data" / "knobs" / args.name)


if __name__ == "__main__":
    main()

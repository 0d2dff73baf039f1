"""What the numbers of a comparison mean: the aims, met or missed, and what a user may conclude from a simulated run.

Every sentence is chosen by a number that stands in it; there is no sentence for good luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasbench_sim.reporting.fidelity.transfer import COLLAPSES

Doc = Mapping[str, Any]
RANKING_AIM, SKIP_AIM = 0.9, 0.1
NAMES = {"darts": "DARTS", "balenas": "BaLeNAS", "drnas": "DrNAS", "gdas": "GDAS"}
NEAR = 2.0  # points: recordings that cannot show a larger distance of distributions prove nothing
MAY, NOT, UNKNOWN = "may", "may not", "unknown"


def aims(document: Doc) -> list[dict[str, Any]]:
    """The aims that were set beforehand: `met` true, false, or None where it was not tested (`why` says why)."""
    out = []
    for scene in document["scenes"]:
        out.append(_ranking_aim(scene))
        side, words = _best_side(scene)
        value = scene["pooled"][side]["skip_rmse"]
        out.append(
            {
                "name": f"{scene['name']}: skip ratio over epochs, RMSE at most {SKIP_AIM} (over methods)",
                "value": value,
                "met": None if value is None else value <= SKIP_AIM,
                "why": f"{_errors(scene, side, 'skip_rmse', 3)}; {words}; {_count(scene, side, 'skip_rmse', SKIP_AIM)}",
            }
        )
    return out + [_collapse_aim(document["transfer"], method) for method in COLLAPSES]


def _best_side(scene: Doc) -> tuple[str, str]:
    """The held-out side where every method has one, else the simulator as it is; and what the parameters know."""
    if scene["pooled"]["held_out"]["methods"] == len(scene["methods"]):
        return "held_out", "parameters fitted without the method"
    known = sorted({row["method"] for row in scene["methods"]} & set(scene["parameters"]["fitted_on"]))
    fitted = f", and its own were fitted to recordings of {', '.join(known)}" if known else ""
    return "simulator", f"the parameter file holds none fitted without the method{fitted}"


def _ranking_aim(scene: Doc) -> dict[str, Any]:
    side, words = _best_side(scene)
    found = scene["ranking"].get(side)
    value = None if found is None else found["value"]
    met = None if value is None else value >= RANKING_AIM
    if found is None:
        why = f"a ranking needs at least 3 methods, this scene has {len(scene['methods'])}"
    else:
        why = f"{found['n']} methods, 95 % interval {_interval(found)}; {words}"
    if met and side != "held_out":
        met, why = None, f"{why}, so a good figure is no held-out one"
    name = f"{scene['name']}: ranking of methods, Kendall tau at least {RANKING_AIM}, held out by method"
    return {"name": name, "value": value, "met": met, "why": why}


def _errors(scene: Doc, side: str, what: str, digits: int) -> str:
    """`95 % interval [0.18, 0.26], a perfect simulator stays below 0.14`, of a root mean square over methods."""
    found = scene["pooled"][side]["errors"][what]
    if found["low"] is None:
        return "no interval"
    low, high, perfect = (f"{found[name]:.{digits}f}" for name in ("low", "high", "perfect"))
    return f"95 % interval [{low}, {high}], a perfect simulator stays below {perfect}"


def _count(scene: Doc, side: str, what: str, most: float) -> str:
    values = {
        row["label"]: row["against_supernet"][side][what]["value"]
        for row in scene["methods"]
        if row["against_supernet"].get(side)
    }
    if not values:
        return "no method was compared"
    worst = max(values, key=lambda label: values[label])
    kept = sum(value <= most for value in values.values())
    return f"{kept} of {len(values)} methods within it, worst {worst} ({values[worst]:.2f})"


def _collapse_aim(transfer: Doc, method: str) -> dict[str, Any]:
    expected = COLLAPSES[method]
    name = f"real table: {NAMES[method]} {'collapses' if expected else 'does not collapse'}"
    if "left_out" in transfer:
        return {"name": name, "value": None, "met": None, "why": str(transfer["left_out"])}
    rows = [row for row in transfer["collapse"] if row["method"] == method and row["share"] is not None]
    if not rows:
        return {"name": name, "value": None, "met": None, "why": "no search of it ended"}
    met = all((row["share"] > 0.5) == expected for row in rows)
    why = "; ".join(f"{r['setting']} on {r['dataset']}: {r['share']:.0%} of {r['n']} collapsed" for r in rows)
    worst = min if expected else max
    return {"name": name, "value": worst(row["share"] for row in rows), "met": met, "why": why}


def verdict(document: Doc) -> list[dict[str, str]]:
    """Sentences with `where`, and `kind` may, may not or unknown, in the order in which a user should read them."""
    out: list[tuple[str, str, str]] = []
    for scene in document["scenes"]:
        where = f"At the scale of {scene['name']}: {scene['what']}"
        out += [(where, *said) for said in _of_scene(scene)]
    out += [("On published searches", *said) for said in _of_transfer(document["transfer"])]
    return [{"where": where, "kind": kind, "text": f"{text[0].upper()}{text[1:]}"} for where, kind, text in out]


def _of_scene(scene: Doc) -> list[tuple[str, str]]:
    side, _ = _best_side(scene)
    seeds = sorted({len(row["supernet_seeds"]) for row in scene["methods"]})
    few = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    noun = "search" if seeds == [1] else "searches"
    out = [_say_ranking(scene, side), _say_accuracy(scene, side), _say_skips(scene, side), _say_cells(scene, side)]
    out += [_say_plain(scene, side), _say_collapse(scene, side)]
    if scene["warning"]:
        out.append((UNKNOWN, f"the accuracies of this supernet's own cells are not known: {scene['warning']}."))
    if seeds[0] < 10:
        out.append((UNKNOWN, f"all of this rests on {few} recorded {noun} a method; rare outcomes are not in them."))
    return out


def _say_ranking(scene: Doc, side: str) -> tuple[str, str]:
    found = scene["ranking"].get(side)
    if found is None or found["value"] is None:
        return UNKNOWN, "whether simulated runs order methods as supernets do is not tested (fewer than 3 methods)."
    figure = f"Kendall tau {found['value']:.2f} {_interval(found)} over {found['n']} methods"
    ideal = f"a perfect simulator reaches {found['perfect']:.2f} or more" if found["perfect"] is not None else ""
    if found["value"] >= RANKING_AIM and not found["low"] > 0:
        return UNKNOWN, f"recorded methods lie too near each other to test their order: {figure}."
    if found["value"] >= RANKING_AIM:
        return MAY, f"the order of methods by mean accuracy may be read off simulated runs: {figure}."
    return NOT, f"the order of methods may not be read off simulated runs: {figure}, aim {RANKING_AIM}; {ideal}."


def _rows(scene: Doc, side: str, what: str) -> list[tuple[str, Doc]]:
    rows = [(row["label"], row["against_supernet"].get(side, {}).get(what)) for row in scene["methods"]]
    return [(label, found) for label, found in rows if found and found["value"] is not None]


def _say_accuracy(scene: Doc, side: str) -> tuple[str, str]:
    rows = _rows(scene, side, "accuracy_distance")
    if not rows:
        return UNKNOWN, "final accuracies were not compared."
    within = [label for label, found in rows if found["value"] <= found["perfect"]]
    pooled = scene["pooled"][side]["accuracy_distance"]
    worst, most = max(rows, key=lambda row: row[1]["value"])
    figure = (
        f"the distributions are {pooled:.2f} points apart (root mean square of Wasserstein distances; "
        f"{_errors(scene, side, 'accuracy_distance', 2)}; worst {worst}, {most['value']:.2f}); "
        f"{len(within)} of {len(rows)} methods are as near as so few recordings can show"
    )
    blind = max(found["perfect"] for _, found in rows)
    if len(within) == len(rows) and blind > NEAR:
        return (
            UNKNOWN,
            f"no difference in final accuracy is shown, and none below {blind:.1f} points could be: {figure}.",
        )
    if len(within) == len(rows):
        return MAY, f"the accuracy of the final cell may be read off simulated runs: {figure}."
    which = f" (except {', '.join(within)})" if within else ""
    return NOT, f"the accuracy of the final cell may not be read off simulated runs{which}: {figure}."


def _say_skips(scene: Doc, side: str) -> tuple[str, str]:
    value = scene["pooled"][side]["skip_rmse"]
    if value is None:
        return UNKNOWN, "skip connections were not compared."
    errors = _errors(scene, side, "skip_rmse", 3)
    figure = f"RMSE {value:.3f}, aim {SKIP_AIM}; {errors}; {_count(scene, side, 'skip_rmse', SKIP_AIM)}"
    if value <= SKIP_AIM:
        return MAY, f"the share of skip connections by epoch may be read off simulated runs: {figure}."
    return NOT, f"the share of skip connections by epoch may not be read off simulated runs: {figure}."


def _say_cells(scene: Doc, side: str) -> tuple[str, str]:
    rows = [row["against_supernet"][side] for row in scene["methods"] if row["against_supernet"].get(side)]
    if not rows:
        return UNKNOWN, "cells were not compared."
    mean = sum(row["agreement"]["value"] for row in rows) / len(rows)
    chance = sum(row["chance"] for row in rows) / len(rows)
    own = [row["supernet_agreement"] for row in scene["methods"] if row["supernet_agreement"] is not None]
    limit = f"two supernets agree in {sum(own) / len(own):.0%}" if own else "how far two supernets agree is not known"
    above = sum(row["agreement"]["low"] > row["chance"] for row in rows)
    figure = (
        f"a simulated and a recorded search agree in {mean:.0%} of the operations, "
        f"the same operations on any edge would in {chance:.0%}, {limit}; "
        f"beyond that for {above} of {len(rows)} methods"
    )
    if above == len(rows):
        return MAY, f"which operation an edge ends with is predicted beyond how many of each there are: {figure}."
    return NOT, f"which operation an edge ends with may not be read off a simulated run: {figure}."


def _say_plain(scene: Doc, side: str) -> tuple[str, str]:
    """Whether the model of weight sharing beats the plain table."""
    wins = {}
    for what in ("accuracy_distance", "skip_rmse"):
        ours, plain = dict(_rows(scene, side, what)), dict(_rows(scene, "plain_table", what))
        both = [label for label in ours if label in plain]
        wins[what] = (sum(ours[label]["value"] < plain[label]["value"] for label in both), len(both))
    if not wins["skip_rmse"][1]:
        return UNKNOWN, "the plain table could not run these methods."
    nearer, of = wins["accuracy_distance"]
    figure = f"nearer in accuracy for {nearer} of {of} methods, in skip connections for {wins['skip_rmse'][0]} of {of}"
    pooled = {name: scene["pooled"][name] for name in (side, "plain_table")}
    figure += "".join(
        f"; {words} {pooled[side][what]:.2f} against {pooled['plain_table'][what]:.2f}"
        for what, words in (("accuracy_distance", "points"), ("skip_rmse", "skip RMSE"))
    )
    better = all(pooled[side][w] < pooled["plain_table"][w] for w in ("accuracy_distance", "skip_rmse"))
    worse = all(pooled[side][w] >= pooled["plain_table"][w] for w in ("accuracy_distance", "skip_rmse"))
    if better:
        return MAY, f"the modelled weight sharing is nearer to supernets than the plain table: {figure}."
    if worse:
        return NOT, f"the modelled weight sharing is no nearer to supernets than the plain table: {figure}."
    return (
        NOT,
        f"the modelled weight sharing is not nearer to supernets than the plain table in both respects: {figure}.",
    )


def _say_collapse(scene: Doc, side: str) -> tuple[str, str]:
    rows = [row for row in scene["methods"] if side in row["sides"] and row["sides"][side]["n"]]
    rows = [row for row in rows if row["sides"]["supernet"]["n"]]
    shares = [(row["label"], *(row["sides"][s]["collapse"]["share"] for s in (side, "supernet"))) for row in rows]
    wrong = [
        f"{label} ({ours:.0%}, supernets {theirs:.0%})"
        for label, ours, theirs in shares
        if (ours > 0.5) != (theirs > 0.5)
    ]
    if not shares:
        return UNKNOWN, "whether a method collapses was not compared."
    if not wrong:
        n = len(shares)
        return MAY, f"whether most searches of a method collapse is told right for {n} of {n} methods."
    return (
        NOT,
        f"whether a method collapses is told wrong for {len(wrong)} of {len(shares)} methods: {', '.join(wrong)}.",
    )


def _of_transfer(transfer: Doc) -> list[tuple[str, str]]:
    if "left_out" in transfer:
        return [(UNKNOWN, f"Whether any of this holds for published searches was not tested: {transfer['left_out']}.")]
    k, n = transfer["inside"], transfer["judged"]
    figure = f"{k} of {n} published numbers have ours within mean ± 2 sd ({transfer['protocol']})"
    kind = MAY if n and k == n else NOT
    words = "may" if kind == MAY else "may not"
    out = [(kind, f"Published accuracies on {transfer['table']} {words} be predicted by a simulated run: {figure}.")]
    found = [_collapse_aim(transfer, method) for method in COLLAPSES]
    wrong = [aim for aim in found if aim["met"] is False]
    if not wrong:
        return [*out, (MAY, "Which published methods collapse is told right for DARTS, BaLeNAS, DrNAS and GDAS.")]
    text = "; ".join(f"{aim['name'].removeprefix('real table: ')}: missed ({aim['why']})" for aim in wrong)
    return [*out, (NOT, f"Which published methods collapse is told wrong for {len(wrong)} of {len(found)}: {text}.")]


def _interval(found: Doc) -> str:
    if found["low"] is None:
        return "[no interval]"
    return f"[{found['low']:.2f}, {found['high']:.2f}]"


def counts(found: Sequence[Doc]) -> tuple[int, int, int]:
    """How many aims were met, missed and not tested.

    >>> counts([{"met": True}, {"met": None}, {"met": False}])
    (1, 1, 1)
    """
    met = [aim["met"] for aim in found]
    return met.count(True), met.count(False), met.count(None)

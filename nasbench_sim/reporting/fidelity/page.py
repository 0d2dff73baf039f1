"""One self-contained page and one JSON file of a comparison, both made from its document: the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.fidelity.figures import SIDES, figures_of
from nasbench_sim.reporting.fidelity.verdict import counts
from nasbench_sim.reporting.gallery import inline_svg
from nasbench_sim.reporting.html import fill
from nasbench_sim.reporting.series import clean

TEMPLATE = "fidelity.html.j2"
PAGE, JSON = "fidelity.html", "fidelity.json"
Doc = Mapping[str, Any]


def write_fidelity(document: Doc, folder: Path) -> tuple[Path, Path]:
    """Write `fidelity.html` and `fidelity.json` into `folder`, atomically; returns both paths.

    Raises `RunError` where the folder cannot be written.
    """
    text = render(document)
    for name, content in ((JSON, json.dumps(document, indent=1, allow_nan=False) + "\n"), (PAGE, text)):
        with atomic_path(folder / name) as part:
            part.write_text(content, encoding="utf-8")
    return folder / PAGE, folder / JSON


def render(document: Doc) -> str:
    """The page as text; every text of a file is escaped."""
    met, missed, untested = counts(document["aims"])
    return fill(
        TEMPLATE,
        document=document,
        met=met,
        missed=missed,
        untested=untested,
        verdict=_grouped(document["verdict"]),
        scenes=[_scene(scene, number) for number, scene in enumerate(document["scenes"], start=1)],
        files=_files(document),
        kinds={"may": "You may", "may not": "You may not", "unknown": "Not known"},
    )


def _files(document: Doc) -> list[dict[str, Any]]:
    """Every file of parameters that was used, and where."""
    used: dict[str, tuple[Doc, list[str]]] = {}
    scenes = [(scene["name"], scene["parameters"]) for scene in document["scenes"]]
    transfer = [] if "left_out" in document["transfer"] else [("the transfer test", document["parameters"])]
    for where, about in [*scenes, *transfer]:
        used.setdefault(about["sha256"], (about, []))[1].append(where)
    return [
        {**about, "where": where, "values": json.dumps(about["params"], sort_keys=True)}
        for about, where in used.values()
    ]


def _grouped(sentences: Sequence[Doc]) -> list[tuple[str, list[Doc]]]:
    """Sentences by where they hold, in their order."""
    out: dict[str, list[Doc]] = {}
    for sentence in sentences:
        out.setdefault(sentence["where"], []).append(sentence)
    return list(out.items())


def _scene(scene: Doc, number: int) -> dict[str, Any]:
    figures = []
    for kind in figures_of(scene):
        name = f"scene{number}-{kind.name}"
        # our own drawing, with every text turned into outlines: safe to stand in the page as it is
        svg = Markup(inline_svg(kind.draw(scene), name, clean(f"{scene['name']}: {kind.title}"), kind.caption))
        figures.append({"title": kind.title, "caption": kind.caption, "svg": svg})
    had = {side for row in scene["methods"] for side in row["against_supernet"]}
    others = [(side, name) for side, (name, _) in SIDES.items() if side in had]
    return {
        "number": number,
        "doc": scene,
        "figures": figures,
        "rows": [_row(row, side, words) for row in scene["methods"] for side, words in others if side in row["sides"]],
        "notes": list(dict.fromkeys(why for row in scene["methods"] for why in row["impossible"].values())),
        "published": [(row["label"], one) for row in scene["methods"] for one in row["published"]],
    }


def _row(row: Doc, side: str, words: str) -> dict[str, str]:
    """One line of a scene's table: what is said of a method and a side."""
    ours, theirs = row["sides"][side], row["sides"]["supernet"]
    found = row["against_supernet"][side]
    if not found:
        return {"method": row["label"], "side": words, "lost": "all searches failed"}
    tau = (row["one_shot"] or {"tau": {}})["tau"]
    return {
        "method": row["label"],
        "side": words,
        "lost": "",
        "n": f"{ours['n']} / {theirs['n']}",
        "accuracy": f"{_score(ours)} / {_score(theirs)}",
        "distance": _estimate(found["accuracy_distance"]),
        "skips": _estimate(found["skip_rmse"], 3),
        "theta": _estimate(found["theta_skip_rmse"], 3),
        "agreement": f"{_estimate(found['agreement'])}; mode {_number(found['agreement_of_mode'])}; "
        f"chance {_number(found['chance'])}; supernets {_number(row['supernet_agreement'])}",
        "collapse": f"{_collapse(ours)} / {_collapse(theirs)}",
        "tau": f"{_number(tau[side][-1])} / {_number(tau['supernet'][-1])}" if side in tau else "–",
    }


def _score(side: Doc) -> str:
    sd = side["accuracy"]["sd"]
    return f"{side['accuracy']['mean']:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def _estimate(found: Doc | None, digits: int = 2) -> str:
    """`1.20 [0.90, 1.50], perfect 1.10`."""
    if found is None or found["value"] is None:
        return "–"
    low, high = (_number(found[name], digits) for name in ("low", "high"))
    return f"{found['value']:.{digits}f} [{low}, {high}], perfect {_number(found['perfect'], digits)}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _collapse(side: Doc) -> str:
    """`never`, or `80 %, epoch 31`."""
    found = side["collapse"]
    return "never" if not found["share"] else f"{found['share']:.0%}, epoch {found['median_epoch']:g}"

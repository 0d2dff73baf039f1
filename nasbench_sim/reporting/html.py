"""One self-contained HTML page: what was run, theirs beside ours, the figures, and how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.compare import compare
from nasbench_sim.reporting.comparison import Comparison
from nasbench_sim.reporting.gallery import FIGURES, FigureKind, inline_svg
from nasbench_sim.reporting.series import clean, labels, panels, settings
from nasbench_sim.runs.record import Run

TEMPLATE = "report.html.j2"


class Drawing(NamedTuple):
    """A figure of a page: its kind (name, title and caption may be the page's own) and the runs drawn."""

    kind: FigureKind
    runs: Sequence[Run]


def write_report(
    runs: Sequence[Run],
    path: Path | str,
    comparison: Comparison | Mapping[str, Comparison] | None = None,
    *,
    title: str = "Search report",
    drawings: Sequence[Drawing] | None = None,
) -> Path:
    """Write one HTML page about `runs` to `path`, atomically, and return the path.

    The page holds its figures and styles itself: it needs no network, no script and no font, reads in light and dark,
    on paper and on a telephone. Every text of a run is escaped. `comparison`: one, or several by their headings;
    default `compare(runs)`. `drawings`: default every figure of the gallery with all runs.
    Equal runs give equal bytes. Raises `RunError` for no runs or an unwritable path.
    """
    sections = {"": comparison or compare(runs)} if not isinstance(comparison, Mapping) else comparison
    text = render(runs, sections, title, drawings or [Drawing(kind, runs) for kind in FIGURES])
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def render(runs: Sequence[Run], sections: Mapping[str, Comparison], title: str, drawings: Sequence[Drawing]) -> str:
    """The page as text."""
    names = labels(runs)
    return fill(
        TEMPLATE,
        title=clean(title),
        runs=[_run(run, name) for run, name in zip(runs, names, strict=True)],
        methods=_methods(runs),
        tables=_tables(runs),
        remarks=list(dict.fromkeys(r for run in runs if (r := clean(run.table.get("remark", ""))))),
        landscapes=list(dict.fromkeys(panel.landscape for panel in panels(runs))),
        sections=[(clean(heading), comparison) for heading, comparison in sections.items()],
        figures=[
            {
                "name": kind.name,
                "title": kind.title,
                "caption": kind.caption,
                # our own drawing, with every text turned into outlines: safe to stand in the page as it is
                "svg": Markup(inline_svg(kind.draw(drawn), kind.name, kind.title, kind.caption)),
            }
            for kind, drawn in drawings
        ],
    )


def fill(template: str, **values: Any) -> str:
    """A template of this folder as text; every value is escaped unless it is `Markup`. All pages share one style."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    folder = files("nasbench_sim.reporting")
    css = Markup(folder.joinpath("page.css").read_text(encoding="utf-8").rstrip())  # our own file
    return environment.from_string(folder.joinpath(template).read_text(encoding="utf-8")).render(css=css, **values)


def command_line(run: Run, width: int | None = None) -> str:
    """The command that makes a run again, quoted for a POSIX shell.

    One line, or lines of about `width` characters that end in a backslash. Parameters that are not words are JSON.
    """
    spec = run.spec
    trained = spec.landscape == "supernet"  # by the other package, whose table is the network itself
    if trained:
        parts = [["gpu-validation", "search", spec.method], ["--data", spec.dataset]]
    else:
        parts = [["nasbench-sim", "search", spec.method], ["--table", spec.table], ["--dataset", spec.dataset]]
        parts += [["--landscape", spec.landscape]]
    parts += [["--seeds", _seeds(spec.seeds)], ["--epochs", str(spec.epochs)]]
    parts += [["--steps-per-epoch", str(spec.steps_per_epoch)]]
    parts += [] if trained else [["--dtype", spec.dtype]]
    parts += [["--budget", repr(spec.budget)]] if spec.budget is not None else []
    settings = "--net" if trained else "--landscape-set"
    parts += [["--step-order", spec.step_order]] if spec.step_order != "together" else []
    named = (("--set", spec.params), (settings, spec.landscape_params), ("--penalty", spec.penalty))
    for option, values in named:
        for name, value in values.items():
            parts.append([option, f"{name}={value if isinstance(value, str) else json.dumps(value)}"])
    lines = [""]
    for part in parts:
        text = shlex.join(clean(word) for word in part)
        if width is not None and lines[-1] and len(lines[-1]) + len(text) > width:
            lines.append(f"    {text}")
        else:
            lines[-1] += f" {text}" if lines[-1] else text
    return " \\\n".join(lines)


def _seeds(seeds: Sequence[int]) -> str:
    """`200` for 0..199, `5:9` for 5..8, else the list."""
    first, n = seeds[0], len(seeds)
    if list(seeds) == list(range(first, first + n)):
        return str(n) if first == 0 else f"{first}:{first + n}"
    return ",".join(str(s) for s in seeds)


def _plain(value: object) -> str:
    return clean(value if isinstance(value, str) else json.dumps(value, default=str))


def _run(run: Run, name: str) -> dict[str, Any]:
    seeds = _seeds(run.spec.seeds)
    return {
        "name": name,
        "method": run.spec.method,
        "table": str(run.table["name"]),
        "dataset": run.spec.dataset,
        "landscape": run.spec.landscape,
        "n": len(run.seeds),
        "seeds": seeds if len(seeds) <= 60 else f"{seeds[:60]}…",
        "epochs": run.spec.epochs,
        "steps": run.spec.steps_per_epoch,
        "step_order": "" if run.spec.step_order == "together" else run.spec.step_order,
        "dtype": run.spec.dtype,
        "seconds": f"{run.seconds:.1f}" if run.seconds == run.seconds else "not recorded",
        "settings": {clean(k): _plain(v) for k, v in settings(run).items()},
        "landscape_settings": {clean(k): _plain(v) for k, v in run.spec.landscape_params.items()},
        "digest": run.spec.digest,
        "command": command_line(run, 84),
        "versions": {clean(k): clean(v) for k, v in run.versions.items()},
    }


def _methods(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One card a method: what the paper says, what this program does otherwise, and what the paper leaves open."""
    cards: dict[str, dict[str, Any]] = {}
    for run in runs:
        card: Mapping[str, Any] = run.method
        cards.setdefault(
            run.spec.method,
            {
                "name": run.spec.method,
                **{key: clean(card.get(key, "")) for key in ("title", "paper", "equation", "summary")},
                "deviations": [clean(text) for text in card.get("deviations") or ()],
                "unknowns": [clean(text) for text in card.get("unknowns") or ()],
            },
        )
    return list(cards.values())


def _tables(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Provenance of every table and data set: keys, file checksum, best cells, sources."""
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        table = run.table
        out.setdefault(
            (str(table["name"]), run.spec.dataset),
            {
                "name": str(table["name"]),
                "dataset": run.spec.dataset,
                "sha256": str(table.get("sha256", "")),
                "search_key": _key(table.get("search_key")),
                "report_keys": {role: _key(key) for role, key in table["report_keys"].items()},
                "best": dict(table.get("best", {})),
                "sources": [{k: clean(v) for k, v in dict(s).items()} for s in table.get("sources", ())],
            },
        )
    return list(out.values())


def _key(key: object) -> str:
    """A table key (dataset, split, epochs, seed) in words."""
    if isinstance(key, (list, tuple)) and len(key) == 4:
        dataset, split, epochs, seed = key
        return f"{dataset}, split {split}, {epochs} epochs, seed {seed}"
    return "not recorded" if key is None else clean(key)

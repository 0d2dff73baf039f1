"""`nasbench-sim ensemble-study`: ensembles of five kinds by size, and whether the published ordering holds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from nasbench_sim.cli.console import Json, Workers, console, print_json, seed_list, settings
from nasbench_sim.ensembles import Predictions, check_partner
from nasbench_sim.ensembles.selection import check_selectable
from nasbench_sim.errors import SpecError
from nasbench_sim.files import atomic_path
from nasbench_sim.runs import Run, search
from nasbench_sim.runs.ensemble_study import DEFAULT, StudySpec, find_members, make_study, needed_runs
from nasbench_sim.tables.catalogue import best_table_name, open_table

#: what is printed: metric, heading, decimals
SHOWN = (("accuracy", "Test accuracy (%)", 2), ("nll", "Test NLL (nats)", 4), ("ece", "Test ECE", 4))


def ensemble_study(
    file: Annotated[Path, typer.Argument(help="Predictions on the validation split (.h5).", show_default=False)],
    test: Annotated[Path, typer.Option(help="Predictions of the same models on the test split.", show_default=False)],
    sizes: Annotated[str, typer.Option(help="Members: a range (1:11 is 1..10, as 1..10) or a list (1,3,5).")] = "1..10",
    repetitions: Annotated[int, typer.Option(help="Pools of random, nes-rs and deep.")] = 1000,
    pool: Annotated[int, typer.Option(help="Trained cells a pool.")] = 400,
    methods: Annotated[str, typer.Option(help="Methods, with commas; nes-bs-svgd too.")] = ",".join(DEFAULT),
    table: Annotated[str, typer.Option(help="Table that the searches run on; default: nb201-mini.")] = "nb201-mini",
    dataset: Annotated[str, typer.Option(help="Data set of the table; default: that of the predictions.")] = "",
    searches: Annotated[int, typer.Option(help="Searches (seeds) of bpnas and of the posterior.")] = 200,
    posterior: Annotated[str, typer.Option(help="Method whose final distributions nes-bs samples.")] = "parsec",
    epochs: Annotated[int, typer.Option(help="Epochs of the searches.")] = 50,
    steps_per_epoch: Annotated[int, typer.Option(help="Steps an epoch of the searches.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of alpha in the searches.")] = 0.003,
    landscape_set: Annotated[
        list[str] | None,
        typer.Option(help="A parameter of the shared landscape, name=value (fit=breadth: all); repeatable."),
    ] = None,
    bpnas_run: Annotated[Path | None, typer.Option(help="A finished bpnas run to take instead of searching.")] = None,
    posterior_run: Annotated[Path | None, typer.Option(help="A finished run with final distributions.")] = None,
    show: Annotated[str, typer.Option(help="Sizes that are printed.")] = "1,3,5,10",
    out: Annotated[Path | None, typer.Option(help="Folder for study.json, the figure and the searches.")] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Build ensembles a thousand times over and compare accuracy, NLL and ECE by size, with intervals."""
    spec = make_study(
        sizes=_numbers(sizes, "--sizes"), repetitions=repetitions, pool=pool,
        methods=tuple(name for name in methods.split(",") if name),
    )  # fmt: skip
    shown = [k for k in _numbers(show, "--show") if k in spec.sizes] or list(spec.sizes)
    for target in _targets(out):
        if target.exists():
            raise SpecError(f"{target} exists; choose another folder for --out")
    valid = Predictions.load(file)
    check_selectable(valid, "nll")
    held_out = Predictions.load(test)
    check_partner(valid, held_out)
    given = {"bpnas": bpnas_run, "posterior": posterior_run}
    started = time.perf_counter()
    runs: dict[str, Run] = {}
    how = {
        "epochs": epochs, "steps_per_epoch": steps_per_epoch, "workers": workers,
        "landscape_params": settings(landscape_set or [], "--landscape-set"),
    }  # fmt: skip
    for name in needed_runs(spec.methods):
        path = given[name]
        runs[name] = Run.load(path) if path is not None else _search(
            name if name == "bpnas" else posterior, table, dataset or valid.dataset, searches,
            how, lr,
            max(spec.sizes) if name == "bpnas" else 0, None if out is None else out / name,
        )  # fmt: skip
    searched = time.perf_counter()
    document, scored = _study(spec, valid, held_out, runs)
    document["seconds"] = {"searches": searched - started, "ensembles": time.perf_counter() - searched}
    document["files"] = {"valid": str(file), "test": str(test)}
    if out is not None:
        from nasbench_sim.reporting import save_figure
        from nasbench_sim.reporting.ensembles_figure import plot_ensembles

        record, picture = _targets(out)
        title = f"{len(valid)} networks of {valid.space} on {valid.dataset}"
        save_figure(plot_ensembles(scored, title), picture)
        with atomic_path(record) as part:
            part.write_text(json.dumps(document, indent=1), encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        _say(document, shown)
        if out is not None:
            console().print(f"Record and figure: {', '.join(map(str, _targets(out)))}")


def _targets(out: Path | None) -> list[Path]:
    return [] if out is None else [out / "study.json", out / "ensembles.svg"]


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        listed = seed_list(text)
    except SpecError as error:
        raise SpecError(f"{option} {text!r}: give a range (1..10) or a list (1,3,5)") from error
    return (listed,) if isinstance(listed, int) else listed


def _search(
    method: str, table: str, dataset: str, seeds: int, how: dict[str, Any], lr: float, members: int, out: Path | None
) -> Run:
    """Simulated searches whose cells become members; kept in `out` where there is one."""
    opened = open_table(table or best_table_name())
    params: dict[str, Any] = {"lr": lr, **({"members": members} if members else {})}
    return search(method, table=opened, dataset=dataset, seeds=seeds, params=params, out=out, **how)


def _study(spec: StudySpec, valid: Predictions, test: Predictions, runs: dict[str, Run]) -> tuple[dict[str, Any], Any]:
    from nasbench_sim.reporting import ensembles

    scored = ensembles.score_members(find_members(spec, valid, runs), test)
    about = {
        name: {"method": run.spec.method, "params": dict(run.spec.params), "table": run.table["name"],
               "dataset": run.spec.dataset, "landscape": run.spec.landscape,
               "landscape_params": dict(run.spec.landscape_params), "epochs": run.spec.epochs,
               "steps_per_epoch": run.spec.steps_per_epoch, "searches": len(run.seeds)}
        for name, run in runs.items()
    }  # fmt: skip
    single = ensembles.single_networks(valid, test)
    document = {
        "format": "nasbench-sim ensemble study",
        "schema": 1,
        "spec": spec.model_dump(mode="json"),
        "space": valid.space,
        "dataset": valid.dataset,
        "models": len(valid),
        "images": {"valid": len(valid.labels), "test": len(test.labels)},
        "sha256": {"valid": valid.sha256, "test": test.sha256},
        "source": valid.source,
        "searches": about,
        "single_networks": single,
        "methods": ensembles.record_of(scored, spec.pool, single),
        "differences": ensembles.differences(scored),
        "ordering": ensembles.ordering(scored),
        "published": ensembles.published_ordering(),
    }
    return document, scored


def _say(document: dict[str, Any], shown: Sequence[int]) -> None:
    say = console()
    say.print(
        f"{document['models']} networks of {document['space']} on {document['dataset']}, "
        f"{document['images']['test']} test images; mean [95 % interval over repetitions and images; ECE: repetitions]"
    )
    for metric, heading, digits in SHOWN:
        grid = Grid(heading, "n", *(f"size {k}" for k in shown), box=None, header_style="bold")
        for name, found in document["methods"].items():
            at = {row["size"]: row[metric] for row in found["scores"]}
            grid.add_row(name, str(found["n"]), *(_cell(at.get(k), digits) for k in shown))
        say.print(grid)
    grid = Grid("Accuracy difference (points)", *(f"size {k}" for k in shown), box=None, header_style="bold")
    at = {(d["first"], d["second"], d["size"]): d["accuracy"] for d in document["differences"]}
    for first, second in dict.fromkeys(pair[:2] for pair in at):
        # the larger number first would be a choice made after seeing it: the order is that of the methods
        grid.add_row(f"{first} - {second}", *(_cell(at.get((first, second, k)), 2, sign="+") for k in shown))
    say.print(grid)
    for name, found in document["methods"].items():
        lost = "".join(f", {found[k]} {k}" for k in ("failed", "uncovered") if found[k])
        if lost or found["note"]:
            say.print(f"{name}: {found['n']} of {found['asked']}{lost}{'; ' if found['note'] else ''}{found['note']}")
    single = document["single_networks"]
    last = {name: found["scores"][-1] for name, found in document["methods"].items()}
    above = ", ".join(f"{name} {100 * row['above_single']:.0f} % (size {row['size']})" for name, row in last.items())
    say.print(
        f"Best single network, test accuracy: {single['chosen']:.2f} % by validation NLL, {single['hindsight']:.2f} % "
        f"in hindsight; ensembles above the latter: {above}"
    )
    cost = ", ".join(f"{name} {row['networks']} (size {row['size']})" for name, row in last.items())
    say.print(f"Networks trained for one ensemble, at most: {cost}")
    _say_ordering(document, shown)
    for name, run in document["searches"].items():
        say.print(
            f"Searches ({name}): {run['searches']} of {run['method']} on {run['table']}, landscape {run['landscape']}, "
            f"{run['epochs']} x {run['steps_per_epoch']} steps: simulated; scores are those of the files."
        )
    spent = document["seconds"]
    say.print(f"Searches {spent['searches']:.1f} s, ensembles {spent['ensembles']:.1f} s.")
    say.print(f"Source of the predictions: {document['source']}")


def _cell(of: dict[str, Any] | None, digits: int, sign: str = "") -> str:
    if of is None:
        return "-"
    mean = f"{of['mean']:{sign}.{digits}f}"
    return mean if of["low"] is None else f"{mean} [{of['low']:{sign}.{digits}f}, {of['high']:{sign}.{digits}f}]"


def _say_ordering(document: dict[str, Any], shown: Sequence[int]) -> None:
    say = console()
    for row in document["published"]:
        apart = ", ".join(f"{name} {value:+.2f}" for name, value in row["differences"].items())
        say.print(f"Published, {row['dataset']}: {apart} points (number of members not stated)")
    if not document["ordering"]:
        say.print("Ordering bpnas > nes-bs, nes-rs: not tested; it needs all three methods")
    for row in document["ordering"]:
        if row["size"] in shown:
            say.print(f"Ordering bpnas > nes-bs, nes-rs with {row['size']} members: {row['verdict']} here")

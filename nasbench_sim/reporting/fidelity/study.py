"""The whole comparison: from a folder of recordings to one document of plain data, the same for equal inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nasbench_sim.errors import RunError, SpecError, TableError, UserError
from nasbench_sim.reporting.fidelity.measures import (
    SIDES,
    Searches,
    method_rows,
    over_methods,
    recorded,
    scene_ranking,
    simulated,
)
from nasbench_sim.reporting.fidelity.parameters import Fitted, load_parameters, own_parameters
from nasbench_sim.reporting.fidelity.recordings import OWN_TABLE, Recording, Scene, load_scenes, table_of
from nasbench_sim.reporting.fidelity.simulate import Followed, Job, role_of, simulate
from nasbench_sim.reporting.fidelity.transfer import EPOCHS, GET, TABLE, transfer_jobs, transfer_report
from nasbench_sim.reporting.fidelity.verdict import aims, verdict
from nasbench_sim.reporting.published import published_rows
from nasbench_sim.reporting.series import clean
from nasbench_sim.runs.search import check_possible
from nasbench_sim.runs.spec import RunSpec, make_spec
from nasbench_sim.tables.table import Table

FORMAT, SCHEMA = "nasbench-sim-fidelity", 1
PLAIN_SEEDS = 32  # searches on the plain table end alike: their sd is tenths of a point
Tick = Callable[[int, int], None]
Place = tuple[Scene, Table, str, str, Fitted]  # a scene, its table and data set there, a warning, parameters


def fidelity(
    traces: Path,
    *,
    params: Path | None = None,
    table: str | None = None,
    seeds: int = 64,
    transfer: Table | None = None,
    why_not: str = GET,
    transfer_seeds: int = 16,
    transfer_steps: tuple[int, int] | None = None,
    full: bool = False,
    workers: int = 1,
    on_tick: Tick = lambda done, total: None,
) -> dict[str, Any]:
    """Simulate what was recorded, compare, and run the transfer test; one JSON document.

    `params`: parameters of the model everywhere; default the project's fit of each recording's own setting, and its
    general ones for the transfer test.
    `table`: where derived cells are looked up, default the table of each recording's own setting. `transfer`: the
    table of the transfer test, None: none is done, and the document says `why_not`; `transfer_steps`: (epochs, steps
    an epoch) other than published. Raises `RunError`, `SpecError`, `TableError`, one line each, for what is missing
    or damaged.
    """
    if seeds < 2 or transfer_seeds < 2:
        raise SpecError(f"a distribution needs at least 2 seeds, got {min(seeds, transfer_seeds)}")
    fitted = load_parameters(params)
    scenes, left_out = load_scenes(traces)
    opened: dict[str, Table] = {}
    places: list[Place] = []
    for scene in scenes:
        try:
            own = own_parameters(scene.dataset) if params is None else fitted
            places.append((scene, *table_of(scene, table, opened), own))
        except TableError as error:
            left_out.append(f"{scene.name}: {error}")
    if not places:
        raise TableError("; ".join(dict.fromkeys(note.partition(": ")[2] for note in left_out[-len(scenes) :])))
    jobs, impossible = _jobs(places, seeds)
    if transfer is not None:
        opened[transfer.name] = transfer
        epochs, steps = transfer_steps or (None, 391)
        jobs += transfer_jobs(
            transfer, fitted.params.model_dump(), seeds=transfer_seeds, full=full, epochs=epochs, steps_per_epoch=steps
        )
    tables = {**{table.name: table for table in opened.values()}, **opened}
    found = simulate(jobs, tables, workers=workers, on_tick=on_tick)
    document: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "parameters": fitted.about(),
        "seeds": seeds,
        "plain_seeds": min(seeds, PLAIN_SEEDS),
        "left_out": left_out,
        "scenes": [_scene(place, found, impossible) for place in places],
        "transfer": {"left_out": why_not},
    }
    if transfer is not None:
        runs = {(key[1], key[2]): one.run for key, one in found.items() if key[0] == "transfer"}
        order = [job.key for job in jobs if job.key[0] == "transfer"]
        runs = {(key[1], key[2]): runs[key[1], key[2]] for key in order}
        document["transfer"] = transfer_report(transfer, runs, full=full)
        document["transfer"]["protocol"] = "published" if full else f"{EPOCHS} epochs for every method"
        if transfer_steps is not None:
            document["transfer"]["protocol"] = "{} epochs of {} steps: not the published one".format(*transfer_steps)
    document["aims"] = aims(document)
    document["verdict"] = verdict(document)
    return document


def _jobs(places: list[Place], seeds: int) -> tuple[list[Job], dict[tuple[str, ...], str]]:
    """What to simulate, and why something cannot be (by key)."""
    jobs: list[Job] = []
    impossible: dict[tuple[str, ...], str] = {}
    for scene, table, dataset, _, fitted in places:
        for recording in scene.recordings:
            for side, landscape, params in _sides(recording, fitted):
                key = (scene.name, recording.label, side)
                try:
                    n = min(seeds, PLAIN_SEEDS) if side == "plain_table" else seeds
                    spec = _spec(recording, table, dataset, landscape, params, n)
                    check_possible(spec, table)
                except UserError as error:
                    if side == "simulator":
                        raise RunError(f"{recording.label} of {scene.name} cannot be simulated: {error}") from error
                    impossible[key] = str(error)
                    continue
                seen = side != "plain_table"
                looked = tuple(recording.looked.tolist()) if seen else ()
                cells = tuple(recording.cells.tolist()) if seen else ()
                jobs.append(Job(key, spec, table.name, looked, cells))
    return jobs, impossible


def _sides(recording: Recording, fitted: Fitted) -> list[tuple[str, str, dict[str, Any]]]:
    """(side, landscape, its parameters) of a recording's simulations."""
    sides: list[tuple[str, str, dict[str, Any]]] = [
        ("simulator", "shared", fitted.params.model_dump()),
        ("plain_table", "tabular", {}),
    ]
    unseen = fitted.without(recording.method)
    if unseen is not None and unseen != fitted.params:
        sides.append(("held_out", "shared", unseen.model_dump()))
    return sides


def _spec(
    recording: Recording, table: Table, dataset: str, landscape: str, params: Mapping[str, Any], seeds: int
) -> RunSpec:
    return make_spec(
        method=recording.method,
        params=dict(recording.params),
        table=table.name,
        dataset=dataset,
        landscape=landscape,
        landscape_params=dict(params),
        seeds=seeds,
        epochs=recording.epochs,
        steps_per_epoch=recording.steps_per_epoch,
        step_order=recording.order,
    )


def _scene(
    place: Place, found: Mapping[tuple[str, ...], Followed], impossible: Mapping[tuple[str, ...], str]
) -> dict[str, Any]:
    scene, table, dataset, warning, fitted = place
    methods, rows = [], []
    for recording in scene.recordings:
        sides: dict[str, Searches] = {"supernet": recorded(recording, table, dataset)}
        for side in SIDES:
            key = (scene.name, recording.label, side)
            if key in found:
                sides[side] = simulated(found[key], table, dataset)
        if fitted.without(recording.method) == fitted.params:  # never fitted to: what was simulated is held out
            sides["held_out"] = sides["simulator"]
        row = method_rows(recording, sides, scene.space, f"{scene.name} {recording.label}")
        row["impossible"] = {key[2]: why for key, why in impossible.items() if key[:2] == (scene.name, recording.label)}
        row["published"] = _published(recording, scene, dataset, table)
        rows.append(row)
        methods.append((recording.label, sides))
    return {
        "name": scene.name,
        "what": scene.words,
        "parameters": fitted.about(),
        "table": table.name,
        "table_sha256": table.sha256,
        "dataset": dataset,
        "role": role_of(table, dataset),
        "warning": warning,
        "remark": clean(table.remark),
        "methods": rows,
        "ranking": scene_ranking(methods, scene.name),
        "pooled": {
            side: over_methods(
                [(sides[side], sides["supernet"]) for _, sides in methods if side in sides],
                scene.space,
                f"{scene.name} {side} over methods",
            )
            for side in SIDES
        },
    }


def _published(recording: Recording, scene: Scene, dataset: str, table: Table) -> list[dict[str, Any]]:
    """Published test accuracies of the method, for orientation: of recordings on images of that data set."""
    if table.name != TABLE or OWN_TABLE.get(scene.dataset, (TABLE, ""))[0] != TABLE:
        return []
    rows = published_rows(recording.method, dataset, params=recording.params)
    out = []
    for row in rows:
        score = row.scores.get("test")
        if score is not None:
            out.append({"label": row.label, "mean": score.mean, "sd": score.sd, "source": row.cited})
    return out

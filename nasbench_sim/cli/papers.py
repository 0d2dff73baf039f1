"""`nasbench-sim reproduce --paper NAME`: the tables and figures of a paper, ours beside theirs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from nasbench_sim.cli.console import console, print_json
from nasbench_sim.cli.searching import search_into
from nasbench_sim.errors import SpecError, UserError, unknown
from nasbench_sim.files import atomic_path
from nasbench_sim.reporting.papers import Paper, folder_name, load_paper, unique, wanted
from nasbench_sim.runs import Run, RunSpec
from nasbench_sim.runs.plan import in_good_order
from nasbench_sim.runs.search import check_possible
from nasbench_sim.tables.table import Table

Place = tuple[str, str, str]  # table of the paper, label of the row, data set


def reproduce_paper(
    name: str,
    table: Table,
    folder: Path,
    *,
    seeds: int | Sequence[int],
    dataset: str | None,
    resume: bool,
    overwrite: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Run what the paper's rows need, print its tables, write tables, figures and one page into `folder`."""
    began = time.perf_counter()
    paper = load_paper(name)
    datasets = _datasets(paper, table, dataset)
    places = wanted(paper, table, seeds=seeds, datasets=datasets)
    specs, impossible = _possible(places, table)
    say = console()
    if not as_json:
        say.print(f"{paper.title}: {len(specs)} searches on {table.name}; into {folder}")
        for line in dict.fromkeys([*([table.remark] if table.remark else []), *impossible.values()]):
            say.print(f"Note: {line}")
    folders = [folder / folder_name(spec) for spec in specs]
    done = search_into(specs, table, folders, resume=resume, overwrite=overwrite, workers=workers, quiet=as_json)
    runs = {run.spec.model_dump_json(): run for run in done}
    found = {place: runs[key] for place, spec in places.items() if (key := spec.model_dump_json()) in runs}
    lacking = {
        place: impossible[key] for place, spec in places.items() if (key := spec.model_dump_json()) in impossible
    }
    _look(paper, table, folder, found, lacking, datasets, as_json, began)


def _datasets(paper: Paper, table: Table, dataset: str | None) -> list[str]:
    if not {"valid", "test"} <= set(table.report_keys):
        raise SpecError(
            f"papers report validation and test accuracy, and table {table.name} has {', '.join(table.report_keys)}; "
            "get nb201 with `nasbench-sim tables fetch nb201`"
        )
    every = list(dict.fromkeys(d for one in paper.tables for d in one.datasets))
    here = [d for d in every if d in table.datasets()]
    if dataset is not None and dataset not in here:
        raise SpecError(f"paper {paper.name} on table {table.name}: {unknown('data set', dataset, here)}")
    return here if dataset is None else [dataset]


def _possible(places: dict[Place, RunSpec], table: Table) -> tuple[list[RunSpec], dict[str, str]]:
    """The searches this table can give, and why it cannot give the others; found out before anything runs."""
    possible, impossible = [], {}
    for spec in unique(places):
        try:
            check_possible(spec, table)
        except UserError as error:
            impossible[spec.model_dump_json()] = str(error)
        else:
            possible.append(spec)
    if not possible:
        raise SpecError(f"table {table.name} can give none of the paper's rows: {next(iter(impossible.values()))}")
    return in_good_order(possible), impossible


def _look(
    paper: Paper,
    table: Table,
    folder: Path,
    runs: dict[Place, Run],
    lacking: dict[Place, str],
    datasets: list[str],
    as_json: bool,
    began: float,
) -> None:
    from nasbench_sim.reporting.gallery import figure_kind, save_figure  # matplotlib: the workers do not need it
    from nasbench_sim.reporting.html import Drawing, write_report
    from nasbench_sim.reporting.paper_tables import paper_tables

    tables = paper_tables(paper, runs, table, datasets=datasets, lacking=lacking)
    drawings = []
    for figure in paper.figures:
        members = [(figure.table, label, figure.dataset) for label in figure.rows]
        drawn = [runs[place] for place in members if place in runs]
        if drawn:
            kind = figure_kind(figure.kind)._replace(name=figure.name, title=figure.title)
            drawings.append(Drawing(kind, drawn))
            save_figure(kind.draw(drawn), folder / f"{figure.name}.svg")
    with atomic_path(folder / "tables.md") as part:
        part.write_text("\n".join(f"## {one.title}\n\n{comparison.to_markdown()}" for one, comparison in tables))
    for one, comparison in tables:
        comparison.to_csv(folder / f"{one.name}.csv")
    distinct = list({id(run): run for run in runs.values()}.values())
    sections = {one.title: comparison for one, comparison in tables}
    page = write_report(distinct, folder / "report.html", sections, title=paper.title, drawings=drawings)
    seconds = time.perf_counter() - began
    if as_json:
        print_json(
            {
                "paper": paper.name,
                "citation": paper.citation,
                "note": paper.note,
                "table": table.name,
                "remark": table.remark,
                "tables": [
                    {"name": one.name, "title": one.title, "rows": comparison.records()} for one, comparison in tables
                ],
                "folder": str(folder),
                "page": str(page),
                "seconds": round(seconds, 2),
            }
        )
        return
    say = console()
    for one, comparison in tables:
        say.print(f"\n{one.title}", style="bold")
        say.print(comparison)
        judged = [row.inside for row in comparison.rows if row.inside is not None]
        say.print(f"{sum(judged)} of {len(judged)} judged numbers inside")
    say.print(f"\n{paper.note}")
    say.print(f"Page: {page.resolve()}  ({seconds:.0f} s in all)")

"""`nasbench-sim tables`: list, fetch, import, look at, verify and export tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table as Grid

from nasbench_sim.cli import module_tables
from nasbench_sim.cli.console import Json, console, print_json
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.files import atomic_path
from nasbench_sim.tables import catalogue, modules, nb1shot1, nb201
from nasbench_sim.tables.columns import PROXY, FloatArray
from nasbench_sim.tables.curves import curves_path, open_curves
from nasbench_sim.tables.fetch import fetch_originals
from nasbench_sim.tables.join import join_file
from nasbench_sim.tables.nats import import_official
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Table
from nasbench_sim.tables.tabular_file import Mapped, parse_map, parse_metric, read_tabular

app = typer.Typer(no_args_is_help=True, help="Tables: what was measured. List, fetch, import, inspect, verify, export.")

_Name = Annotated[str, typer.Argument(help="A table's name, or the path of an .h5 file.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
_ROWS = 1 << 14  # rows of a CSV that are text at one time: nb1shot1-3 has 1.3 million
_NB101 = (modules.NAME, *nb1shot1.NAMES)  # fetched and imported together


@app.command("list", epilog="Example: nasbench-sim tables list --json")
def list_(as_json: Json = False) -> None:
    """Show the tables that are here, and how to get the ones that are not."""
    listed = [*catalogue.list_tables(), *module_tables.listed()]
    best = catalogue.best_table_name()
    if as_json:
        print_json({"default": best, "tables": [_listed(t) for t in listed]})
        return
    grid = Grid("table", "where", "size", box=None, header_style="bold")
    for t in listed:
        where = str(t.path) if t.path else "embedded, needs no download"
        grid.add_row(f"{t.name} (default)" if t.name == best else t.name, where, f"{t.size:,} B" if t.path else "")
    console().print(grid)
    if best != nb201.NAME:
        typer.echo("nb201, the full benchmark, is not here: nasbench-sim tables fetch nb201 (11 MB)")


@app.command(epilog="Example: nasbench-sim tables fetch nb201")
def fetch(
    name: Annotated[str, typer.Argument(help="nb201 (11 MB), or nb101 with the nb1shot1 tables (523 MB).")],
    host: Annotated[str | None, typer.Option(help="A mirror with the paths of the public host, instead of it.")] = None,
    full: Annotated[bool, typer.Option("--full", help="nb101 with 4, 12 and 36 epochs too (2.1 GB).")] = False,
    force: _Force = False,
    as_json: Json = False,
) -> None:
    """Download the public originals (pinned by sha256, resumable), build the table and keep it.

    12-epoch numbers, zero-cost proxies and hardware costs have no pinned public original and cannot be fetched;
    `tables import nb201 --from DIR` adds them where DIR holds nb201_12ep.csv.gz, nb201_zero_cost_proxies.csv.gz and
    nb201_hw_metrics.csv.gz.
    """
    if name in _NB101:
        with _progress() as report:
            module_tables.fetch(host, full=full, force=force, as_json=as_json, progress=report)
        return
    if name != nb201.NAME:
        raise SpecError(
            f"cannot fetch {name!r}: only {nb201.NAME} and {modules.NAME} have public originals; use `tables import` "
            "for others"
        )
    if full:
        raise SpecError(f"--full is for {modules.NAME}; {nb201.NAME} has one public form")
    path = catalogue.table_path(name)
    if path.is_file() and not force:
        _done(catalogue.open_table(name), path, as_json, "is here already; --force downloads and builds it again")
        return
    with _progress() as report:
        folder = fetch_originals(host=host, progress=report)
    path = catalogue.install_nb201(folder, force=force)
    _done(catalogue.open_table(name), path, as_json, "fetched and checked")


@app.command(
    "import",
    epilog="Example: nasbench-sim tables import nb201 --from DIR, or nasbench-sim tables import mine --csv results.csv "
    "--unit percent --map val=cifar10/valid/200/mean --map test=cifar10/test/200/mean --search val",
)
def import_(
    name: Annotated[str, typer.Argument(help="nb201, or the name the table shall have.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Official files: nb201's originals; NATS-Bench folder or .tar; NAS-Bench-201 .pth; nb101's .tfrecord.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--csv", "--parquet", help="A .csv, .csv.gz or .parquet file, one row an architecture."),
    ] = None,
    h5: Annotated[Path | None, typer.Option("--h5", help="A table file written by `tables export`.")] = None,
    maps: Annotated[
        list[str] | None, typer.Option("--map", help="COLUMN=DATASET/SPLIT/EPOCHS/SEED; repeat it for each column.")
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="COLUMN=METRIC/DATASET, e.g. sf=proxy/synflow/cifar10.")
    ] = None,
    arch_column: Annotated[str, typer.Option(help="The column of architecture strings.")] = "arch",
    space: Annotated[str, typer.Option(help="The search space of the architectures.")] = "nb201",
    unit: Annotated[str | None, typer.Option(help="Unit of the accuracies: percent or fraction.")] = None,
    search: Annotated[str | None, typer.Option(help="The column that a search may see.")] = None,
    join: Annotated[str | None, typer.Option(help="Add the columns of --csv or --parquet to those of a table.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave absent architectures and empty cells unmeasured.")
    ] = False,
    force: _Force = False,
    as_json: Json = False,
) -> None:
    """Make a table from files of yours: official ones (--from), CSV, Parquet, or an exported .h5.

    NATS-Bench folders and archives and NAS-Bench-201 .pth files also give learning curves, kept beside the table.
    """
    if sum(x is not None for x in (source, file, h5)) != 1:
        raise SpecError("say what to import: one of --from DIR or FILE, --csv FILE, --parquet FILE or --h5 FILE")
    if file is None:
        given = {"--join": join is not None, "--map": maps, "--metric": metrics, "--unit": unit, "--search": search}
        given |= {"--arch-column": arch_column != "arch", "--space": space != "nb201"}  # other than their defaults
        for option in (name for name, value in given.items() if value):
            raise SpecError(f"{option} is about the columns of a --csv or --parquet file; leave it out")
    if allow_missing and (h5 is not None or (source is not None and name in (nb201.NAME, *_NB101))):
        raise SpecError("--allow-missing is for --csv, --parquet and NATS-Bench files; nothing is missing here")
    if source is not None and name in _NB101:
        with _progress() as report:
            module_tables.import_(source, force=force, as_json=as_json, progress=report)
        return
    if source is not None and name == nb201.NAME:
        path = catalogue.install_nb201(source, force=force)
    elif source is not None:
        with _progress() as report:
            path = import_official(
                source, name, force=force, allow_missing=allow_missing, workers=os.cpu_count() or 1, progress=report
            )
    elif h5 is not None:
        path = catalogue.install(replace(read_table(h5), name=name), force=force)
    else:
        assert file is not None
        mapped = Mapped(
            accuracy=_unique(parse_map(m) for m in maps or []),
            metrics=_unique(parse_metric(m) for m in metrics or []),
            unit=_unit(unit) if maps or unit is not None or join is None else "percent",  # metrics have none to state
            arch_column=arch_column,
            search=search,
            allow_missing=allow_missing,
        )
        catalogue.check_name(name)  # a bad name should not cost a long read
        if join is None:
            table = read_tabular(file, mapped, name=name, space=space)
        else:
            table = catalogue.open_table(join)
            if space not in ("nb201", table.space.name):
                raise SpecError(f"--space {space} does not go with --join: table {join} is of {table.space.name}")
            table = join_file(table, name, file, mapped)
        path = catalogue.install(table, force=force)
    _done(catalogue.open_table(name), path, as_json, "imported and checked")


@app.command(epilog="Example: nasbench-sim tables info nb201-analog")
def info(name: _Name, as_json: Json = False) -> None:
    """Show what a table holds: keys, coverage, optima, provenance, licences, citations, sha256."""
    if name == modules.NAME:
        module_tables.info(as_json)
        return
    table = catalogue.open_table(name)
    facts = _facts(table)
    if as_json:
        print_json(facts)
        return
    out = console()
    out.print(f"{table.name}: {table.space.name}, {table.space.size:,} architectures", style="bold")
    typer.echo(f"sha256 {table.sha256}")
    grid = Grid("data set", "split", "epochs", "seed", "measured", "best %", "index", box=None, header_style="bold")
    for row in facts["accuracy"]:
        best = ("-", "-") if row["best"] is None else (f"{row['best']:.2f}", str(row["best_index"]))
        grid.add_row(row["dataset"], row["split"], str(row["epochs"]), str(row["seed"]), f"{row['measured']:,}", *best)
    out.print(grid)
    for line in _metric_lines(table):
        typer.echo(line)
    if _has_curves(table, name):
        typer.echo(f"learning curves: {curves_path(name)}")
    typer.echo(f"a search sees {table.search_key}; reported: " + ", ".join(map(str, table.report_keys.values())))
    for line in (*([table.remark] if table.remark else []), *facts["notes"], *facts["absent"].values()):
        typer.echo(f"note: {line}")
    for s in table.sources:
        typer.echo(f"source: {s.name}{f' @ {s.version[:12]}' if s.version else ''}")
        for label, text in (("gives", s.gives), ("licence", s.licence), ("cite", s.citation), ("sha256", s.sha256)):
            if text:
                typer.echo(f"  {label}: {text}")


@app.command(epilog="Example: nasbench-sim tables verify nb201")
def verify(
    name: Annotated[str | None, typer.Argument(help="A table's name or .h5 file; all tables if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Read a table in full and check every byte, number and checksum. A damaged one is exit code 2."""
    names = [name] if name else [t.name for t in (*catalogue.list_tables(), *module_tables.listed())]
    checked = []
    for one in names:
        if one == modules.NAME:
            checked.append(module_tables.verify())
            if not as_json:
                typer.echo(f"{one}: ok, {checked[-1]['modules']:,} modules, sha256 {checked[-1]['sha256']}")
            continue
        table = catalogue.open_table(one)
        arrays = open_curves(table).verify() if _has_curves(table, one) else 0
        checked.append({"name": table.name, "sha256": table.sha256, "ok": True, "curve_arrays": arrays})
        if not as_json:
            curves = f", {arrays} arrays of learning curves" if arrays else ""
            typer.echo(f"{table.name}: ok, {len(table.accuracy)} accuracy columns{curves}, sha256 {table.sha256}")
    if as_json:
        print_json(checked)


@app.command(epilog="Example: nasbench-sim tables export nb201-analog table.csv")
def export(
    name: _Name,
    file: Annotated[
        Path, typer.Argument(help="Where to write: .csv for spreadsheets, .h5 to share the table as it is.")
    ],
    force: _Force = False,
    as_json: Json = False,
) -> None:
    """Write a table as CSV (empty cell = never measured) or as a table file that `tables import --h5` reads."""
    if name == modules.NAME:
        module_tables.export(file, force=force, as_json=as_json)
        return
    if file.suffix not in (".csv", ".h5"):
        raise SpecError(f"cannot tell what to write from {file.name!r}; end the file name in .csv or .h5")
    if file.exists() and not force:
        raise RunError(f"{file} exists; choose another file, or use --force")
    table = catalogue.open_table(name)
    if file.suffix == ".h5":
        write_table(table, file)
    else:
        _write_csv(table, file)
    _done(table, file, as_json, "written")


@app.command(epilog="Example: nasbench-sim tables complete nb1shot1-1")
def complete(
    name: Annotated[str, typer.Argument(help="A partial table: one that lacks architectures.")],
    how: Annotated[str, typer.Option(help="How holes are filled: regressor.")] = "regressor",
    force: _Force = False,
    as_json: Json = False,
) -> None:
    """Make NAME+regressor: a separate, flagged table in which a regression stands in for what was not measured."""
    module_tables.complete(name, how, force=force, as_json=as_json)


def _has_curves(table: Table, name: str) -> bool:
    """Whether learning curves stand beside a table; one that is given as a file, or was copied, stands alone."""
    return "curves" in table.extra and name == table.name and curves_path(name).is_file()


def _write_csv(table: Table, path: Path) -> None:
    keys = table.keys()
    names = ["/".join(map(str, key)) for key in keys] + ["/".join(key) for key in table.metrics]
    columns = [table.accuracy[key] for key in keys] + list(table.metrics.values())
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "arch", *names])
        for start in range(0, table.space.size, _ROWS):
            index = np.arange(start, min(start + _ROWS, table.space.size))
            archs = [table.space.format(arch) for arch in table.space.at(index)]
            # the shortest decimals that are the stored float32, and nothing where nothing was measured
            text = [np.where(np.isnan(c[index]), "", c[index].astype(str)).tolist() for c in columns]
            writer.writerows(zip(index.tolist(), archs, *text, strict=True))


def _metric_lines(table: Table) -> Iterator[str]:
    """Costs by the data sets they exist for, then one line of proxies a data set."""
    costs: dict[str, list[str]] = {}
    for metric, dataset in table.metrics:
        if not metric.startswith(PROXY):
            costs.setdefault(metric, []).append(dataset)
    alike: dict[str, list[str]] = {}
    for metric, where in costs.items():
        alike.setdefault(", ".join(where), []).append(metric)
    yield from (f"costs: {', '.join(metrics)} of {datasets}" for datasets, metrics in alike.items())
    if not alike:
        yield "costs: none"
    for dataset in dict.fromkeys(d for _, d in table.metrics):
        coverage: dict[int, list[str]] = {}
        shipped = [name for name in table.proxies(dataset) if (PROXY + name, dataset) not in table.metrics]
        for name in sorted(set(table.proxies(dataset)) - set(shipped)):
            coverage.setdefault(_measured(table.proxy(name, dataset=dataset)), []).append(name)
        if coverage:
            groups = (f"{', '.join(names)} ({n:,} computed)" for n, names in sorted(coverage.items(), reverse=True))
            yield f"proxies of {dataset}: {'; '.join(groups)}"
        if shipped:
            yield f"proxies of {dataset} that come with nasbench-sim, for every cell: {', '.join(shipped)}"


def _measured(column: FloatArray) -> int:
    return int((~np.isnan(column)).sum())


def _facts(table: Table) -> dict[str, Any]:
    accuracy = []
    keys = table.keys()
    for key in keys:
        column = table.accuracy[key]
        measured = int(table.measured(**key._asdict()).sum())
        best = int(np.nanargmax(column)) if measured else None
        value = None if best is None else float(str(column[best]))
        accuracy.append({**key._asdict(), "measured": measured, "best": value, "best_index": best})
    return {
        "name": table.name,
        "space": table.space.name,
        "size": table.space.size,
        "sha256": table.sha256,
        "remark": table.remark,
        "search_key": table.search_key._asdict(),
        "report_keys": {role: key._asdict() for role, key in table.report_keys.items()},
        "accuracy": accuracy,
        "metrics": [{"metric": m, "dataset": d, "measured": _measured(c)} for (m, d), c in table.metrics.items()],
        "sources": [asdict(s) for s in table.sources],
        "notes": list(table.extra.get("notes", [])),
        "absent": dict(table.extra.get("absent", {})),
    }


def _unique(pairs: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for column, key in pairs:
        if column in out:
            raise SpecError(f"column {column!r} is mapped twice; map each column once")
        out[column] = key
    return out


def _unit(unit: str | None) -> Literal["percent", "fraction"]:
    if unit == "percent":
        return "percent"
    if unit == "fraction":
        return "fraction"
    said = "missing" if unit is None else f"{unit!r}"
    raise SpecError(f"--unit is {said}; say percent (94.4) or fraction (0.944), it is not guessed")


def _listed(t: catalogue.Listed) -> dict[str, Any]:
    return {"name": t.name, "path": str(t.path) if t.path else None, "bytes": t.size}


def _done(table: Table, path: Path, as_json: bool, what: str) -> None:
    if as_json:
        print_json({"name": table.name, "path": str(path), "sha256": table.sha256})
    else:
        typer.echo(f"{table.name}: {what} ({path}), sha256 {table.sha256[:16]}")


@contextmanager
def _progress() -> Iterator[Any]:
    """A progress bar on a terminal, and nothing in a pipe."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err) as bar:
        tasks: dict[str, Any] = {}

        def report(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total)
            bar.update(tasks[file], completed=done)

        yield report

"""What the commands share: options of the same name, the console, a progress bar on a terminal only, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nasbench_sim.errors import SpecError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Runs = Annotated[list[Path], typer.Argument(help="Folders of finished runs.", show_default=False)]
TableName = Annotated[
    str, typer.Option(help="A table's name or .h5 file; default: nb201 if imported, else nb201-analog.")
]
Seeds = Annotated[str, typer.Option(help="A number (200), a range (0:200) or a list (1,2,5).")]
Workers = Annotated[int | None, typer.Option(help="Processes; default: the cores.")]


def console(*, stderr: bool = False) -> Console:
    """As wide as the terminal; in a pipe as wide as the text, so that nothing is cut."""
    out = Console(markup=False, highlight=False, stderr=stderr)
    return out if out.is_terminal else Console(markup=False, highlight=False, stderr=stderr, width=200)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2))


def settings(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """`name=value` pairs; a value is JSON where it parses as such (3, 0.1, [0.9, 0.999], null), else the text.

    >>> settings(["samples=3", "theta=sample"], "--set")
    {'samples': 3, 'theta': 'sample'}
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SpecError(f"{option} {pair!r}: write {option} name=value")
        if name in out:
            raise SpecError(f"{option} {name} is given twice")
        try:
            out[name] = json.loads(value)
        except (ValueError, RecursionError):  # RecursionError: ten thousand brackets
            out[name] = value
    return out


def seed_list(text: str) -> int | tuple[int, ...]:
    """Seeds: a number (`200`), a range (`5:9` or `5..8`) or a list (`1,2,5`); raises `SpecError` otherwise.

    >>> seed_list("3"), seed_list("5:8"), seed_list("0..2"), seed_list("1,4")
    (3, (5, 6, 7), (0, 1, 2), (1, 4))
    """
    try:
        if ":" in text or ".." in text:
            start, stop = (int(part) for part in text.split(":" if ":" in text else ".."))
            stop += ".." in text and ":" not in text  # both ends belong to it
            if stop - start > 1_000_000:
                raise SpecError(f"--seeds {text}: at most 1000000 seeds a run")
            return tuple(range(start, stop))
        if "," in text:
            return tuple(int(part) for part in text.split(","))
        return int(text)
    except ValueError as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"--seeds {text!r}: give a number (200), a range (0:200) or a list (1,2,5)") from error


def check_folder_options(out: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Raise `SpecError` for --resume or --overwrite without --out, or both of them.

    >>> check_folder_options(Path("runs/a"), resume=True, overwrite=False)
    """
    if out is None and (resume or overwrite):
        option, what = ("--resume", "continue") if resume else ("--overwrite", "replace")
        raise SpecError(f"{option} needs --out, the folder to {what}")
    if resume and overwrite:
        raise SpecError("--resume continues a run and --overwrite replaces it; give one of them")


@contextmanager
def progress_bar(show: bool = True, *, unit: str = "epochs") -> Iterator[tuple[Any, Any]]:
    """A progress bar over epochs (or `unit`) on a terminal, nothing in a pipe.

    Yields `tick`, a function of [(done, total)], and `say`, which prints a line of output above the bar: where both go
    to one terminal only the bar's own console can do that. The bar is on standard error when the output is in a pipe.
    """
    out = console()
    where = out if out.is_terminal else console(stderr=True)
    if not (show and where.is_terminal):
        yield (lambda ticks: None), out.print
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=where, transient=True) as bar:
        task = bar.add_task("searching", total=None)

        def tick(ticks: Sequence[tuple[int, int]]) -> None:
            bar.update(task, completed=sum(d for d, _ in ticks), total=sum(t for _, t in ticks))

        yield tick, out.print

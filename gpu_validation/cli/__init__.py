"""The command line `gpu-validation`. Exit code 0; 2 for a user's mistake, told in one line; 1 for ours."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.table import Table as Grid

from gpu_validation import __version__
from gpu_validation.cli.benching import bench
from gpu_validation.cli.calibrating import calibrate
from gpu_validation.cli.proxying import proxies
from gpu_validation.cli.recording import record
from gpu_validation.cli.searching import search
from gpu_validation.cli.training import train
from gpu_validation.doctor import examine, report
from nasbench_sim.cli.console import Json, console, print_json
from nasbench_sim.cli.program import run_program

__all__ = ["app", "main"]

app = typer.Typer(
    name="gpu-validation",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="True weight-sharing supernets for the searchers of nasbench-sim, on a CPU at small scale and on a GPU.",
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"gpu-validation {__version__}")
        raise typer.Exit


@app.command(epilog="Example: gpu-validation doctor --json")
def doctor(as_json: Json = False) -> None:
    """Say what will and will not work on this machine, and the command that mends what is missing."""
    findings = examine(os.environ)
    document = report(findings)
    if as_json:
        print_json(document)
        return
    grid = Grid("part", "status", "verdict", "mend it with", box=None, header_style="bold")
    for finding in findings:
        grid.add_row(finding.part, finding.status, finding.verdict, finding.mend)
    say = console()
    say.print(grid)
    say.print(f"All that a run on a GPU needs is here: {'yes' if document['ready'] else 'no'}.")


app.command(epilog="Example: gpu-validation search darts --data digits --seeds 0:3 --epochs 5 --out runs/darts-digits")(
    search
)

app.command(epilog="Example: gpu-validation record rsps --epochs 4 --every 2 --cells 50 --out runs/rsps-digits")(record)
app.command(
    epilog="Example: gpu-validation calibrate runs/breadth/traces --out calibration.json --figure calibration.png"
)(calibrate)
app.command(epilog="Example: gpu-validation train 1462 11472 --data digits --set epochs=5 --out runs/two-cells")(train)
app.command(epilog="Example: gpu-validation bench --channels 8 --cells 1 --batch 16 --repeats 3")(bench)
app.command(epilog="Example: gpu-validation proxies --name synflow --arch 1462 --arch 6111 --out synflow.csv")(proxies)


def main() -> None:
    """Entry point: turns every `UserError` into one line on stderr and exit code 2."""
    run_program(app, "gpu-validation")

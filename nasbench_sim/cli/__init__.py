"""The command line `nasbench-sim`. Exit code 0; 2 for a user's mistake, told in one line; 1 for ours."""

from __future__ import annotations

from typing import Annotated

import typer

from nasbench_sim import __version__
from nasbench_sim.cli import (
    ablating,
    ensemble_study,
    ensembles,
    fidelity,
    looking,
    methods,
    pareto,
    reproduce,
    searching,
    tables,
)
from nasbench_sim.cli.program import run_program

__all__ = ["app", "main"]

app = typer.Typer(
    name="nasbench-sim",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Bayesian and differentiable architecture search on tabulated benchmarks, a thousand seeds at once.",
)
app.command("reproduce", epilog="Example: nasbench-sim reproduce --seeds 500 --out runs/five-hundred")(
    reproduce.reproduce
)
app.command("search", epilog="Example: nasbench-sim search balenas --seeds 1000 --set samples=3 --out runs/balenas")(
    searching.search
)
app.command("compare", epilog="Example: nasbench-sim compare runs/balenas runs/darts")(looking.compare)
app.command("plot", epilog="Example: nasbench-sim plot skip_ratio runs/balenas --out skip.svg")(looking.plot)
app.command("report", epilog="Example: nasbench-sim report runs/balenas runs/darts --out report.html")(looking.report)
app.command(
    "query",
    epilog="Example: nasbench-sim query 9930 --table nb201 --dataset cifar10 --split test --epochs 200 --seed mean",
)(looking.query)
app.command("pareto", epilog="Example: nasbench-sim pareto runs/nsga2 runs/darts --metric params_m --out front.svg")(
    pareto.pareto
)
app.command("ablate", epilog="Example: nasbench-sim ablate spec.yaml --out runs/ablation --workers 2")(ablating.ablate)
app.command(
    "ensemble", epilog="Example: nasbench-sim ensemble valid.h5 --method nes-rs --size 3 --seeds 20 --test test.h5"
)(ensembles.ensemble)
app.command(
    "ensemble-study", epilog="Example: nasbench-sim ensemble-study valid.h5 --test test.h5 --out runs/ensembles"
)(ensemble_study.ensemble_study)
app.command("fidelity", epilog="Example: nasbench-sim fidelity --traces runs/breadth/traces --out fidelity")(
    fidelity.fidelity
)
app.add_typer(tables.app, name="tables")
app.add_typer(methods.app, name="methods")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"nasbench-sim {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: turns every `UserError` into one line on stderr and exit code 2."""
    run_program(app, "nasbench-sim", interrupted="interrupted; a run with an --out folder continues with --resume")

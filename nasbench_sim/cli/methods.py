"""`nasbench-sim methods`: what can be run, where it comes from and what its paper leaves open."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table as Grid

from nasbench_sim.cli.console import Json, console, print_json
from nasbench_sim.searchers import get_method, methods

app = typer.Typer(no_args_is_help=True, help="Methods: list them, show one with its paper and open questions.")


@app.command("list", epilog="Example: nasbench-sim methods list")
def list_(as_json: Json = False) -> None:
    """All methods with one line each."""
    if as_json:
        print_json([recipe.card() for recipe in methods().values()])
        return
    grid = Grid("method", "what it is", "paper", box=None, header_style="bold")
    for recipe in methods().values():
        grid.add_row(recipe.name, recipe.summary, recipe.paper)
    console().print(grid)


@app.command(epilog="Example: nasbench-sim methods show balenas")
def show(name: Annotated[str, typer.Argument(help="A method of `methods list`.")], as_json: Json = False) -> None:
    """One method: paper, equation, parameters, deviations, and what the paper does not state."""
    recipe = get_method(name)
    if as_json:
        print_json(recipe.card())
        return
    say = console()
    say.print(f"{recipe.title}\n{recipe.summary}\n")
    for heading, text in (("Paper", recipe.paper), ("Equation", recipe.equation)):
        say.print(f"{heading}: {text}")
    say.print("\nParameters (set with --set name=value)")
    for parameter, default in recipe.parameters.items():
        say.print(f"  {parameter} = {default!r}")
    for heading, items in (("Deviations", recipe.deviations), ("Not stated in the paper", recipe.unknowns)):
        if items:
            say.print(f"\n{heading}")
            for item in items:
                say.print(f"  - {item}")

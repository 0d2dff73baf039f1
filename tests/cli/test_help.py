"""Help, examples, version: every command explains itself, and what it shows as an example is true."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

import nasbench_sim
from nasbench_sim.cli import app
from tests.cli.helpers import call, good, refused, run_process

_COMMAND = typer.main.get_command(app)


def _walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, (*path, name))


GROUPS = [path for path, command in _walk(_COMMAND) if hasattr(command, "commands")]
LEAVES = {path: command for path, command in _walk(_COMMAND) if not hasattr(command, "commands")}


def words(text: str) -> str:
    """Text without the box around it and without line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def examples(path: tuple[str, ...]) -> list[list[str]]:
    """The examples at the end of a command's help, as words."""
    said = words(good(*path, "--help"))
    assert "Example: " in said
    lines = re.split(r",? or (?=nasbench-sim )", said.rpartition("Example: ")[2])
    return [shlex.split(line) for line in lines]


def test_the_commands_are_those_of_the_design() -> None:
    assert {"reproduce", "search", "compare", "plot", "report", "query", "tables", "methods"} <= set(_COMMAND.commands)
    assert {("tables", n) for n in ("list", "fetch", "import", "info", "verify", "export")} <= set(LEAVES)
    assert {("methods", "list"), ("methods", "show")} <= set(LEAVES)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_ends_in_an_example_that_parses(path: tuple[str, ...]) -> None:
    found = examples(path)
    assert found
    for program, *arguments in found:
        assert program == "nasbench-sim"
        assert tuple(arguments[: len(path)]) == path
        # raises for an option that does not exist, a missing one, or a value of the wrong type
        context = LEAVES[path].make_context("nasbench-sim", arguments[len(path) :])
        assert context.params


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    said = words(good(*path, "-h"))
    assert words(LEAVES[path].help).split(".")[0] in said
    for parameter in LEAVES[path].params:
        if parameter.name != "help":
            assert parameter.help, parameter.name
            assert parameter.help.split()[0] in said


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_help_of_groups_lists_their_commands(path: tuple[str, ...]) -> None:
    said = good(*path, "--help")
    below = [leaf for leaf in [*LEAVES, *GROUPS] if leaf[:-1] == path and leaf]
    assert below
    for leaf in below:
        assert re.search(rf"\b{leaf[-1]}\b", said)


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_a_group_alone_shows_its_help_and_is_a_mistake(path: tuple[str, ...]) -> None:
    result = call(*path)
    assert result.code == 2
    assert "Usage: nasbench-sim" in result.out + result.err


def test_version() -> None:
    assert good("--version") == f"nasbench-sim {nasbench_sim.__version__}\n"
    assert run_process("--version").out == f"nasbench-sim {nasbench_sim.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serach"], "No such command 'serach'"),
        (["tables", "lst"], "No such command 'lst'"),
        (["search"], "Missing argument 'method'; see `nasbench-sim search --help`"),
        (["search", "darts", "--seed", "3"], "No such option: --seed"),
        (["search", "darts", "more"], "unexpected extra argument"),
        (["search", "darts", "--out"], "requires an argument"),
        (["search", "darts", "--json=1"], "does not take a value"),
        (["query", "1", "--table", "nb201-analog"], "Missing option '--dataset'"),
        (["plot", "final", "somewhere"], "Missing option '--out'"),
        (["report", "--out", "x.html"], "Missing argument 'runs'"),
        (["--nosuch"], "No such option: --nosuch"),
    ],
)
def test_a_slip_on_the_command_line_is_one_line(arguments: list[str], said: str) -> None:
    refused(*arguments, said=said)

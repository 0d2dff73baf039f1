"""`nasbench-sim ensemble`: members of an ensemble from a file of per-sample predictions, and how good they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table as Grid

from nasbench_sim.cli.console import Json, console, print_json, seed_list, settings
from nasbench_sim.ensembles import PosteriorSample, Predictions, check_partner, frequencies, posterior_mass, score
from nasbench_sim.ensembles.checks import known_space
from nasbench_sim.ensembles.selection import check_selectable
from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.runs import Run
from nasbench_sim.searchers import methods

#: what is printed: name in the record, heading, unit, decimals
ROWS = (
    ("nll", "NLL", "nats", 4),
    ("accuracy", "accuracy", "%", 2),
    ("ece", "ECE", "", 4),
    ("member_nll", "members' NLL", "nats", 4),
    ("member_accuracy", "members' accuracy", "%", 2),
    ("disagreement", "disagreement", "", 4),
    ("oracle_accuracy", "oracle accuracy", "%", 2),
)
SHOWN = 10  # models in the list of those selected most often
MOST_SEEDS = 10_000


def ensemble(
    file: Annotated[Path | None, typer.Argument(help="Predictions on the validation split (.h5).")] = None,
    method: Annotated[str, typer.Option(help="nes-rs or nes-bs.")] = "nes-rs",
    size: Annotated[int, typer.Option(help="Members of the ensemble.")] = 3,
    seeds: Annotated[str, typer.Option(help="A number (20), a range (0:20) or a list (1,2,5).")] = "20",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the method, name=value; repeatable.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Predictions of the same models on the test split (.h5).")] = None,
    theta: Annotated[
        Path | None,
        typer.Option(help="For nes-bs: a run's folder; the mean of its final architecture distributions."),
    ] = None,
    example: Annotated[
        Path | None, typer.Option(help="Write a small example of the format (digits, not NAS) to this file and stop.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Select an ensemble on validation predictions for many seeds; print its scores and members."""
    if example is not None:
        _write_example(example, file, as_json)
        return
    if file is None:
        raise SpecError("give a file of validation predictions, or --example FILE to write a small one")
    recipes = {name: recipe for name, recipe in methods().items() if recipe.family == "ensemble"}
    if method not in recipes:
        raise SpecError(unknown("ensemble method", method, recipes))
    selector = recipes[method].make(**{"size": size, **_extra(set_ or [])})
    numbers = _seeds(seeds)
    valid = Predictions.load(file)
    check_selectable(valid, selector.metric)
    reports = {"valid": valid}
    if test is not None:
        reports["test"] = Predictions.load(test)
        check_partner(valid, reports["test"])
    posterior = None if theta is None else _theta(theta, valid)
    if posterior is None and isinstance(selector, PosteriorSample):
        raise SpecError(f"{method} samples from an architecture distribution: give --theta, the folder of a run")
    members = selector.select(valid, numbers, posterior)
    document: dict[str, Any] = {
        "method": method,
        "size": size,
        "file": str(file),
        "sha256": valid.sha256,
        "space": valid.space,
        "dataset": valid.dataset,
        "models": len(valid),
        "n": len(numbers),
        "scores": {split: _spread(predictions, members) for split, predictions in reports.items()},
        "seeds": list(numbers),
        "members": members.tolist(),
        "source": valid.source,
    }
    if posterior is not None:
        document["posterior_mass"] = float(posterior_mass(valid, posterior)[0])
    if as_json:
        print_json(document)
    else:
        _say(document, valid, members)


def _extra(pairs: list[str]) -> dict[str, Any]:
    """Parameters of --set; the size has an option of its own."""
    out = settings(pairs, "--set")
    if "size" in out:
        raise SpecError("give the size as --size, not with --set")
    return out


def _seeds(text: str) -> tuple[int, ...]:
    listed = seed_list(text)
    if isinstance(listed, int):
        if not 1 <= listed <= MOST_SEEDS:
            raise SpecError(f"--seeds {listed}: give 1..{MOST_SEEDS}")
        return tuple(range(listed))
    if not 1 <= len(listed) <= MOST_SEEDS or min(listed) < 0 or len(set(listed)) != len(listed):
        raise SpecError(f"--seeds {text}: give 1..{MOST_SEEDS} different seeds >= 0")
    return listed


def _theta(folder: Path, predictions: Predictions) -> np.ndarray:
    """The mean architecture distribution `[D, K]` of a run's searches, in the space of the predictions.

    Where the record holds none (restarts of an ensemble came after it), the frequencies of the final cells.
    """
    run = Run.load(folder)
    space = known_space(predictions.space)
    if space is None or run.archs.shape[1] != space.D:
        raise SpecError(
            f"{folder} is a run over {run.archs.shape[1]} decisions, the predictions are of space {predictions.space}; "
            "give a run on that space"
        )
    if "theta" not in run.final_state:
        return frequencies(run.archs, space.K)
    theta = run.final_state["theta"][~run.failed].astype(np.float64)
    if not len(theta):
        raise SpecError(f"{folder}: every search of this run failed, so that it has no distribution")
    return np.asarray(theta.mean(axis=0))


def _spread(predictions: Predictions, members: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Mean and sd (n - 1; None for one seed) over seeds of every score on one split; equal sets are scored once."""
    known: dict[bytes, dict[str, float]] = {}
    for row in members:
        if row.tobytes() not in known:
            known[row.tobytes()] = score(predictions.probabilities[row], predictions.labels).record()
    records = [known[row.tobytes()] for row in members]
    out: dict[str, dict[str, float | None]] = {}
    for name in records[0]:
        values = np.array([record[name] for record in records])
        out[name] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else None}
    return out


def _say(document: dict[str, Any], valid: Predictions, members: np.ndarray) -> None:
    say = console()
    n, scores = document["n"], document["scores"]
    say.print(
        f"{document['method']}, {len(valid)} models of {valid.space} on {valid.dataset}, {document['size']} members, "
        f"{n} seeds"
    )
    grid = Grid("", *(f"{split} (mean +- sd)" for split in scores), box=None, header_style="bold")
    for name, heading, unit, digits in ROWS:
        cells = [_number(s[name], digits, unit) for s in scores.values()]
        grid.add_row(heading, *cells)
    say.print(grid)
    if "posterior_mass" in document:
        say.print(f"The file's architectures hold {100 * document['posterior_mass']:.1f} % of theta's probability.")
    counts = Counter(int(row) for ensemble_rows in members for row in set(ensemble_rows.tolist()))
    say.print(f"Members, by how many of {n} seeds selected them:")
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for row, times in listed[:SHOWN]:
        say.print(f"  {times} x row {row}: {valid.name_of(valid.archs[row])}, training seed {valid.seeds[row]}")
    if len(listed) > SHOWN:
        say.print(f"  and {len(listed) - SHOWN} more (--json lists all)")
    if n > 1 and (members == members[0]).all():
        say.print("Note: every seed selected the same members, so the sd says nothing about another pool.")
    say.print(f"Source of the predictions: {valid.source}")


def _number(of: dict[str, float | None], digits: int, unit: str) -> str:
    """Mean and sd in words; one seed has no sd."""
    spread = "" if of["sd"] is None else f" +- {of['sd']:.{digits}f}"
    return f"{of['mean']:.{digits}f}{spread} {unit}".rstrip()


def _write_example(target: Path, file: Path | None, as_json: bool) -> None:
    if file is not None:
        raise SpecError("--example writes a file and stops; leave out the file to read")
    from nasbench_sim.ensembles.example import write_example

    valid, test = write_example(target)
    if as_json:
        print_json({"valid": str(valid), "test": str(test)})
        return
    say = console()
    say.print(f"{valid} and {test}: 24 small networks on scikit-learn's digits, an example of the format, not of NAS.")
    say.print(f"Try: nasbench-sim ensemble {valid} --test {test} --set pool=12")

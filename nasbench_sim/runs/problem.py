"""From a specification and a table to the landscape and the searcher of a run."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import NotMeasured, SpecError, unknown
from nasbench_sim.landscapes import Landscape, SharedWeightsLandscape, SharedWeightsParams, TabularLandscape
from nasbench_sim.landscapes.penalised import PenalisedLandscape
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.searchers import GradientSearcher, Searcher, get_method
from nasbench_sim.searchers.gradient import StepOrder
from nasbench_sim.tables.table import Table

#: the landscape of a method that names none, by family
LANDSCAPES: dict[str, str] = {
    "differentiable": "shared",
    "sampling": "shared",
    "training-free": "tabular",
    "black-box": "evaluations",
    "multi-objective": "evaluations",
}


def default_landscape(method: str) -> Any:
    """The landscape a method is run on where none is named; raises `SpecError` for an unknown method.

    >>> default_landscape("darts")
    'shared'
    """
    return LANDSCAPES.get(get_method(method).family, "shared")


def check_composition(spec: RunSpec) -> None:
    """Raise `SpecError` for a method on a landscape that it cannot run on, before anything else is done."""
    family = get_method(spec.method).family
    if family == "ensemble":
        raise SpecError(
            f"{spec.method} chooses members of an ensemble from per-sample predictions, which tables do not hold; "
            "use `nasbench-sim ensemble` with a file of predictions"
        )
    if spec.landscape == "supernet":
        raise SpecError("a true supernet is trained by `gpu-validation search METHOD`; tables have no weights to train")
    if spec.penalty and family == "training-free":
        raise SpecError(f"{spec.method} looks at proxies only and would not see a penalty; leave the penalty away")
    trains_cells = LANDSCAPES[family] == "evaluations"
    if trains_cells and spec.landscape != "evaluations":
        raise SpecError(
            f"{spec.method} is a {family} method: it trains one cell after another and has no gradient; "
            f"use landscape 'evaluations', not {spec.landscape!r}"
        )
    if not trains_cells and spec.landscape == "evaluations":
        raise SpecError(
            f"{spec.method} is a {family} method and cannot run on landscape 'evaluations', where cells are trained "
            "one after another; use 'shared' or 'tabular'"
        )


def make_searcher(spec: RunSpec) -> Searcher:
    """The method of a specification; raises `SpecError` for unknown names, impossible parameters and step orders."""
    return in_order(get_method(spec.method).make(**spec.params), spec.step_order)


def in_order(searcher: Searcher, order: StepOrder) -> Searcher:
    """The searcher with this order of its two steps; raises `SpecError` where it has none that could be chosen."""
    if order == "together":
        return searcher
    if not isinstance(searcher, GradientSearcher):
        raise SpecError(f"{searcher.name} has no architecture step whose order could be chosen; leave step_order away")
    return replace(searcher, order=order)


def make_landscape(spec: RunSpec, table: Table) -> Landscape:
    """The landscape of a specification on a table, seeing the table's search key and nothing else."""
    if spec.dataset not in table.datasets():
        raise SpecError(f"table {table.name}: {unknown('data set', spec.dataset, table.datasets())}")
    key = table.search_key_for(spec.dataset)
    where: dict[str, Any] = dict(key._asdict(), dtype=np.dtype(spec.dtype))
    land: Landscape
    if spec.landscape == "tabular":
        if spec.landscape_params:
            raise SpecError("the tabular landscape has no parameters; landscape_params belong to 'shared'")
        land = TabularLandscape(table, **where)
    else:
        land = SharedWeightsLandscape(table, **where, params=SharedWeightsParams.load(**spec.landscape_params))
    return PenalisedLandscape(land, table, spec.dataset, spec.penalty) if spec.penalty else land


def check_requirements(spec: RunSpec, searcher: Searcher, landscape: Landscape) -> None:
    """Raise `SpecError` or `NotMeasured`, by name, where the method needs what this landscape does not offer."""
    for need in sorted(searcher.requires):
        if need.startswith("proxy/"):
            name, _, dataset = need.removeprefix("proxy/").partition("@")
            try:
                landscape.proxy(name, np.zeros((1, 1, landscape.space.D), dtype=np.int64), dataset=dataset or None)
            except NotMeasured as error:
                raise NotMeasured(f"{error}; proxy_dataset=NAME takes another data set's proxies") from error
        elif need not in landscape.offers:
            what = {"weights": "shared weights that learn (a second-order gradient goes through them)"}.get(need, need)
            raise SpecError(
                f"{spec.method} with these parameters needs {what}, and the {spec.landscape} landscape has none; "
                "use landscape 'shared', or order=1"
            )


def describe_table(table: Table, dataset: str) -> dict[str, Any]:
    """What a record says of the table it ran on, as plain data."""
    roles = table.report_keys_for(dataset)
    best = {}
    for role, key in roles.items():
        index = int(np.nanargmax(table.accuracy[key]))
        best[role] = {
            "accuracy": round(float(table.accuracy[key][index]), 4),
            "arch": table.space.format(table.space.at(index)),
        }
    return {
        "name": table.name,
        "sha256": table.sha256,
        "remark": table.remark,
        "search_key": list(table.search_key_for(dataset)),
        "report_keys": {role: list(key) for role, key in roles.items()},
        "best": best,
        "sources": [vars(source) for source in table.sources],
    }


def measured_cells(table: Table, dataset: str, archs: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.bool_]]:
    """`measured` bool `[S]`: which cells `archs[S, D]` the search key was measured for, where a table has predictions.

    False where a search failed (cell -1). Nothing for a table of measurements only: there all are.
    """
    key = table.search_key_for(dataset)
    if key.seed != "completed":
        return {}
    there = table.measured(**key._asdict())[table.space.index(np.maximum(archs, 0))]
    return {"measured": np.asarray(there & (archs >= 0).all(axis=1))}


def versions() -> dict[str, str]:
    """Versions that a number may depend on."""
    out = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in ("nasbench-sim", "numpy", "scipy", "h5py"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:  # a source checkout that was never installed
            out[package] = "not installed"
    return out

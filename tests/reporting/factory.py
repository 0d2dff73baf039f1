"""Synthetic runs in the shape of real ones: quick to make, with numbers that a test can check by hand."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.runs.record import Run
from nasbench_sim.runs.spec import make_spec

BEST = {
    "cifar10": {"valid": 91.607, "test": 94.373},
    "cifar100": {"valid": 73.493, "test": 73.513},
    "ImageNet16-120": {"valid": 46.733, "test": 47.311},
}
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
#: method -> (final loss of accuracy against the best cell in points, its spread, skip ratio at the end)
SHAPES: Mapping[str, tuple[float, float, float]] = {
    "darts": (39.7, 0.0, 1.0),
    "balenas": (0.6, 0.5, 0.25),
    "bpnas": (0.3, 0.3, 0.17),
    "parsec": (1.4, 1.2, 0.3),
    "random": (1.0, 1.1, 0.2),
}


def make_run(
    method: str = "darts",
    *,
    landscape: str = "shared",
    dataset: str = "cifar10",
    table: str = "nb201",
    roles: tuple[str, ...] = ("valid", "test"),
    seeds: int = 200,
    epochs: int = 50,
    params: dict[str, Any] | None = None,
    landscape_params: dict[str, Any] | None = None,
    remark: str = "",
    finals: Mapping[str, npt.ArrayLike] | None = None,
    history: Mapping[str, npt.ArrayLike] | None = None,
    method_card: Mapping[str, Any] | None = None,
    cell: str = CELL,
) -> Run:
    """A run of `seeds` x `epochs`; `finals` sets the last epoch of a role, `history` replaces whole quantities."""
    rng = np.random.default_rng(zlib.crc32(f"{method}{landscape}{dataset}".encode()))
    below, spread, skips = SHAPES.get(method, (2.0, 1.0, 0.3))
    if landscape == "tabular" and method == "darts":
        below, spread, skips = 0.4, 0.3, 0.17  # without weight-sharing error there is no collapse
    below = below if below < 10 else below * BEST[dataset]["test"] / BEST["cifar10"]["test"]
    t = np.arange(1, epochs + 1) / max(epochs, 50)
    best = {role: BEST[dataset].get(role, 94.07) for role in roles}
    hist: dict[str, Any] = {}
    onset = rng.normal(0.35, 0.06, (seeds, 1))
    for role in roles:
        start = rng.normal(5.0, 2.5, (seeds, 1)).clip(0.5) * np.exp(-6 * t)
        if below > 10:  # good at first, then skips take over
            loss = start + 1.5 + (below - 1.5) / (1 + np.exp(-(t - onset - 0.25) * 28))
            loss = np.where(t > onset + 0.45, below, loss)
        else:
            loss = start + np.abs(rng.normal(below, spread, (seeds, 1)))
        steps = np.maximum.accumulate(rng.integers(0, 2, (seeds, epochs)) * np.arange(epochs), axis=1)
        hist[role] = (best[role] - np.take_along_axis(loss, steps, axis=1)).clip(10).round(2).astype(np.float32)
    ratio = skips / (1 + np.exp(-(t - onset - 0.2) * 18)) + 0 * onset
    hist["skip_ratio"] = (np.clip(ratio + rng.normal(0, 0.06, (seeds, epochs)), 0, 1) * 6).round() / 6
    growth = 6.0 if below > 10 else 1.6
    eigen = 0.12 * growth ** (t / t[-1]) * rng.lognormal(0, 0.25, (seeds, epochs))
    hist["eigenvalue"] = np.full((seeds, epochs), np.nan) if method in ("random", "parsec") else eigen
    hist["entropy"] = (
        np.full((seeds, epochs), np.nan)
        if method == "random"
        else 1.609 * np.exp(-2.5 * t) * rng.uniform(0.8, 1.0, (seeds, 1))
    )
    active = np.full((seeds, epochs), 30.0)
    if method == "bpnas":
        active = np.maximum(6, 30 - np.floor(24 * t * rng.uniform(0.8, 1.6, (seeds, 1))))
    hist["active_ops"] = active
    hist["loss"] = 0.1 + 0.4 * np.exp(-3 * t) + rng.normal(0, 0.01, (seeds, epochs))
    hist["archs"] = rng.integers(0, 5, (seeds, epochs, 6)).astype(np.int8)
    for role, values in (finals or {}).items():
        hist[role][:, -1] = np.asarray(values, dtype=np.float32)
    hist.update({name: np.asarray(values) for name, values in (history or {}).items()})
    spec = make_spec(
        method=method,
        params=params or {},
        table=table,
        dataset=dataset,
        landscape=landscape,
        landscape_params=landscape_params or {},
        seeds=seeds,
        epochs=epochs,
    )
    return Run(
        spec=spec,
        table={
            "name": table,
            "sha256": "ab" * 32,
            "remark": remark,
            "search_key": [dataset, "valid", 200, "mean"],
            "report_keys": {role: [dataset, role, 200, "mean"] for role in roles},
            "best": {role: {"accuracy": best[role], "arch": cell} for role in roles},
            "sources": [
                {
                    "name": "a table made for tests",
                    "url": "https://example.org/table.csv",
                    "version": "1",
                    "sha256": "cd" * 32,
                    "licence": "MIT",
                    "citation": "Nobody (2020)",
                }
            ],
        },
        seeds=np.arange(seeds, dtype=np.int64),
        archs=hist["archs"][:, -1].astype(np.int64),
        history=hist,
        method=method_card
        or {
            "name": method,
            "title": method.upper(),
            "paper": "A paper (2020)",
            "equation": "eq. 1",
            "summary": "One line about the method.",
            "deviations": ["one deviation"],
            "unknowns": ["one unknown"],
            "parameters": {"lr": 0.0003},
        },
        seconds=1.5,
        versions={"nasbench_sim": "0.1.0", "numpy": "2.0", "python": "3.11"},
    )


def make_runs(seeds: int = 200, epochs: int = 50, **fields: Any) -> list[Run]:
    """All five methods on both landscapes."""
    return [
        make_run(method, landscape=landscape, seeds=seeds, epochs=epochs, **fields)
        for landscape in ("shared", "tabular")
        for method in SHAPES
    ]

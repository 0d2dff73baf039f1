"""Predictions for tests: random networks of known quality on a toy space whose every cell is there."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import numpy as np

from nasbench_sim.ensembles import Predictions

DECISIONS, OPTIONS = 2, 4
CELLS = np.array(list(itertools.product(range(OPTIONS), repeat=DECISIONS)))  # 16 architectures


def make(
    models: int = 16, samples: int = 50, classes: int = 3, *, seed: int = 0, split: str = "valid", **changes: Any
) -> Predictions:
    """`models` random networks; the first 16 are the cells of the toy space, the next 16 their second training seed."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    logits = rng.normal(size=(models, samples, classes)) * 1.5
    logits[:, np.arange(samples), labels] += rng.uniform(0.5, 2.5, (models, 1))
    given = {
        "labels": labels,
        "archs": CELLS[np.arange(models) % 16],
        "space": "toy",
        "dataset": "noise",
        "split": split,
        "seeds": 777 + np.arange(models) // 16,
        "source": "made for a test",
    }
    return Predictions.from_logits(logits, **{**given, **changes})


def reordered(p: Predictions, order: np.ndarray) -> Predictions:
    """The same models in another order."""
    parts = {f.name: getattr(p, f.name) for f in fields(p)}
    return Predictions(**{**parts, **{n: parts[n][order] for n in ("probabilities", "archs", "seeds")}})


def point_mass(cell: np.ndarray) -> np.ndarray:
    """theta `[D, K]` with everything on one cell."""
    return np.eye(OPTIONS)[cell]


UNIFORM = np.full((DECISIONS, OPTIONS), 1 / OPTIONS)

"""`compose`: the parts of the named methods give those methods, and what does not fit is refused by name."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers import get_method
from nasbench_sim.searchers.recipes.compose import compose
from tests.searchers.helpers import LANDSCAPES, run, same

SEEDS = np.array([4, 1, 9])
HINTS = get_type_hints(compose)
KINDS = {name: get_args(HINTS[name]) for name in ("relaxation", "update", "pruning", "stopping", "selection")}


@pytest.mark.parametrize(
    ("method", "params", "parts"),
    [
        ("darts", {}, {}),
        ("darts", {"order": 2}, {"order": 2}),
        ("balenas", {"samples": 2}, {"relaxation": "gaussian", "update": "vadam", "samples": 2}),
        ("balenas", {"denominator": "plain", "init_precision": 1.0},
         {"relaxation": "gaussian", "update": "vadam", "denominator": "plain", "init_precision": 1.0}),
        ("bpnas", {"delta": 0.002},
         {"relaxation": "dirichlet", "pruning": "bpnas", "weight_decay": 0.0, "delta": 0.002}),
        ("parsec", {"samples": 4}, {"relaxation": "importance", "samples": 4, "weight_decay": 0.0}),
        ("drnas", {}, {"relaxation": "dirichlet"}),
        ("drnas", {"reg_type": "kl"}, {"relaxation": "dirichlet", "regulariser": "dirichlet-kl", "weight_decay": 0.0}),
        ("gdas", {}, {"relaxation": "gumbel-hard"}),
        ("snas", {}, {"relaxation": "gumbel-soft"}),
    ],
)  # fmt: skip
def test_the_parts_of_a_named_method_are_that_method(method: str, params: Any, parts: Any) -> None:
    land = LANDSCAPES["shared"]
    named, composed = get_method(method), get_method("compose")
    fair = {k: named.parameters[k] for k in ("lr", "betas") if k in named.parameters}
    if method in ("gdas", "snas"):
        fair["weight_decay"] = named.parameters["weight_decay"]
    ours = run(composed.make(**{**fair, **parts}), land, SEEDS, 40)
    assert same(ours, run(named.make(**params), land, SEEDS, 40))


def test_every_combination_runs_or_is_refused_by_name() -> None:
    """11 x 3 x 3 relaxations, updates and prunings, the other parts beside them in turn."""
    land, refused, made = LANDSCAPES["shared"], 0, 0
    rest = list(product(KINDS["stopping"], KINDS["selection"]))
    for i, (relaxation, update, pruning) in enumerate(
        product(*(KINDS[k] for k in ("relaxation", "update", "pruning")))
    ):
        stopping, selection = rest[i % len(rest)]
        parts = {"relaxation": relaxation, "update": update, "pruning": pruning, "stopping": stopping}
        try:
            searcher = get_method("compose").make(**parts, selection=selection, samples=2, draws=5)
        except SpecError as error:
            refused += 1
            assert repr(update) in str(error) and "vadam" in str(error)
            continue
        made += 1
        state, shared = run(searcher, land, SEEDS, 2)
        archs = searcher.derive(state, land, shared)
        assert archs.shape == (3, 6) and np.isfinite(state.alpha).all()
        assert searcher.end_epoch(state, 0, archs, np.ones(3)).alpha.shape == state.alpha.shape
    assert made > 60 and refused > 10


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"relaxation": "gaussian"}, "'gaussian' draws from a posterior"),
        ({"selection": "proxy"}, "'proxy' draws from a posterior"),
        ({"regulariser": "dirichlet-kl"}, "belongs to relaxation 'dirichlet'"),
        ({"relaxation": "gumbel-hard", "order": 2}, "runs single cells"),
        ({"relaxation": "gausian"}, "relaxation"),
        ({"samples": 0}, "at least 1"),
        ({"pruning": "bpnas", "delta": 2.0}, "delta"),
    ],
)
def test_impossible_combinations(parts: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        get_method("compose").make(**parts)

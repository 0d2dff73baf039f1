"""What the searcher tests share: a small landscape of each kind and a loop."""

from __future__ import annotations

import numpy as np

from nasbench_sim.landscapes import Horizon, Landscape, LandscapeState, SharedWeightsLandscape, TabularLandscape
from nasbench_sim.searchers import Searcher, State, methods
from tests.landscapes.test_landscapes import PARAMS
from tests.synthetic import SPACE, VALID, synthetic_table

HORIZON = Horizon(2, 40)
TABLE = synthetic_table()
LANDSCAPES: dict[str, Landscape] = {
    "tabular": TabularLandscape(TABLE, **VALID._asdict()),
    "shared": SharedWeightsLandscape(TABLE, **VALID._asdict(), params=PARAMS),
}
NAMES = sorted(n for n, r in methods().items() if r.family in ("differentiable", "sampling", "training-free"))


def make(name: str) -> Searcher:
    """The method with its test parameters."""
    recipe = methods()[name]
    return recipe.make(**recipe.test_params)


def run(
    searcher: Searcher,
    landscape: Landscape,
    seeds: np.ndarray,
    steps: int,
    resume: tuple[State, LandscapeState] | None = None,
) -> tuple[State, LandscapeState]:
    """`steps` steps from a fresh start, or from `resume`."""
    state, shared = resume or (
        searcher.init(SPACE, seeds, landscape.dtype),
        landscape.init(seeds, HORIZON),
    )
    for _ in range(steps):
        state, shared, _ = searcher.step(state, landscape, shared)
    return state, shared


def leaves(tree: object) -> list[np.ndarray]:
    """Every array of a state."""
    if isinstance(tree, dict):
        return [x for k in sorted(tree) for x in leaves(tree[k])]
    if isinstance(tree, tuple):
        return [x for part in tree for x in leaves(part)]
    return [np.asarray(tree)]


def same(a: object, b: object) -> bool:
    """Equal bit for bit."""
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))

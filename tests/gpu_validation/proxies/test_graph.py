"""Which operations count and which cells are one computation, against brute force over paths and weights."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_validation.proxies.graph import EDGES, classes, computation, live
from gpu_validation.reference import nb201
from nasbench_sim.spaces import NB201
from nasbench_sim.spaces.nb201 import EDGES as NAMES

SPACE = NB201()
CELLS = st.lists(st.integers(0, 4), min_size=6, max_size=6)
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # edges of every way from node 0 to node 3


def test_edges_and_operations_are_those_of_the_space_and_of_the_reference_cell() -> None:
    assert EDGES == nb201.EDGES
    assert tuple(f"{j}<-{i}" for i, j in EDGES) == NAMES


@given(CELLS)
def test_an_operation_counts_if_it_is_on_a_path(cell: list[int]) -> None:
    used = {edge for path in PATHS if all(cell[e] for e in path) for edge in path}
    assert live(cell).tolist() == [op if edge in used else 0 for edge, op in enumerate(cell)]


def test_live_works_on_many_and_does_not_touch_its_input() -> None:
    cells = np.array([[[0, 1, 3, 2, 4, 0], [3, 3, 3, 3, 3, 3]]])
    before = cells.copy()
    assert live(cells).tolist() == [[[0, 0, 0, 2, 0, 0], [3, 3, 3, 3, 3, 3]]]
    assert np.array_equal(cells, before)


def value(cell: list[int], weights: dict[int, float]) -> float:
    """The cell on one number: a convolution is tanh(w x + its kind), a pool a fixed linear map, a sum a sum."""
    nodes = [0.7]
    for target in (1, 2, 3):
        total = 0.0
        for edge, (i, j) in enumerate(EDGES):
            x = nodes[i] if j == target else 0.0
            if j != target or cell[edge] == 0:
                continue
            total += {1: x, 2: 0.0, 3: 0.0, 4: 0.6 * x}[cell[edge]]
            if cell[edge] in (2, 3):
                total += float(np.tanh(weights[edge] * x + cell[edge] / 5) - np.tanh(cell[edge] / 5))
        nodes.append(total)
    return nodes[3]


def functions(cell: list[int]) -> set[float]:
    """What a live cell computes under every assignment of a few fixed weights to its convolutions."""
    convolutions = [e for e in range(6) if cell[e] in (2, 3)]
    numbers = (0.31, 0.57, 0.83, 1.13, 1.41, 1.79)[: len(convolutions)]
    return {round(value(cell, dict(zip(convolutions, p, strict=True))), 9) for p in permutations(numbers)}


def test_cells_of_one_class_compute_the_same_functions_and_others_do_not() -> None:
    """150 random pairs within classes and 150 across: equal sets of functions exactly where the class is equal."""
    found = classes()
    random = np.random.default_rng(0)
    order = np.argsort(found.number, kind="stable")
    same = [
        (order[k], order[k + 1]) for k in range(len(order) - 1) if found.number[order[k]] == found.number[order[k + 1]]
    ]
    pairs = [same[k] for k in random.choice(len(same), 150, replace=False)]
    pairs += [tuple(p) for p in random.integers(0, SPACE.size, (150, 2))]
    for a, b in pairs:
        one, other = (functions(live(SPACE.all[k]).tolist()) for k in (a, b))
        assert (one == other) == (found.number[a] == found.number[b]), (SPACE.strings[a], SPACE.strings[b])


@settings(max_examples=30)
@given(CELLS)
def test_the_graph_of_a_cell_is_that_of_its_live_part(cell: list[int]) -> None:
    assert computation(cell) == computation(live(cell))


def test_classes_are_neither_finer_nor_coarser_than_the_published_ones() -> None:
    """The figures of the module's head."""
    found, published = classes(), SPACE.classes
    assert len(found.cells) == 5_260 and found.number.max() == 5_259
    assert len(np.unique(live(SPACE.all), axis=0)) == 9_445
    pairs = np.unique(np.stack([published, found.number]), axis=1)
    split = np.flatnonzero(np.bincount(pairs[0]) > 1)
    assert len(split) == 430 and int(np.isin(published, split).sum()) == 1_786
    assert int((np.bincount(pairs[1]) > 1).sum()) == 688
    # the published ones hold cells of other numbers of weights, these do not
    kernels = np.stack([(live(SPACE.all) == op).sum(axis=1) for op in (2, 3)])
    for number, varies in ((published, True), (found.number, False)):
        low = np.full((2, number.max() + 1), 9)
        high = np.zeros_like(low)
        for k in range(2):
            np.minimum.at(low[k], number, kernels[k])
            np.maximum.at(high[k], number, kernels[k])
        assert bool((low != high).any()) is varies


def test_a_class_is_represented_by_its_first_cell() -> None:
    found = classes()
    first = np.unique(found.number, return_index=True)[1]
    assert np.array_equal(found.cells, live(SPACE.all[first]))
    assert np.array_equal(first, np.sort(first))

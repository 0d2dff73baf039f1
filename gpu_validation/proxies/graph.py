"""Which cells compute one function of as many weights: operations that lead nowhere, and cells with equal graphs.

A proxy looks at an untrained network, so two cells of which one is the other under another name have one score in
distribution, and one network stands for both. Two steps:

- `live`: an operation counts if it lies on a path from the cell's input to its output; any other becomes `none`. It
  has no gradient and changes no output. 9,445 cells are left as they are, exactly those that the published proxies
  exist for (`nasbench_sim.tables.nb201_optional`).
- `computation`: the graph of a live cell, skips substituted, sums sorted, every convolution numbered.

The 6,466 classes of the published isomorphism (`NB201.classes`) are *not* the classes of proxies. They write a cell as
an expression in which one convolution that is used twice looks like two convolutions that are used once each: 430 of
them, with 1,786 cells, hold cells with different numbers of weights. And they keep a sign for operations on nothing,
which sets cells apart that compute the same. The 5,260 classes here are right in both respects. SynFlow's mean over
initialisations is the only proxy that is also constant on the published ones (tests/gpu_validation/proxies).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, permutations, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.spaces import NB201

Array = npt.NDArray[np.int64]

#: (source, target) of the six edges, in the order of the decisions (that of `gpu_validation.reference.nb201`, which
#: cannot be imported without torch)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NONE, SKIP, CONV1, CONV3, POOL = range(5)


class Classes(NamedTuple):
    """`number[A]`: the class of every cell in official order; `cells[n, 6]`: the live cell that stands for each."""

    number: Array
    cells: Array


def live(archs: npt.ArrayLike) -> Array:
    """`archs[..., 6]` with every operation that is on no path from input to output made `none`.

    >>> live([3, 1, 0, 0, 3, 1]).tolist()  # node 2 gets a skip of the input, node 3 both: all of it counts
    [3, 1, 0, 0, 3, 1]
    >>> live([0, 1, 3, 2, 4, 0]).tolist()  # node 1 is nothing, node 2 is not used
    [0, 0, 0, 2, 0, 0]
    """
    cells = np.array(archs, dtype=np.int64)
    reached = [np.ones(cells.shape[:-1], dtype=np.bool_), *(np.zeros(cells.shape[:-1], dtype=np.bool_) for _ in "123")]
    used = [np.zeros_like(reached[0]), np.zeros_like(reached[0]), np.zeros_like(reached[0]), np.ones_like(reached[0])]
    for edge, (i, j) in enumerate(EDGES):
        reached[j] = reached[j] | (reached[i] & (cells[..., edge] != NONE))
    for edge, (i, j) in reversed(list(enumerate(EDGES))):
        used[i] = used[i] | (used[j] & (cells[..., edge] != NONE))
    for edge, (i, j) in enumerate(EDGES):
        cells[..., edge] = np.where(reached[i] & used[j], cells[..., edge], NONE)
    return cells


def computation(arch: npt.ArrayLike) -> str:
    """The graph of one live cell `[6]`: equal strings compute one function of the same weights, renamed.

    `n0=c3(x)` is a 3x3 convolution of the input, `p(...)` a pool; what stands before the semicolon is the output.

    >>> computation([2, 0, 1, 2, 1, 0]), computation([2, 0, 1, 0, 1, 1])  # two convolutions; one that is used twice
    ('n0+n1;n0=c2(x);n1=c2(x)', 'n0+n0;n0=c2(x)')
    """
    cell = live(arch)
    alike: dict[str, list[int]] = {}
    for edge, name in sorted(_expressions(cell).items(), key=lambda item: item[1]):
        alike.setdefault(name, []).append(edge)
    # which of several convolutions of one expression gets which number is not the cell's: the least text counts
    orders = product(*(permutations(edges) for edges in alike.values()))
    return min(_written(cell, {e: n for n, e in enumerate(chain(*order))}) for order in orders)


def _expressions(cell: Array) -> dict[int, str]:
    """Each convolution written out down to the input, by its edge."""
    nodes: list[list[str]] = [["x"], [], [], []]
    found: dict[int, str] = {}
    for edge, (i, j) in enumerate(EDGES):  # edges into a node stand after those into its sources
        if cell[edge] == SKIP:
            nodes[j] += nodes[i]
        elif cell[edge] != NONE:
            found[edge] = f"{'p' if cell[edge] == POOL else 'c'}{cell[edge]}({'+'.join(sorted(nodes[i]))})"
            nodes[j].append(found[edge])
    return {edge: text for edge, text in found.items() if cell[edge] != POOL}


def _written(cell: Array, number: dict[int, int]) -> str:
    nodes: list[list[str]] = [["x"]]
    definitions: list[str] = []
    for target in (1, 2, 3):
        terms: list[str] = []
        for edge, (i, j) in enumerate(EDGES):
            if j != target or cell[edge] == NONE:
                continue
            if cell[edge] == SKIP:
                terms += nodes[i]
                continue
            source = "+".join(sorted(nodes[i]))
            if cell[edge] == POOL:
                terms.append(f"p({source})")
            else:
                terms.append(f"n{number[edge]}")
                definitions.append(f"n{number[edge]}=c{cell[edge]}({source})")
        nodes.append(terms)
    return ";".join(["+".join(sorted(nodes[3])), *sorted(definitions)])


@lru_cache(maxsize=1)
def classes() -> Classes:
    """The 5,260 classes of all 15,625 cells, numbered by first appearance in official order (0.5 s, kept).

    A class is represented by the live form of its first cell, so that its network does not depend on which of its
    cells is asked for first.
    """
    cells = live(NB201().all)
    distinct, where = np.unique(cells, axis=0, return_inverse=True)
    graphs = [computation(cell) for cell in distinct]
    seen: dict[str, int] = {}
    first: list[Array] = []
    number = np.empty(len(cells), dtype=np.int64)
    for index, row in enumerate(where.ravel()):
        if graphs[row] not in seen:
            seen[graphs[row]] = len(seen)
            first.append(distinct[row])
        number[index] = seen[graphs[row]]
    return Classes(number, np.stack(first))

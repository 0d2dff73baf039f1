"""Which cells are trained for all 15,625, and which of them are computed together.

Isomorphic cells compute one function, so one cell of each of the 6,466 classes is trained: the one with the least
arithmetic (3x3 convolutions, then 1x1, then pools, then skips), then the smallest official index. Operations that no
path reaches are thereby `none` in the trained cell.

Cells that have a convolution, 3x3 or 1x1, on the same edges form a stack: every convolution then runs for the whole
stack at once, without gathering networks; what is left (skip, pool, none) are coefficients of 0 or 1 a network. There
are 64 such patterns of 34 to 225 cells, cut into stacks of one size and a rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gpu_validation.reference.nb201 import CONV1, CONV3, POOL, SKIP
from nasbench_sim.errors import SpecError
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.manifest import cached_space

IntArray = npt.NDArray[np.int64]
#: networks of a stack: measured on one core (C = 2, 14x14); fewer leave overheads, more leave the cache
STACK = 32


class Stack(NamedTuple):
    """Cells computed together: a number that is the same in every run, and official indices `[n]`."""

    number: int
    cells: IntArray


def space() -> NB201:
    """The space of these cells."""
    found = cached_space("nb201")
    assert isinstance(found, NB201)
    return found


def representatives() -> IntArray:
    """The trained cell of each class `[6466]`, official indices, in the order of `NB201.classes`.

    >>> cells = representatives()
    >>> len(cells), bool((space().classes[cells] == range(6466)).all())
    (6466, True)
    """
    archs, classes = space().all, space().classes
    weights = ((CONV3, 1000), (CONV1, 100), (POOL, 10), (SKIP, 1))
    work = sum(weight * (archs == op).sum(axis=1) for op, weight in weights)
    order = np.lexsort((np.arange(len(archs)), work, classes))
    first = np.concatenate([[True], np.diff(classes[order]) > 0])
    return np.asarray(order[first], dtype=np.int64)


def conv_edges(archs: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Which edges `[..., 6]` carry a convolution."""
    return np.asarray((archs == CONV1) | (archs == CONV3))


def make_stacks(cells: npt.ArrayLike, size: int = STACK) -> list[Stack]:
    """Cut cells (official indices) into stacks of at most `size`, the same for the same cells, numbered from 0.

    Within a pattern, cells are sorted by kernel and then by operation, so that a stack often has one kernel or one
    operation on a whole edge, which then needs no mask. Raises `SpecError` for no cells, one twice, and a size below 1.

    >>> [stack.cells.tolist() for stack in make_stacks([9930, 6111, 0], 2)]
    [[0], [6111, 9930]]
    """
    index = np.asarray(cells, dtype=np.int64)
    if size < 1 or not len(index) or len(np.unique(index)) < len(index):
        raise SpecError(f"a stack has 1, 2, ... different cells, got {len(index)} cells and a size of {size}")
    archs = space().at(index)
    patterns = conv_edges(archs) @ (1 << np.arange(6))
    keys = [index, *archs.T[::-1], *(archs == CONV3).T[::-1], patterns]
    order = np.lexsort(keys)
    out: list[Stack] = []
    for group in np.split(order, np.nonzero(np.diff(patterns[order]))[0] + 1):
        for start in range(0, len(group), size):
            out.append(Stack(len(out), index[group[start : start + size]]))
    return out

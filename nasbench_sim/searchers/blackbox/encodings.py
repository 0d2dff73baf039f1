"""Cells as vectors for predictors: one-hot edges, and the paths from a cell's input to its output."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.searchers.blackbox.cells import one_hot
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]
Encoding = Literal["one-hot", "path"]
Target = Literal["log-error", "accuracy"]


def edges(space: Space) -> list[tuple[int, int]]:
    """(target, source) node of every decision named `target<-source`; raises `SpecError` where they are not.

    >>> from nasbench_sim.spaces import get_space
    >>> edges(get_space("nb201"))
    [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    """
    out = []
    for name in space.decisions:
        target, _, source = name.partition("<-")
        if not (target.isdigit() and source.isdigit()):
            raise SpecError(f"the decisions of space {space.name} are not edges 'target<-source' (got {name!r})")
        out.append((int(target), int(source)))
    return out


def paths(space: Space) -> list[list[int]]:
    """Decisions along every path from node 0 to the last node, shorter paths first.

    >>> from nasbench_sim.spaces import get_space
    >>> paths(get_space("nb201"))
    [[3], [0, 4], [1, 5], [0, 2, 5]]
    """
    arrows = edges(space)
    last = max(target for target, _ in arrows)

    def into(node: int) -> list[list[int]]:
        if node == 0:
            return [[]]
        return [[*way, d] for d, (target, source) in enumerate(arrows) if target == node for way in into(source)]

    return sorted(into(last), key=lambda way: (len(way), way))


def path_encoding(space: Space, archs: Array) -> npt.NDArray[np.float64]:
    """How often each sequence of operations is a path of the cell, `[n, sum_l K^l]` for path lengths l.

    155 columns in nb201 (5 + 25 + 125), sums over `archs[n, D]` equal the number of paths (4). Source: White et al.,
    BANANAS, AAAI 2021 (arXiv 1910.11858), whose indicators are counted here.
    """
    ways = paths(space)
    lengths = sorted({len(way) for way in ways})
    start = dict(zip(lengths, np.cumsum([0] + [space.K**n for n in lengths[:-1]]).tolist(), strict=True))
    out = np.zeros((len(archs), sum(space.K**n for n in lengths)))
    for way in ways:
        column = np.full(len(archs), start[len(way)], dtype=np.int64)
        for place, d in enumerate(reversed(way)):
            column += archs[:, d].astype(np.int64) * space.K**place
        out[np.arange(len(archs)), column] += 1
    return out


def encode(space: Space, archs: Array, encoding: Encoding) -> npt.NDArray[np.float64]:
    """`archs[n, D]` as vectors `[n, features]`; raises `SpecError` for an unknown encoding."""
    if encoding == "one-hot":
        return one_hot(space, archs)
    if encoding == "path":
        return path_encoding(space, archs)
    raise SpecError(unknown("encoding", encoding, get_args(Encoding)))


def targets(value: Array, target: Target) -> npt.NDArray[np.float64]:
    """What a predictor minimises, `[n]`, from accuracies in percent: log(100 - accuracy), or minus the accuracy.

    On the log scale cells near chance (10 % on cifar10) do not swamp the differences between good ones.

    >>> targets(np.array([90.0, 99.0]), "log-error").round(3).tolist()
    [2.303, 0.0]
    """
    accuracy = value.astype(np.float64)
    if target == "accuracy":
        return -accuracy
    if target == "log-error":
        return np.log(np.maximum(100 - accuracy, 1e-3))  # finite for a perfect cell
    raise SpecError(unknown("target", target, get_args(Target)))

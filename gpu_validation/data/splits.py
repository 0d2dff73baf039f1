"""Dividing labelled images into parts that hold the same number of every class, always the same way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]
_KEY = 201  # of the generator: which image goes where is part of what a data set here is


def stratified(labels: npt.NDArray[np.int64], parts: int) -> tuple[Index, ...]:
    """Indices of `parts` equal parts of every class, each in random order; what does not divide joins the first.

    >>> [len(part) for part in stratified(np.repeat(np.arange(2), 7), 3)]
    [6, 4, 4]
    """
    random = np.random.Generator(np.random.Philox(key=_KEY))
    pieces: list[list[Index]] = [[] for _ in range(parts)]
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        for held, some in zip(pieces, np.array_split(mine, parts), strict=True):
            held.append(some)
    return tuple(random.permutation(np.concatenate(held)) for held in pieces)

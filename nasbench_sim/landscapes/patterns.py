"""A seed's own pattern of gradients: what one supernet shows through some epochs and another one does not.

    f(t) = cos(pi x / 2) n_j + sin(pi x / 2) n_(j+1),    x = t - j, j = floor(t), n_j standard normal

has variance 1 at all times; patterns u apart are alike by `likeness(u)`. Draws are addressed by their number, so that a
search that goes on needs no memory of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]


def turning(draws: Streams, purpose: str, turns: float, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The pattern `[S, *shape]` after `turns` of them.

    >>> a, half, b = (turning(Streams([7]), "own", t, (30,)) for t in (0.0, 0.5, 1.0))
    >>> bool(np.allclose(half, (a + b) / 2**0.5, atol=1e-6))
    True
    """
    number, x = divmod(turns, 1)
    before = draws.normal(purpose, int(number), shape)
    if not x:
        return before
    after = draws.normal(purpose, int(number) + 1, shape)
    return np.float32(np.cos(np.pi / 2 * x)) * before + np.float32(np.sin(np.pi / 2 * x)) * after


def likeness(u: Array) -> Array:
    """Correlation of patterns that lie `u` turns apart, mean over when the first is looked at.

    >>> likeness(np.array([0.0, 1.0, 2.0])).round(3).tolist()
    [1.0, 0.318, 0.0]
    """
    x = (np.arange(400) + 0.5) / 400
    later = x + np.asarray(u, dtype=np.float64)[..., None]
    here, there, number = np.pi / 2 * x, np.pi / 2 * (later % 1), np.floor(later)
    same, next_ = np.cos(there - here), np.sin(here) * np.cos(there)
    return np.asarray(np.where(number == 0, same, np.where(number == 1, next_, 0)).mean(axis=-1))

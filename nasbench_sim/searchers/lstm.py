"""LSTM cells for a batch of seeds, forward and backward, and the rows that the decisions of a controller stand in.

Units first, `[unit, S, n, H]`: an operation on gates runs along contiguous memory. With gates beside each other in a
row it would run along H = 32 numbers at a time: 2.9 us a seed for a cell of 28 rows instead of 1.9
(tests/benchmarks/test_controller_bench.py). The forward pass leaves derivatives, not activations, so that the backward
pass only multiplies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

UNITS = 9  # of the forward pass: o, i, f, g, -, tanh(memory), state, i g, f memory
SLOPES = 6  # of the backward pass, see `Tape`


class Tape(NamedTuple):
    """What the forward pass leaves for the backward one, of the first `learn` cells.

    Rows stand for the prefixes, later the cells, of each decision t in turn: `rows[t]`, n_t of them (`prefixes`).
    `inputs` `[S, R, I]`, for each layer: what it multiplied. `slopes` `[6, S, n_t, H]`, for each layer and decision:
    d state / d z of o; d memory / d z of i, f, g; d state / d memory; f. `tops` `[S, R, H + 1]`: last state and 1.
    """

    learn: int
    rows: list[slice]
    inputs: list[Array]
    slopes: list[list[Array]]
    tops: Array


def forward(z: Array, before: Array) -> Array:
    """Memory `[S, n, H]` after one cell; `z[9, S, n, H]` holds z of o, i, f (halved) and g, and then all of `UNITS`.

    memory = f before + i g;  state = o tanh(memory);  sigmoid(x) = (1 + tanh(x / 2)) / 2, so that one call makes all
    gates. `before` may have one row for all n.

    >>> z = np.zeros((9, 1, 1, 2))
    >>> forward(z, np.full((1, 1, 2), 3.0)).tolist(), z[:4, 0, 0, 0].tolist()
    ([[[1.5, 1.5]]], [0.5, 0.5, 0.5, 0.0])
    """
    o, i, f, g, _, squashed, state, fresh, kept = z
    gates, sigmoids, half = z[:4], z[:3], z.dtype.type(0.5)
    np.tanh(gates, out=gates)
    sigmoids *= half
    sigmoids += half
    np.multiply(i, g, out=fresh)
    np.multiply(f, before, out=kept)
    memory = fresh + kept
    np.tanh(memory, out=squashed)
    np.multiply(o, squashed, out=state)
    return np.asarray(memory)


def leave_slopes(z: Array, out: Array) -> None:
    """Fill the slopes of a `Tape` with what `forward` left in `z`.

    With a = i g, b = f before and h = o tanh(memory): h (1 - o), a (1 - i), b (1 - f), i - a g, o - h tanh(memory), f.
    """
    products, crossed = z[6:], out[4:2:-1]
    np.multiply(products, z[:3], out=out[:3])
    np.subtract(products, out[:3], out=out[:3])
    np.multiply(products[:2], z[5:2:-2], out=crossed)  # h, a times tanh(memory), g
    np.subtract(z[:2], crossed, out=crossed)
    out[5] = z[2]


def backward(slopes: Array, on_state: Array, on_memory: Array, out: Array) -> None:
    """Gradient in z of o, i, f, g into `out[:4]`, `[5, S, n, H]`; `on_memory` becomes that in the memory before."""
    np.multiply(on_state, slopes[4], out=out[4])
    on_memory += out[4]
    np.multiply(on_state, slopes[0], out=out[0])
    np.multiply(slopes[1:4], on_memory, out=out[1:4])
    on_memory *= slopes[5]


def prefixes(cells: int, decisions: int, options: int) -> list[int]:
    """Rows of the first decisions: K^t, all prefixes that there are, while that is at most half the number of cells.

    From then on each cell has a row of its own. With 28 cells of 5 options this saves 50 of 168 rows.

    >>> prefixes(28, 6, 5), prefixes(100, 6, 5), prefixes(4, 6, 5)
    ([1, 5], [1, 5, 25], [1])
    """
    out = [1]
    while len(out) < decisions and 2 * options * out[-1] <= cells:
        out.append(options * out[-1])
    return out


def children(place: Array, options: int, *, last: bool) -> Array:
    """One-hot `[S or 1, n_(t + 1), n_t]` of the row that each row of the next decision goes on from.

    `place` `[S or 1, M, n_t]`: one-hot of each cell's row at this decision, the `last` whose rows are prefixes or not.
    """
    return place if last else np.repeat(np.eye(place.shape[2], dtype=place.dtype), options, axis=0)[None]


def added(x: Array) -> Array:
    """Sum over the first axis, in a fixed order."""
    out = x[0]
    for i in range(1, len(x)):
        out = out + x[i]
    return np.asarray(out)

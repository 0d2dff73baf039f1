"""What an option passes on while it is missing or untrained, and which fitted number belongs to which option.

The weight-sharing model replaces what is missing by "absent", a distribution over the options of the same decision:

    absent = v onehot(none) + (1 - v) average of the others,    v = none_visibility

In a decision without `none` nothing can be visible as an edge that is gone, so v = 0 there and absent is the average
of all its options: an untrained convolution says nothing about which operation it is. (The pooling alone would be the
other candidate, but then an untrained convolution and a pooling would look alike.)
A decision with neither `none` nor weights, such as the parents of a node, lacks nothing, ever.

Transfer: the parameters were fitted to a NAS-Bench-201 supernet. An option of another space takes the number of the
operation it is most like (`LIKE`), by name: 3x3 convolution, 1x1 convolution, 3x3 pooling, in NAS-Bench-1Shot1 in the
order conv-bn-relu, and with a maximum for an average. Options that are like none of them (sets of parents) have neither
rate nor preference. This is an assumption; no supernet of these spaces was recorded, and it shows: preferences are
nats, which weigh more where cells differ less. On nb1shot1-1 (completed) DARTS, DrNAS, BaLeNAS and PC-DARTS end on
max-pooling at 99 to 100 % of the operations (32 seeds, 50 epochs), median test regret 5.9 to 6.2 points against 2.6 of
a random cell, which the published searches do not. Methods that train single paths (GDAS, RSPS) make no progress in the
model's sense and see no preference. `preference={}` is the control: DARTS then ends at 1.5 points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.spaces import Space, nb201

Array = npt.NDArray[Any]

#: option of another space -> the operation of NAS-Bench-201 whose fitted numbers it takes
LIKE: Mapping[str, str] = {
    "conv3x3-bn-relu": "nor_conv_3x3",
    "conv1x1-bn-relu": "nor_conv_1x1",
    "maxpool3x3": "avg_pool_3x3",
}


def by_option(space: Space, values: Mapping[str, float], dtype: npt.DTypeLike) -> Array:
    """Numbers `[D, K]` from numbers by option name; 0 for an option that neither stands there nor is `LIKE` one.

    An option's own name goes before that of its like. In a space that has likes the other operations of NAS-Bench-201
    may be named, so that one set of parameters serves both. Raises `SpecError` for a name that means nothing here.

    >>> from nasbench_sim.spaces import get_space
    >>> fitted = {"nor_conv_3x3": -0.2, "avg_pool_3x3": 0.8, "skip_connect": 0.9}
    >>> by_option(get_space("nb1shot1-1"), fitted, "float64")[0, :3].tolist()
    [0.8, -0.2, 0.0]
    """
    known = dict.fromkeys(o for options in space.options for o in options)
    if any(option in LIKE for option in known):
        known |= dict.fromkeys(nb201.OPS)
    for name in values:
        if name not in known:
            shown = [o for o in known if not o[:1].isdigit()]  # not all the sets of parents
            raise SpecError(f"{space.name} has no option {name}: {unknown('option', name, shown)}")
    rows = np.zeros((space.D, space.K), dtype=np.float64)
    for d, options in enumerate(space.options):
        for k, option in enumerate(options):
            rows[d, k] = values.get(option, values.get(LIKE.get(option, ""), 0.0))
    return rows.astype(dtype)


def absent_weights(space: Space, none_visibility: float, dtype: npt.DTypeLike) -> Array:
    """The distribution `[D, K]` that a missing option stands for, see above.

    >>> from nasbench_sim.spaces import get_space
    >>> absent_weights(get_space("nb201"), 0.2, "float64")[0].tolist()
    [0.2, 0.2, 0.2, 0.2, 0.2]
    >>> absent_weights(get_space("nb1shot1-2"), 0.2, "float64")[0, :4].round(3).tolist()
    [0.333, 0.333, 0.333, 0.0]
    """
    others = (space.mask & ~space.none).astype(dtype)
    visible = np.where(space.none.any(axis=1, keepdims=True), none_visibility, 0.0).astype(dtype)
    out: Array = visible * space.none + (1 - visible) * others / others.sum(axis=1, keepdims=True)
    return out.astype(dtype)


def may_lack(space: Space) -> npt.NDArray[np.bool_]:
    """bool `[D]`: decisions in which something can be missing, those with `none` or with options that are trained."""
    return np.asarray((space.none | space.parametric).any(axis=1))


def extended(space: Space, tensor: Array, weights: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """`tensor` (shape `counts`) with one more option, "absent", where something can be missing; and its number `[D]`.

    The new entries are averages under `weights[D, K]`, in float64, rounded once. The number is -1 where nothing can be
    missing: on nb1shot1-3 the result has 5.5 million entries instead of 15.1.
    """
    out = tensor.astype(np.float64)
    lacking = may_lack(space)
    for d in np.flatnonzero(lacking):
        row = weights[d, : space.counts[d]].astype(np.float64)
        out = np.concatenate([out, np.expand_dims(np.tensordot(out, row, (d, 0)), d)], axis=d)
    return out.astype(tensor.dtype), np.where(lacking, space.counts, -1)

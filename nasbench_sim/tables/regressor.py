"""Predicting what was not measured from the architecture alone: features, a scikit-learn model, held-out quality.

The model is gradient boosting on histograms with the absolute error (`HistGradientBoostingRegressor`), fitted for each
column by itself. The absolute error because some cells failed in training: such accuracies (10 to 80 %) cannot be told
from the graph, and squares would bend the model for the sake of them. So it predicts medians, and never a failure.
`tests/benchmarks/test_regressor_bench.py` prints the quality on nb1shot1-1 beside that of other settings.

Features of a module: adjacency (21), operation of each inner vertex (15), how many paths from input to output have each
sequence of up to three operations (40), and sizes (14): vertices, edges, degrees, parameters, operations of each kind,
paths by length. Of any other space: its options, one-hot.

Quality is measured on five folds, each predicted by a model that saw the other four; architectures that are one
function stay in one fold, since the copy of a cell would give its answer away.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from nasbench_sim.errors import SpecError
from nasbench_sim.spaces import NB1Shot1, Space
from nasbench_sim.tables.module_codes import modules_of
from nasbench_sim.tables.nb1shot1 import class_modules
from nasbench_sim.tables.nb101_costs import parameters

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

#: of the model; the benchmark prints what others give
SETTINGS: dict[str, Any] = {"loss": "absolute_error", "max_iter": 300, "learning_rate": 0.06}
FOLDS = 5
FAILED = 80.0  # percent; below it something went wrong in training
_LONGEST = 3  # operations on a path that is counted
_FIRST = [(3**k - 1) // 2 for k in range(_LONGEST + 2)]  # number of the first sequence of k operations


class Features(NamedTuple):
    """What a model sees. Units are what is predicted: distinct modules, or architectures where there are none.

    `x` float32 `[U, F]`; `unit` `[A]`: the unit of each architecture; `group` `[U]`: units that are one function.
    """

    x: npt.NDArray[np.float32]
    unit: Index
    group: Index


class Quality(NamedTuple):
    """How well held-out measurements are predicted, over `n` of them: of modules, however many architectures they are.

    `tau` Kendall's tau-b; `tau_best` the same among the tenth with the largest measurements, which a search is about;
    `r2` the share of variance; `r2_trained` without accuracies below 80 %, where training failed (of a cost the same as
    `r2`); `mae` the mean absolute error.
    """

    n: int
    tau: float
    tau_best: float
    r2: float
    r2_trained: float
    mae: float


def features(space: Space) -> Features:
    """The features of every architecture of a space."""
    if isinstance(space, NB1Shot1):
        codes = class_modules(space)
        units = np.arange(len(codes))
        return Features(module_features(*modules_of(codes)), space.classes.astype(np.int64), units)
    every = np.arange(space.size)
    hot = [space.all[:, d, None] == np.arange(n) for d, n in enumerate(space.counts)]
    group = getattr(space, "classes", every)
    return Features(np.concatenate(hot, axis=1).astype(np.float32), every, np.asarray(group, dtype=np.int64))


def module_features(matrices: npt.NDArray[np.int8], labels: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Features `[N, 90]` of pruned modules `matrices[N, 7, 7]` with `labels[N, 7]` (see `module_codes.modules_of`).

    >>> chain = np.zeros((1, 7, 7), dtype=np.int8)
    >>> chain[0, 0, 1] = chain[0, 1, 6] = 1
    >>> module_features(chain, np.array([[-1, 2, 0, 0, 0, 0, -2]], dtype=np.int8)).shape
    (1, 90)
    """
    edges = matrices != 0
    there = edges.any(axis=1) | edges.any(axis=2)
    ops = np.stack([(labels == k) & there for k in range(3)], axis=-1)[:, 1:-1]
    rows, columns = np.triu_indices(matrices.shape[1], 1)
    counts, lengths = _paths(edges, ops)
    sizes = [there.sum(axis=1), edges.sum(axis=(1, 2)), edges[:, 0].sum(axis=1), edges[:, :, -1].sum(axis=1)]
    parts = (
        edges[:, rows, columns],
        ops.reshape(len(edges), -1),
        counts,
        np.stack([*sizes, parameters(matrices, labels) / 1e6], axis=1),
        ops.sum(axis=1),
        lengths,
    )
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def _paths(edges: npt.NDArray[np.bool_], ops: npt.NDArray[np.bool_]) -> tuple[Index, Index]:
    """Paths from input to output: `[N, 40]` by sequence of up to three operations, `[N, 6]` by number of operations."""
    n, v, _ = edges.shape
    by_sequence = np.zeros((v, n, _FIRST[-1]), dtype=np.int64)  # of the paths that end behind each vertex
    by_length = np.zeros((v, n, v - 1), dtype=np.int64)
    by_sequence[0, :, 0] = by_length[0, :, 0] = 1
    for at in range(1, v):
        arriving = sum(edges[:, u, at, None] * by_sequence[u] for u in range(at))
        lengths = sum(edges[:, u, at, None] * by_length[u] for u in range(at))
        assert isinstance(arriving, np.ndarray) and isinstance(lengths, np.ndarray)
        if at == v - 1:
            return arriving, lengths
        by_length[at, :, 1:] = lengths[:, :-1]
        for k in range(_LONGEST):
            longer = arriving[:, _FIRST[k] : _FIRST[k + 1], None] * ops[:, at - 1, None, :]
            by_sequence[at, :, _FIRST[k + 1] : _FIRST[k + 2]] = longer.reshape(n, -1)
    raise AssertionError("a module has an output")  # pragma: no cover


def predict(
    x: npt.NDArray[np.float32], y: Float64, group: Index, *, top: float, failed: float
) -> tuple[Float64, Quality]:
    """Predictions `[U]` for all units from the measured ones, and their quality on held-out measurements.

    `y[U]` is NaN where not measured; predictions are within 0..`top`. Units with equal `group` share a fold. Values
    below `failed` are left out of `r2_trained`. Raises `SpecError` where scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError as error:
        raise SpecError(
            "predicting what was not measured needs scikit-learn: pip install 'nasbench-sim[blackbox]'"
        ) from error

    def fitted(rows: Index, where: Index) -> Float64:
        model = HistGradientBoostingRegressor(**SETTINGS, early_stopping=False, random_state=0)
        return np.asarray(np.clip(model.fit(x[rows], y[rows]).predict(x[where]), 0.0, top), dtype=np.float64)

    known = np.flatnonzero(~np.isnan(y))
    fold = _folds(group[known])
    held_out = np.empty(len(known))
    for k in range(FOLDS):
        held_out[fold == k] = fitted(known[fold != k], known[fold == k])
    return fitted(known, np.arange(len(y))), _quality(held_out, y[known], failed)


def _folds(group: Index) -> Index:
    """Fold `[n]` of each measurement: whole groups, shuffled by a fixed permutation."""
    distinct, number = np.unique(group, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(distinct))[number] % FOLDS)


def _quality(predicted: Float64, measured: Float64, failed: float) -> Quality:
    good = measured >= failed
    best = measured >= np.quantile(measured, 0.9)
    return Quality(
        n=len(measured),
        tau=tau(predicted, measured),
        tau_best=tau(predicted[best], measured[best]),
        r2=_r2(predicted, measured),
        r2_trained=_r2(predicted[good], measured[good]),
        mae=round(float(np.abs(predicted - measured).mean()), 4),
    )


def tau(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Kendall's tau-b, to four decimals; 0 where one of them is constant, which ranks nothing.

    >>> tau([1, 2, 3], [1, 2, 4])
    1.0
    """
    return round(float(np.nan_to_num(kendalltau(a, b).statistic)), 4)


def _r2(predicted: Float64, measured: Float64) -> float:
    spread = float(((measured - measured.mean()) ** 2).sum())
    return round(1 - float(((predicted - measured) ** 2).sum()) / spread, 4) if spread else 0.0

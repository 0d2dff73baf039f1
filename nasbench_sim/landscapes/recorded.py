"""What a true supernet said: the one-shot accuracy of every cell under trained shared weights, as a landscape.

Once (a supernet trained to its end, then asked for every cell) or once an epoch of its training. The search then sees
the recorded ranking instead of the benchmark's: a supernet's ranking error without a supernet. The weights are those of
the recording, whatever the search does: a method's own way of training them has no effect here, and says nothing.

    nasbench-sim tables import nb201-supernet --join nb201 --csv nb201_oneshot_supernet_c10.csv.gz --unit percent \\
        --map oneshot_acc=cifar10/one-shot/600/single
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.landscapes.base import Horizon, LandscapeState, fresh_state
from nasbench_sim.landscapes.tabular import TabularLandscape
from nasbench_sim.tables.table import Seed, Table

Array = npt.NDArray[Any]
SPLIT = "one-shot"


class RecordedLandscape:
    """Expected one-shot error of the cells under the recorded weights, exactly.

    loss(theta) = sum_arch (1 - one_shot[t, arch] / 100) prod_d theta[d, arch_d], an error as a fraction of 1, with
    snapshot t = floor(n step / steps) of n: the recording is stretched over the search, whatever the length of either.
    Without a state, the last snapshot counts.

    Parameters
    ----------
    table: a table with one-shot accuracies beside its own (`tables import --join`). dataset, split, seed: of their
        keys. epochs: of the supernet's training, one or several in ascending order, a snapshot each; None takes all
        that the table holds. Raises `NotMeasured` where there are none, or one lacks a cell, and `SpecError` for epochs
        that do not ascend.
    dtype: float32 (default) or float64.

    Example
    -------
    >>> import numpy as np, nasbench_sim as nb
    >>> from nasbench_sim.tables.join import join
    >>> table = nb.open_table("nb201-analog")
    >>> key = nb.Key("cifar10", "one-shot", 600, "single")
    >>> more = join(table, "x", accuracy={key: np.full(15_625, 40, np.float32)}, metrics={}, sources=())
    >>> land = RecordedLandscape(more, dataset="cifar10")
    >>> land.epochs, round(float(land.loss_and_grad(None, np.full((1, 6, 5), 0.2))[0][0]), 3)
    ((600,), 0.6)
    """

    loss_name = "one-shot error (fraction)"
    offers: frozenset[str] = frozenset()

    def __init__(
        self,
        table: Table,
        *,
        dataset: str,
        split: str = SPLIT,
        epochs: int | Sequence[int] | None = None,
        seed: Seed = "single",
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        found = [key for key in table.accuracy if (key.dataset, key.split, key.seed) == (dataset, split, seed)]
        held = sorted(key.epochs for key in found if isinstance(key.epochs, int))
        if not held:
            raise NotMeasured(
                f"table {table.name} has no {split} accuracies of {dataset} (seed {seed}); add them with "
                f"`tables import NAME --join {table.name} --csv FILE --map COLUMN={dataset}/{split}/EPOCHS/{seed}`"
            )
        asked = held if epochs is None else [epochs] if isinstance(epochs, int) else list(epochs)
        if not asked or sorted(set(asked)) != asked:
            raise SpecError(f"epochs of snapshots are given once each and ascend, not {asked}")
        self.epochs = tuple(asked)
        self.space = table.space
        self.dtype = np.dtype(dtype)
        about: dict[str, Any] = {"dataset": dataset, "split": split, "seed": seed, "dtype": dtype}
        self._snapshots = [TabularLandscape(table, epochs=e, **about) for e in asked]

    def snapshot(self, state: LandscapeState | None, rows: int) -> Array:
        """Which snapshot `[rows]` (0 is the first) each search sees; the last one without a state."""
        last = len(self._snapshots) - 1
        if state is None:
            return np.full(rows, last)
        total = np.maximum(state.epochs * state.steps_per_epoch, 1)
        return np.asarray(np.minimum(state.step * len(self._snapshots) // total, last))

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """State for `seeds[S]`: only the step counter moves."""
        return fresh_state(self.space, seeds, horizon, self.dtype)

    def _by_snapshot(
        self, state: LandscapeState | None, given: Array, ask: Callable[[TabularLandscape, Array], tuple[Array, ...]]
    ) -> tuple[Array, ...]:
        """`ask` of each snapshot for those rows of `given` that see it, put together again."""
        which = self.snapshot(state, len(given))
        if (which == which[:1]).all():  # searches of one batch go in step
            return ask(self._snapshots[int(which[0]) if len(which) else -1], given)
        parts = [(np.flatnonzero(which == t), t) for t in np.unique(which).tolist()]
        answers = [ask(self._snapshots[t], given[rows]) for rows, t in parts]
        order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
        return tuple(np.concatenate(some)[order] for some in zip(*answers, strict=True))

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """Exact loss `[...]` and gradient `[..., D, K]` at `theta[..., D, K]`, without a mini-batch's noise."""
        loss, grad = self._by_snapshot(state, theta, lambda land, some: land.loss_and_grad(None, some))
        return loss, grad

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """Raises `SpecError`: recorded weights do not learn."""
        raise SpecError("a second-order gradient goes through shared weights that learn, and recorded ones do not")

    def proxy(self, name: str, archs: Array, *, dataset: str | None = None) -> Array:
        """Proxy scores `[S, M]` of `archs[S, M, D]`; NaN where never computed. Raises `NotMeasured`."""
        return self._snapshots[0].proxy(name, archs, dataset=dataset)

    def gradient(self, state: LandscapeState | None, theta: Array) -> Array:
        """Exact gradient `[S, D, K]`."""
        return self.loss_and_grad(state, theta)[1]

    def hessian(self, state: LandscapeState | None, theta: Array) -> Array:
        """Exact Hessian `[S, D*K, D*K]` in theta."""
        return self._by_snapshot(state, theta, lambda land, some: (land.hessian(None, some),))[0]

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """One-shot error `[S, M]` of `archs[S, M, D]`: a gather (the recording is of the whole validation set)."""
        return self._by_snapshot(state, archs, lambda land, some: (land.arch_loss(None, some),))[0]

    def train_weights(self, state: LandscapeState, usage: Array, steps: int) -> LandscapeState:
        """Counts the steps: the recorded supernet was trained already."""
        return state._replace(step=state.step + steps)

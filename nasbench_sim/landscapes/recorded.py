"""What a true supernet said: the one-shot accuracy of every cell under trained shared weights, as a landscape.

Once (a supernet trained to its end, then asked for every cell) or once an epoch of its training. The search then sees
the recorded ranking instead of the benchmark's: a supernet's ranking error without a supernet. The weights are those of
the recording, whatever the search does: a method's own way of training them has no effect here, and says nothing.

Two commands make such tables. The first is a published supernet beside its benchmark, one snapshot; the second is the
project's own, a snapshot an epoch (`split="valid"`, `seed` the seed of the recorded search):

    nasbench-sim tables import nb201-supernet --join nb201 --csv nb201_oneshot_supernet_c10.csv.gz --unit percent \\
        --map oneshot_acc=cifar10/one-shot/600/single
    gpu-validation record rsps --epochs 50 --every 1 --cells 0 --out runs/rsps
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.landscapes.base import Horizon, LandscapeState, Paths, fresh_state
from nasbench_sim.landscapes.tabular import TabularLandscape
from nasbench_sim.tables.table import Epochs, Key, Seed, Table

Array = npt.NDArray[Any]
SPLIT = "one-shot"


class RecordedLandscape:
    """Expected one-shot error of the cells under the recorded weights, exactly.

    loss(theta) = sum_arch (1 - one_shot[t, arch] / 100) prod_d theta[d, arch_d], an error as a fraction of 1.

    Which snapshot t counts is a step function of the search's epoch e = floor(step / steps_per_epoch), 0, 1, ... and at
    most its last: the newest one whose epochs are <= e + 1, and before there is one, the first. So epoch e sees the
    weights as they were at the end of the recorded epoch e, a single snapshot is seen throughout, and what was recorded
    beyond the length of the search is never seen. Without a state, the last snapshot counts.

    Parameters
    ----------
    table: a table with one-shot accuracies. dataset, split, seed: of their keys. epochs: of the supernet's training,
        one or several in ascending order, a snapshot each; None takes all that the table holds, `"unstated"` the one
        of a source that does not say. Raises `NotMeasured` where there are none, or one lacks a cell, and `SpecError`
        for epochs that do not ascend.
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
        epochs: Epochs | Sequence[int] | None = None,
        seed: Seed = "single",
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        held = [key.epochs for key in table.accuracy if (key.dataset, key.split, key.seed) == (dataset, split, seed)]
        if not held:
            raise NotMeasured(_nothing(table, dataset, split, seed))
        asked = _asked(epochs, held)
        for e in asked:
            _refuse_holes(table, Key(dataset, split, e, seed))
        self.epochs = tuple(asked)
        self.space = table.space
        self.dtype = np.dtype(dtype)
        about: dict[str, Any] = {"dataset": dataset, "split": split, "seed": seed, "dtype": dtype}
        self._snapshots = [TabularLandscape(table, epochs=e, **about) for e in asked]

    def snapshot(self, state: LandscapeState | None, rows: int) -> Array:
        """Which snapshot `[rows]` (0 is the first) each search sees; the last one without a state."""
        if state is None or len(self.epochs) == 1:
            return np.full(rows, len(self.epochs) - 1)
        epoch = np.minimum(state.step // np.maximum(state.steps_per_epoch, 1), state.epochs - 1)
        return np.asarray(np.maximum(np.searchsorted(np.asarray(self.epochs), epoch + 1, side="right") - 1, 0))

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

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """Counts the steps: the recorded supernet was trained already."""
        return state._replace(step=state.step + steps)


def _asked(epochs: Epochs | Sequence[int] | None, held: list[Epochs]) -> list[Epochs]:
    """The snapshots asked for; of None those of known age in their order, or else the one of unknown age."""
    if epochs is None:
        return [*sorted(e for e in held if isinstance(e, int))] or held
    given: list[Any] = [*epochs] if np.iterable(epochs) and not isinstance(epochs, str) else [epochs]
    whole = given and all(isinstance(e, (int, np.integer)) and not isinstance(e, bool) for e in given)
    if given != ["unstated"] and not (whole and sorted(set(given)) == given):
        raise SpecError(f"epochs of snapshots are whole numbers that ascend, each given once, not {epochs!r:.60}")
    return [int(e) if whole else e for e in given]


def _nothing(table: Table, dataset: str, split: str, seed: Seed) -> str:
    have = list(dict.fromkeys(f"{key.dataset}/{key.split}/seed {key.seed}" for key in table.accuracy))
    shown = ", ".join(have[:6]) + (f" and {len(have) - 6} more" if len(have) > 6 else "")
    return (
        f"table {table.name} has no {split} accuracies of {dataset} (seed {seed}), only {shown}; choose one, or add "
        f"yours with `tables import NAME --join {table.name} --csv FILE --map COLUMN={dataset}/{split}/EPOCHS/{seed}`"
    )


def _refuse_holes(table: Table, key: Key) -> None:
    """Raise `NotMeasured` where the supernet was not asked for every cell, or not after these epochs."""
    values = table.values(**key._asdict(), missing="nan")
    there = int(np.count_nonzero(~np.isnan(values)))
    if there < len(values):
        raise NotMeasured(
            f"table {table.name}: {key} was recorded for {there} of {len(values)} architectures, and a search needs "
            "all; record every cell with `gpu-validation record METHOD --cells 0`"
        )

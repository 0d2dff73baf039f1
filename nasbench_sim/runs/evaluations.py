"""One batch of black-box searches on simulated clocks: the same face as `engine.Batch`, point by point of a curve.

A search trains one cell after another; each evaluation costs the simulated seconds that its table gives, and the clock
is their plain sum. Seeds go in lockstep by evaluation number; a seed whose next evaluation does not fit into what is
left of the budget makes no more (with `overrun` the last one may end late, as in the published scripts). An "epoch" of
the record is one of E equal steps of simulated time: what was known by budget * (e + 1) / E seconds.

Everything that decides numbers is in `Progress`: the history and the method's own memory are slots of its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.landscapes.base import Horizon, fresh_state
from nasbench_sim.runs.engine import Batch, Progress
from nasbench_sim.runs.problem import check_composition
from nasbench_sim.runs.record import HISTORY
from nasbench_sim.runs.spec import RunSpec
from nasbench_sim.searchers.base import State, replace, rows
from nasbench_sim.searchers.blackbox import BlackBox, Cost, History, Problem, make_problem
from nasbench_sim.searchers.registry import get_method
from nasbench_sim.streams import Streams
from nasbench_sim.tables.table import Table

Array = npt.NDArray[Any]

#: simulated seconds of a search where none are asked for: NAS-Bench-201 on cifar10, NATS-Bench (table 4) on the others
BUDGETS: Mapping[str, float] = {"cifar10": 12_000.0, "cifar100": 40_000.0, "ImageNet16-120": 120_000.0}
MOST_EVALUATIONS = 10_000  # a search's history takes 13 + D bytes each, held for every seed of a part
_HISTORY, _METHOD = "history/", "method/"


class EvaluationParams(BaseModel):
    """`landscape_params` of a run on landscape "evaluations".

    `cost`: "seconds" of the table's training times, or "evaluations" (each costs 1, the budget counts them).
    `fidelities`: training epochs that a search may use, default all the table has. `overrun`: the last evaluation may
    end after the budget; the published scripts let it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cost: Cost = "seconds"
    fidelities: list[int] | None = None
    overrun: bool = False

    @classmethod
    def load(cls, params: Mapping[str, Any]) -> EvaluationParams:
        """The parameters of a specification; raises `SpecError` for unknown names and impossible values."""
        for name in params:
            if name not in cls.model_fields:
                raise SpecError(f"landscape 'evaluations': {unknown('parameter', name, cls.model_fields)}")
        try:
            return cls(**params)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise SpecError(f"landscape 'evaluations': {problems}") from error


class Evaluations(NamedTuple):
    """The landscape of a black-box search, as far as a record speaks of it."""

    loss_name: str = "validation error (fraction) of the incumbent at its own number of epochs"


class EvaluationBatch:
    """A batch of seeds of one black-box specification on one table.

    Raises `SpecError` or `NotMeasured` for what cannot run: another family's method, a table without the costs or
    fidelities, a budget in which a search might end before its first evaluation.
    """

    def __init__(self, spec: RunSpec, table: Table, seeds: npt.ArrayLike) -> None:
        self.spec, self.table = spec, table
        self.seeds = np.asarray(seeds, dtype=np.int64)
        check_composition(spec)
        params = EvaluationParams.load(spec.landscape_params)
        self.searcher: BlackBox = get_method(spec.method).make(**spec.params)
        self.problem = make_problem(table, spec.dataset, fidelities=params.fidelities, cost=params.cost)
        self.landscape = Evaluations()
        self.levels = self.searcher.levels(self.problem)
        self.overrun = params.overrun
        self.budget = _budget(spec, self.problem, self.levels)
        self.capacity = _capacity(self.budget, self.problem, self.levels, self.overrun)
        self._roles = table.report_keys_for(spec.dataset)
        self._streams = Streams(self.seeds)

    @property
    def epochs(self) -> int:
        """Points of the anytime curve."""
        return self.spec.epochs

    def start(self) -> Progress:
        """Nothing trained yet; the curve is NaN (cells -1)."""
        s, e, space = len(self.seeds), self.spec.epochs, self.problem.space
        curve: dict[str, Array] = {name: np.full((s, e), np.nan, dtype=np.float32) for name in (*HISTORY, *self._roles)}
        curve["archs"] = np.full((s, e, space.D), -1, dtype=np.int8)
        history = History.empty(s, self.capacity, space.D)
        state = State(
            seeds=self.seeds,
            step=history.count,
            alpha=np.zeros((s, space.D, space.K), dtype=np.float32),
            mask=np.broadcast_to(space.mask, (s, space.D, space.K)).copy(),
            slots={
                **{_HISTORY + name: array for name, array in history._asdict().items() if name != "count"},
                **{_METHOD + name: array for name, array in self.searcher.init(space, self.seeds).items()},
                "ended": np.zeros(s, dtype=np.bool_),
            },
        )
        shared = fresh_state(space, self.seeds, Horizon(e, 1), np.float32)
        return Progress(0, state, shared, curve, {}, np.full(s, -1, dtype=np.int64))

    def advance(self, progress: Progress) -> Progress:
        """One point of the curve further: every search past its moment, or ended."""
        epoch, state = progress.epoch, progress.state
        moment = self.budget * (epoch + 1) / self.spec.epochs
        state = self._search_until(moment, state)
        history = history_of(state)
        seen = history if epoch + 1 == self.spec.epochs else history.at(moment)
        curve = {name: values.copy() for name, values in progress.history.items()}
        for name, values in self._point(seen).items():
            curve[name][:, epoch] = values
        return progress._replace(epoch=epoch + 1, state=state, history=curve)

    def _search_until(self, moment: float, state: State) -> State:
        """Evaluations in lockstep until every search that goes on has one that ends after `moment`."""
        history = History(*(a.copy() for a in history_of(state)))
        ended = state.slots["ended"].copy()
        memory = {k.removeprefix(_METHOD): v for k, v in state.slots.items() if k.startswith(_METHOD)}
        going = np.nonzero(~ended)[0]
        n = int(history.count[going[0]]) if len(going) else 0  # the same for all that go on: they are in lockstep
        some, own = rows(history, going), rows(memory, going)
        now = some.clock[:, n - 1] if n else np.zeros(len(going))
        while len(going) and (now <= moment).any():
            noise = _Rows(self._streams, None if len(going) == len(self.seeds) else going)
            archs, fidelity, after = self.searcher.propose(self.problem, some.first(n), own, noise, n)
            value, seconds = self.problem.evaluate(archs, fidelity)
            then = now + seconds
            fits = now < self.budget if self.overrun else then <= self.budget
            if not fits.all():
                stopped, left = going[~fits], np.nonzero(fits)[0]
                ended[stopped] = True
                _write(history, stopped, rows(some, ~fits), n)
                memory = replace(memory, stopped, rows(own, ~fits))
                going, some, after = going[left], rows(some, left), rows(after, left)
                archs, fidelity, value, then = archs[left], fidelity[left], value[left], then[left]
                if not len(left):
                    break
            some.archs[:, n], some.fidelity[:, n], some.value[:, n], some.clock[:, n] = archs, fidelity, value, then
            some = some._replace(count=some.count + 1)
            now, own, n = then, after, n + 1
        if len(going):
            _write(history, going, some, n)
            memory = replace(memory, going, own)
        slots = {
            **{_HISTORY + name: array for name, array in history._asdict().items() if name != "count"},
            **{_METHOD + name: array for name, array in memory.items()},
            "ended": ended,
        }
        return state._replace(step=history.count, slots=slots)

    def _point(self, seen: History) -> dict[str, Array]:
        """What the record says of one moment; NaN and cells of -1 where nothing was trained by then."""
        space = self.problem.space
        best = seen.incumbent()
        some, each = best >= 0, np.arange(len(best))
        archs = np.where(some[:, None], seen.archs[each, best], -1)
        index = space.index(np.maximum(archs, 0))

        def known(values: Array) -> Array:
            return np.where(some, values, np.nan).astype(np.float32)

        out = {
            "loss": known(1 - seen.value[each, best].astype(np.float64) / 100),
            "skip_ratio": known(space.skip[np.arange(space.D), np.maximum(archs, 0)].mean(axis=1)),
            "active_ops": np.full(len(best), space.mask.sum(), dtype=np.float32),
            "archs": archs,
        }
        return out | {role: known(self.table.accuracy[key][index]) for role, key in self._roles.items()}

    def final_state(self, progresses: Sequence[Progress]) -> dict[str, Array]:
        """What a record keeps of the searches of all parts: every evaluation, cut after the longest search.

        `evaluations` int64 `[S]`; `seconds` float64 `[S]`, the clock after the last one; `budget` float64 `[S]`;
        `evaluated_archs` int8 `[S, N, D]`, `evaluated_epochs` int64 `[S, N]` (-1: epochs not stated, 0: not made),
        `evaluated_valid` float32 `[S, N]` percent, `evaluated_clock` float64 `[S, N]` (NaN: not made); and what the
        method itself adds.
        """
        parts = [history_of(p.state) for p in progresses]
        merged = History(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        history = merged.first(int(merged.count.max(initial=0)))
        epochs = np.array([e if isinstance(e, int) else -1 for e in self.problem.fidelities] + [0], dtype=np.int64)
        last = history.count - 1
        return {
            "evaluations": history.count,
            "seconds": history.clock[np.arange(len(last)), last],
            "budget": np.full(len(last), self.budget),
            "evaluated_archs": history.archs,
            "evaluated_epochs": epochs[history.fidelity],
            "evaluated_valid": history.value,
            "evaluated_clock": history.clock,
            **self.searcher.outcome(self.problem, history),
        }


def make_batch(spec: RunSpec, table: Table, seeds: npt.ArrayLike) -> Batch | EvaluationBatch:
    """The batch of a specification: on simulated clocks for landscape "evaluations", by epochs for the others."""
    if spec.landscape == "evaluations":
        return EvaluationBatch(spec, table, seeds)
    return Batch(spec, table, np.asarray(seeds))


class _Rows:
    """The noise of some rows of a batch: a seed's draws do not depend on who else is still searching."""

    def __init__(self, streams: Streams, index: Array | None) -> None:
        self._streams, self._index = streams, index

    def normal(self, purpose: str, step: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal draws."""
        draws = self._streams.normal(purpose, step, shape)
        return draws if self._index is None else draws[self._index]

    def uniform(self, purpose: str, step: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Uniform draws on [0, 1)."""
        draws = self._streams.uniform(purpose, step, shape)
        return draws if self._index is None else draws[self._index]


def history_of(state: State) -> History:
    """The evaluations that a batch's state holds (no copies)."""
    archs, fidelity, value, clock = (state.slots[_HISTORY + name] for name in History._fields[:-1])
    return History(archs, fidelity, value, clock, state.step)


def _write(history: History, index: Array, some: History, n: int) -> None:
    """Put the first n evaluations of `some` into the rows `index` of `history`, in place."""
    for whole, part in zip(history[:-1], some[:-1], strict=True):
        whole[index, :n] = part[:, :n]
    history.count[index] = n


def _budget(spec: RunSpec, problem: Problem, levels: Sequence[int]) -> float:
    """The budget of a specification, or the published one; raises `SpecError` for none and for too small a one."""
    budget = spec.budget
    if budget is None:
        if problem.cost == "evaluations":
            raise SpecError("a search that counts evaluations needs their number: give a budget, e.g. 100")
        if spec.dataset not in BUDGETS:
            raise SpecError(f"no published budget for data set {spec.dataset}: give one in simulated seconds")
        budget = BUDGETS[spec.dataset]
    dearest = float(problem.seconds[levels[0]].max())
    if budget < dearest:
        raise SpecError(
            f"a budget of {budget:g} may end before the first evaluation: the dearest cell takes {dearest:g} "
            f"{problem.cost} at {problem.fidelities[levels[0]]} epochs; give at least that"
        )
    return float(budget)


def _capacity(budget: float, problem: Problem, levels: Sequence[int], overrun: bool) -> int:
    """The most evaluations that fit: the budget over the cheapest; raises `SpecError` beyond `MOST_EVALUATIONS`."""
    cheapest = float(problem.seconds[list(levels)].min())
    most = int(budget / cheapest * (1 + 1e-9)) + overrun  # a sum of rounded costs may come out a little short
    if most > MOST_EVALUATIONS:
        raise SpecError(
            f"a budget of {budget:g} {problem.cost} holds up to {most} evaluations of the cheapest cell "
            f"({cheapest:g} each); at most {MOST_EVALUATIONS} a search, so give at most {MOST_EVALUATIONS * cheapest:g}"
        )
    return most

"""Plans of recordings: methods x settings x seeds on true supernets, one job each, resumable and safe to kill.

    OUT/traces/LABEL-seedN.h5     the trace of a job, written as it goes; finished when it has all epochs
    OUT/work/LABEL-seedN/         checkpoints of the job in progress, then the record of its run
    OUT/work/LABEL-seedN.lock     held by the process that is at it: several may work on one plan

Jobs are independent: whatever is stopped goes on where it was, and several processes share a plan without being told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gpu_validation import checkpoint
from gpu_validation.data import Dataset
from gpu_validation.search import NAME, SupernetSearch
from gpu_validation.settings import SupernetSettings, make_settings
from gpu_validation.tracing import Tracer
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.files import held, read_text
from nasbench_sim.resources import data_path
from nasbench_sim.runs.ablate_yaml import MAX_BYTES, parse_yaml
from nasbench_sim.runs.engine import Progress
from nasbench_sim.runs.trace import Trace
from nasbench_sim.searchers import get_method

SHIPPED = tuple(sorted(path.stem for path in data_path("plans").glob("*.yaml")))
#: `on_job(job, number, jobs in all)`, `on_tick(number, epochs done, epochs in all)`
OnJob = Callable[["Job", int, int], None]
OnTick = Callable[[int, int, int], None]


class Entry(BaseModel):
    """One line of a plan: a method in one setting, for some seeds.

    `label` names it in files (default: the method, and C where the entry sets `channels`); `net` replaces single
    settings of the plan's supernet. `epochs` and `seeds` replace the plan's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: str
    label: str = Field(default="", pattern=r"^[a-z0-9][a-z0-9._-]*$|^$", max_length=60)
    params: dict[str, Any] = Field(default_factory=dict)
    net: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=list)
    epochs: int | None = Field(default=None, ge=1, le=100_000)


class Plan(BaseModel):
    """Everything that a plan file says. Unknown keys, methods and settings are refused, labels stand once."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=40)
    about: str = ""
    data: str
    net: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int] = Field(min_length=1)
    epochs: int = Field(ge=1, le=100_000)
    every: int = Field(default=5, ge=1)
    cells: int = Field(default=500, ge=0)
    runs: list[Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Plan:
        labels = [label(entry) for entry in self.runs]
        twice = next((name for name in labels if labels.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two runs are called {twice}; give one of them a label")
        for entry in self.runs:
            seeds = entry.seeds or self.seeds
            if len(set(seeds)) < len(seeds) or min(seeds) < 0:
                raise ValueError(f"the seeds of {label(entry)} are at least 0, each once")
        return self


class Job(NamedTuple):
    """One search of a plan."""

    name: str
    method: str
    params: Mapping[str, Any]
    settings: SupernetSettings
    seed: int
    epochs: int


def label(entry: Entry) -> str:
    """Name of an entry's files.

    >>> label(Entry(method="darts", net={"channels": 4}))
    'darts-c4'
    """
    width = f"-c{entry.net['channels']}" if "channels" in entry.net else ""
    return entry.label or f"{entry.method}{width}"


def read_plan(what: str | Path) -> Plan:
    """The plan in a YAML file, or the shipped one of that name; raises `SpecError`, one line, for a bad one.

    >>> read_plan("breadth").data
    'fashion-mini'
    """
    path = data_path("plans", f"{what}.yaml") if str(what) in SHIPPED else Path(what)
    try:
        values = parse_yaml(read_text(path, MAX_BYTES))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); give a plan, or {', '.join(SHIPPED)}") from error
    except (SpecError, ValueError) as error:
        raise SpecError(f"{path}: {error}") from error
    try:
        plan = Plan(**values)
        for job in jobs(plan):
            get_method(job.method).make(**job.params)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors())
        raise SpecError(f"{path}: {'; '.join(problems)}") from error
    except TypeError as error:
        raise SpecError(f"{path}: {error}") from error
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    return plan


def jobs(plan: Plan) -> list[Job]:
    """All searches of a plan, the first seed of every entry first; raises `SpecError` for impossible settings."""
    out: list[tuple[int, int, Job]] = []
    for entry in plan.runs:
        settings = make_settings(**{**plan.net, **entry.net})
        for place, seed in enumerate(entry.seeds or plan.seeds):
            name = f"{label(entry)}-seed{seed}"
            job = Job(name, entry.method, entry.params, settings, seed, entry.epochs or plan.epochs)
            out.append((place, len(out), job))
    return [job for _, _, job in sorted(out, key=lambda item: item[:2])]


def trace_path(out: Path, job: Job) -> Path:
    """Where a job's trace is."""
    return out / "traces" / f"{job.name}.h5"


def finished(out: Path, job: Job) -> bool:
    """Whether the job's trace has all its epochs."""
    path = trace_path(out, job)
    return path.is_file() and Trace.load(path).epochs >= job.epochs


def run_plan(
    plan: Plan,
    dataset: Dataset,
    out: Path,
    *,
    device: str = "cpu",
    only: str = "",
    on_job: OnJob | None = None,
    on_tick: OnTick | None = None,
) -> list[Path]:
    """Do every job of `plan` that is not done and that no other process is at; returns the traces that are whole.

    `only`: jobs whose name begins so. Raises `SpecError` where `only` fits none, `RunError` where a folder holds
    something else.
    """
    listed = [job for job in jobs(plan) if job.name.startswith(only)]
    if not listed:
        raise SpecError(
            f"plan {plan.name} has no run called {only}...; it has {', '.join(label(e) for e in plan.runs)}"
        )
    work = out / "work"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write into {out} ({error.strerror}); choose another folder") from error
    for number, job in enumerate(listed):
        with held(work / f"{job.name}.lock") as mine:
            if not mine:
                continue
            if not finished(out, job):
                if on_job is not None:
                    on_job(job, number, len(listed))
                _do(plan, job, dataset, out, device, None if on_tick is None else _numbered(on_tick, number))
            elif on_tick is not None:
                on_tick(number, job.epochs, job.epochs)
    return [trace_path(out, job) for job in listed if finished(out, job)]


def _do(
    plan: Plan,
    job: Job,
    dataset: Dataset,
    out: Path,
    device: str,
    on_tick: Callable[[int, int, Progress], None] | None,
) -> None:
    how: dict[str, Any] = {"params": job.params, "device": device}
    search = SupernetSearch(job.method, job.settings, dataset, (job.seed,), job.epochs, **how)
    folder = out / "work" / job.name
    tracer = Tracer(search, trace_path(out, job), every=plan.every, cells=plan.cells)
    begun = bool(checkpoint.numbers(folder / "checkpoints", NAME))
    tracer.run(folder, resume=begun, on_tick=on_tick)


def _numbered(on_tick: OnTick, number: int) -> Callable[[int, int, Progress], None]:
    return lambda done, total, _: on_tick(number, done, total)

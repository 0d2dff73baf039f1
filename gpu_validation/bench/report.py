"""One bench run: the gate, the paired times, where the time goes; a JSON document and one figure of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from gpu_validation.bench.kernels import kernel_times, shares
from gpu_validation.bench.measure import Paired, clock_for, copy_bandwidth, machine, paired
from gpu_validation.bench.options import BenchOptions
from gpu_validation.bench.step import Candidate, candidates, gate, runs
from gpu_validation.devices import find_device
from nasbench_sim.errors import RunError
from nasbench_sim.files import atomic_path

#: candidates that speeds are told against
BASES = ("reference, contiguous", "reference, channels_last")
PARTS = ("architecture", "weights")


def run_bench(options: BenchOptions, *, named: list[Candidate] | None = None) -> dict[str, Any]:
    """Measure what the options say; write bench.json and bench.png where they name a folder; return the document.

    The document: `machine`, `options`, `gate` and, where the gate is green, `results` a candidate (median
    seconds of the bilevel step and its two parts, speedups against both references: median, least and largest over
    repeats), `copy_bytes_per_second`, `shares` by kind of operation, `kernels` on a GPU. A red gate leaves `results`
    empty and says in `refused` which candidate differs: no speed is reported for a wrong result. Raises `RunError`
    where the device is absent or memory runs out.
    """
    device = find_device(options.device)
    with _threads(options.threads), _memory(options):
        found = named if named is not None else candidates(options)
        document: dict[str, Any] = {
            "schema": 1,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine(device),
            "options": {k: v for k, v in vars(options).items() if k != "out"},
            "gate": gate(found, options, device),
        }
        document |= _measured(found, options, device, document["gate"])
    if options.out is not None:
        write(document, options)
    return document


def write(document: Mapping[str, Any], options: BenchOptions) -> None:
    """bench.json and, where there are results, bench.png in `options.out`, each whole or not at all."""
    assert options.out is not None
    with atomic_path(options.out / "bench.json") as part:
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if document["results"]:
        from gpu_validation.bench.figure import draw

        draw(document, options.out / "bench.png")


def _measured(
    named: list[Candidate], options: BenchOptions, device: torch.device, verdict: Mapping[str, Any]
) -> dict[str, Any]:
    if not verdict["equal"]:
        wrong = ", ".join(name for name, equal in verdict["by_candidate"].items() if not equal)
        return {"results": {}, "refused": f"no speed is reported: {wrong} does not compute the reference's gradients"}
    calls = runs(named, options, device)
    times = paired(calls, repeats=options.repeats, warmup=options.warmup, clock=clock_for(device))
    names = [candidate.name for candidate in named]
    document: dict[str, Any] = {
        "results": {name: result(steps(times, names), times, name) for name in names},
        "copy_bytes_per_second": copy_bandwidth(device),
    }
    if options.profile:
        both = {name: _both(calls, name) for name in names}
        document["shares"] = {name: shares(call) for name, call in both.items()}
        document["kernels"] = {name: kernel_times(call, device) for name, call in both.items()}
    return document


def steps(times: Paired, names: list[str]) -> Paired:
    """Times of whole bilevel steps: the two parts of the same repeat added."""

    def added(by_part: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        parts = {name: [by_part[f"{name} | {part}"] for part in PARTS] for name in names}
        return {name: tuple(map(sum, zip(*both, strict=True))) for name, both in parts.items()}

    return Paired(added(times.seconds), added(times.cpu_seconds))


def result(whole: Paired, times: Paired, name: str) -> dict[str, Any]:
    """One candidate's figures."""
    out: dict[str, Any] = {"seconds": whole.median(name), "repeats": list(whole.seconds[name])}
    for part in PARTS:
        out[f"seconds_{part}"] = times.median(f"{name} | {part}")
    for base in BASES:
        if base in whole.seconds:
            for key, cpu in (("speedup", False), ("speedup_cpu_time", True)):
                median, least, largest = whole.speedup(name, base, cpu=cpu)
                out.setdefault(key, {})[base] = {"median": median, "min": least, "max": largest}
    return out


def _both(calls: Mapping[str, Callable[[], object]], name: str) -> Callable[[], object]:
    return lambda: [calls[f"{name} | {part}"]() for part in PARTS]


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _memory(options: BenchOptions) -> Iterator[None]:
    """Out of memory in one line, with a batch that would fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) and "can't allocate memory" not in text:
            raise
        smaller = max(1, options.batch // 2)
        need = options.memory() / 2**30
        raise RunError(
            f"out of memory: batch {options.batch} needs at least {need:.1f} GiB a candidate; try --batch {smaller}"
        ) from error

"""The bench: pairs are pairs, a wrong result has no speed, files are whole, mistakes are told. No times are judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gpu_validation.bench import figure, kernels, report  # noqa: E402
from gpu_validation.bench.measure import Paired, clock_for, paired  # noqa: E402
from gpu_validation.bench.options import BenchOptions  # noqa: E402
from gpu_validation.bench.report import run_bench, steps  # noqa: E402
from gpu_validation.bench.step import BilevelStep, Candidate, candidates, distance, gate, gradients  # noqa: E402
from gpu_validation.devices import find_device  # noqa: E402
from gpu_validation.reference.nb201 import cell as reference_cell  # noqa: E402
from nasbench_sim.errors import RunError, SpecError  # noqa: E402

CPU = torch.device("cpu")
TINY: dict[str, Any] = {"channels": 4, "cells": 1, "batch": 4, "side": 8, "repeats": 2, "threads": 1}


def off_by_little(*args: Any, **options: Any) -> Any:
    """A cell that is wrong by 1e-4 in one gate's gradient scale."""
    x, w1, w3, gates = args[:4]
    scale = torch.ones(6, 5, dtype=gates.dtype)
    scale[2, 3] = 1.0001
    return reference_cell(x, w1, w3, gates * scale, *args[4:], **options)


def test_repeats_are_interleaved_and_ratios_are_within_a_repeat() -> None:
    order: list[str] = []
    seconds = iter([1.0, 2.0, 30.0, 10.0, 3.0, 5.0])

    def clock(run: Any) -> tuple[float, float]:
        run()
        return next(seconds), 1.0

    both = {name: (lambda name=name: order.append(name)) for name in ("slow", "fast")}
    times = paired(both, repeats=3, warmup=1, clock=clock)
    assert order == ["slow", "fast", "slow", "fast", "fast", "slow", "slow", "fast"]
    assert times.seconds == {"slow": (1.0, 10.0, 3.0), "fast": (2.0, 30.0, 5.0)}
    assert times.speedup("fast", "slow") == (0.5, 1 / 3, 0.6)
    assert times.speedup("fast", "slow", cpu=True) == (1.0, 1.0, 1.0)
    for bad in ({"repeats": 0}, {"repeats": 1, "warmup": -1}):
        with pytest.raises(SpecError, match="nothing to time"):
            paired(both, **bad)
    with pytest.raises(SpecError, match="0 candidates"):
        paired({}, repeats=1)


def test_a_step_is_the_sum_of_its_parts_of_the_same_repeat() -> None:
    times = {"a | architecture": (1.0, 2.0), "a | weights": (10.0, 20.0)}
    assert steps(Paired(times, times), ["a"]).seconds == {"a": (11.0, 22.0)}


def test_the_gate_lets_the_fused_cell_pass_and_stops_one_that_is_wrong_by_little() -> None:
    options = BenchOptions(**TINY)
    named = [*candidates(options), Candidate("wrong", off_by_little)]
    verdict = gate(named, options, CPU)
    assert verdict["by_candidate"] == {**{c.name: True for c in named}, "wrong": False}
    assert not verdict["equal"]
    assert 0 < verdict["errors"]["fused"]["weights"] < 1e-5


def test_no_speed_is_reported_for_a_wrong_result(tmp_path: Path) -> None:
    named = [Candidate("reference, contiguous", reference_cell, "contiguous"), Candidate("wrong", off_by_little)]
    document = run_bench(BenchOptions(**TINY, out=tmp_path / "b"), named=named)
    assert document["results"] == {} and "shares" not in document
    assert document["refused"] == "no speed is reported: wrong does not compute the reference's gradients"
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["bench.json"]


def test_a_run_writes_what_it_returns_and_draws_it(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    document = run_bench(BenchOptions(**TINY, out=tmp_path))
    assert json.loads((tmp_path / "bench.json").read_text()) == json.loads(json.dumps(document))
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.json", "bench.png"]
    assert torch.get_num_threads() == before and document["machine"]["threads"] == 1
    for name, found in document["results"].items():
        assert len(found["repeats"]) == 2 and min(found["repeats"]) > 0
        assert set(found["speedup"]) == set(report.BASES)
        assert abs(sum(document["shares"][name].values()) - 1) < 1e-9
        assert document["kernels"][name] == []
    base = document["results"]["reference, contiguous"]["speedup"]["reference, contiguous"]
    assert base == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert document["shares"]["fused"]["convolution"] > 0
    figure.draw({**document, "shares": {}}, tmp_path / "one_panel.png")


def test_the_steps_compute_only_what_they_use() -> None:
    step = BilevelStep(candidates(BenchOptions(**TINY))[2], BenchOptions(**TINY), CPU)
    before = [w.detach().clone() for w in step.weights]
    step.architecture_gradient()
    assert step.alpha.grad is None and all(w.grad is None and w.requires_grad for w in step.weights)
    step.weight_step()
    assert step.alpha.grad is None
    assert all(not w.equal(b) for w, b in zip(step.weights, before, strict=True))  # every weight takes part


def test_candidates_start_from_the_same_numbers() -> None:
    options = BenchOptions(**TINY)
    one, other = (gradients(BilevelStep(c, options, CPU, torch.float64)) for c in candidates(options)[::2])
    assert all(distance(one[key], other[key]) < 1e-11 for key in one)
    again = gradients(BilevelStep(candidates(options)[0], options, CPU, torch.float64, seed=1))
    assert distance(again["weights"], one["weights"]) > 0.1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": 0}, "channels is 0; give a whole number from 1 to 256"),
        ({"cells": 21}, "cells is 21"),
        ({"batch": 2.5}, "batch is 2.5"),
        ({"repeats": True}, "repeats is True"),
        ({"warmup": -1}, "warmup is -1; give a whole number from 0"),
        ({"threads": 0}, "threads is 0"),
        ({"side": 2}, "side is 2; give a whole number from 4"),
        ({"side": 30}, "give a multiple of 4"),
        ({"batch": 1, "side": 4}, "one value a channel"),
        ({"device": "tpu"}, "device 'tpu' is unknown; give cpu, cuda or cuda:0"),
        ({"device": "cuda:x"}, "device 'cuda:x' is unknown"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        BenchOptions(**wrong)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(SpecError, match="is a file; give a folder"):
        BenchOptions(out=tmp_path / "f")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_told() -> None:
    with pytest.raises(SpecError, match="CUDA device"):
        run_bench(BenchOptions(device="cuda"))
    assert find_device("cpu") == CPU and clock_for(CPU)(lambda: None)[0] >= 0


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.cuda.OutOfMemoryError("full")],
)
def test_out_of_memory_names_a_batch_that_may_fit(error: Exception) -> None:
    def full(*args: Any, **options: Any) -> Any:
        raise error

    with pytest.raises(RunError, match=r"out of memory: batch 4 needs at least 0\.0 GiB a candidate; try --batch 2"):
        run_bench(BenchOptions(**TINY), named=[Candidate("reference, contiguous", full)])


def test_other_errors_are_not_called_out_of_memory() -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_bench(BenchOptions(**TINY), named=[Candidate("reference, contiguous", broken)])


def test_every_operation_of_a_step_that_takes_time_has_a_kind() -> None:
    """A renamed operation would fall into `other` and the profile would say little."""
    step = BilevelStep(candidates(BenchOptions(**TINY))[0], BenchOptions(**{**TINY, "channels": 16, "side": 16}), CPU)
    found = kernels.shares(step.architecture_gradient)
    assert all(found[k] > 0 for k in ("convolution", "batch norm", "pooling", "element-wise"))
    assert kernels.kind("aten::avg_pool2d_backward") == "pooling"
    assert kernels.kind("aten::convolution_backward") == kernels.kind("aten::mkldnn_convolution") == "convolution"
    assert kernels.kind("aten::native_batch_norm_backward") == "batch norm"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(tmp_path: Path) -> None:
    document = run_bench(BenchOptions(**{**TINY, "channels": 16}, device="cuda", out=tmp_path))
    assert document["gate"]["equal"] and document["results"]["triton"]["seconds"] > 0
    assert document["kernels"]["triton"] and document["copy_bytes_per_second"] > 1e10

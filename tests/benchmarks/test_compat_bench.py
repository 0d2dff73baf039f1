"""What a question to the drop-in costs, beside nats_bench 1.8 on the same files with everything loaded.

Run with `pytest tests/benchmarks/test_compat_bench.py --benchmark-only --benchmark-enable`. No time is asserted.
"asked before" is what a search does all day; "first" works the answer out anew.
"""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.compat import create

SLICES = (0, 11, 284)
RUNS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")
QUESTIONS = {
    "200 epochs, mean": ("200", False),
    "200 epochs, a random trial": ("200", True),
    "12 epochs, mean": ("12", False),
    "12 epochs, a random trial": ("12", True),
}

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> str:
    return str(shared_data / "nats_tss_sample" / "NATS-tss-v1_0-3ffb9-simple")


def api_of(who: str, folder: str) -> Any:
    """Ours, drawing from the same generator; or nats_bench, which unpickles: only ever give it files you trust."""
    if who == "nats_bench":
        return pytest.importorskip("nats_bench").create(folder, "tss", fast_mode=True, verbose=False)
    if who == "a seed, indices of an array":
        return create(folder, "tss", fast_mode=True, verbose=False, rng=0)
    return create(folder, "tss", fast_mode=True, verbose=False, rng=random, strict_compat=True)


@pytest.mark.parametrize("who", ["nats_bench", "asked before", "a seed, indices of an array", "first"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_more_info(benchmark: Any, folder: str, who: str, question: str) -> None:
    """Twelve questions: three architectures on four data sets."""
    benchmark.group = f"get_more_info, {question}"
    api = api_of(who, folder)
    hp, which = QUESTIONS[question]
    cells = np.array(SLICES) if who == "a seed, indices of an array" else SLICES  # nats_bench takes no such index
    asked = [(cell, run, None, hp, which) for cell, run in product(cells, RUNS)]

    def ask() -> list[Any]:
        if who == "first":
            api._answers.clear()
        return [api.get_more_info(*one) for one in asked]

    ask()
    answers = benchmark(ask)
    reference = create(folder, "tss", verbose=False, rng=0)
    for one, answer in zip(asked, answers, strict=True):
        seeds = reference.query_by_index(one[0], one[1], hp) if which else [False]
        accuracies = {reference.get_more_info(*one[:4], seed)["train-accuracy"] for seed in seeds}
        assert answer["train-accuracy"] in accuracies
    if benchmark.stats is not None:
        benchmark.extra_info["us/question"] = round(benchmark.stats.stats.median / len(asked) * 1e6, 2)


@pytest.mark.parametrize("who", ["nats_bench", "ours"])
def test_simulated_training(benchmark: Any, folder: str, who: str) -> None:
    benchmark.group = "simulate_train_eval, 12 epochs"
    api = api_of(who, folder)
    out = benchmark(api.simulate_train_eval, 11, "cifar10")
    assert 0 < out[0] < 100 < out[2]


@pytest.mark.parametrize("who", ["nats_bench", "ours"])
def test_reading_an_architecture(benchmark: Any, folder: str, who: str) -> None:
    benchmark.group = "reading the file of an architecture"
    api = api_of(who, folder)
    benchmark(api.reload, folder, 11)
    assert 11 in api.evaluated_indexes

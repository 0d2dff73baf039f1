"""`create` answers as nats_bench 1.8 does: every method over a grid of arguments, errors included."""

from __future__ import annotations

import inspect
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from nasbench_sim.compat import nats_bench as ours_package
from nasbench_sim.spaces import NB201
from tests.compat.helpers import CELLS, KINDS, RUNS, answers, assert_same, outcome, sample

theirs_package = pytest.importorskip("nats_bench")
SPACE = NB201()
ALL_SKIP = SPACE.strings[1835]


class Named:
    """An architecture object of another package."""

    def __init__(self, text: str) -> None:
        self.text = text

    def tostr(self) -> str:
        return self.text


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = sample(request.param, tmp_path_factory, request)
    ours = ours_package.create(str(folder), "tss", fast_mode=True, verbose=False, rng=random, strict_compat=True)
    return ours, theirs_package.create(str(folder), "tss", fast_mode=True, verbose=False)


def both(pair: tuple[Any, Any], ask: Any, rel: float = 0.0, seed: int = 5) -> None:
    """The same question to both, each after the same seeding of the global generator; the same draws after it."""
    random.seed(seed)
    ours, after = outcome(pair[0], ask), random.random()
    random.seed(seed)
    theirs = outcome(pair[1], ask)
    assert_same(ours, theirs, rel)
    if not isinstance(theirs, Exception):
        assert after == random.random()


@pytest.mark.parametrize("dataset", [*RUNS, "mnist"])
def test_more_info(pair: tuple[Any, Any], dataset: str) -> None:
    for cell, iepoch, hp, which in itertools.product(
        (*CELLS, SPACE.strings[11], Named(SPACE.strings[284]), "|none~0|", -1, 15_625),
        (None, 0, 5, 11, 12, 199, 200, -1),
        ("12", "200", 200, "90"),
        (False, True, 777, 999, 111, 5, "any", None),
    ):
        both(pair, lambda api, c=cell, e=iepoch, h=hp, w=which: api.get_more_info(c, dataset, e, h, w))


def test_the_same_defaults(pair: tuple[Any, Any]) -> None:
    for run in RUNS:
        both(pair, lambda api, run=run: api.get_more_info(11, run))
        both(pair, lambda api, run=run: api.get_cost_info(11, run))
        both(pair, lambda api, run=run: api.get_latency(11, run))
    both(pair, lambda api: api.simulate_train_eval(11, "cifar10"))


@pytest.mark.parametrize("hp", ["12", "200"])
@pytest.mark.parametrize("cell", CELLS)
def test_results_of_an_architecture(pair: tuple[Any, Any], cell: int, hp: str) -> None:
    ours, theirs = (answers(api.query_meta_info_by_index(cell, hp)) for api in pair)
    for name, value in theirs.items():
        assert_same(ours[name], value)
    for run in (*RUNS, "mnist"):
        both(pair, lambda api, run=run: sorted(api.query_by_index(cell, run, hp)))
        both(pair, lambda api, run=run: api.get_cost_info(cell, run, hp))
        both(pair, lambda api, run=run: api.get_net_config(cell, run))
        for seed in (None, 777, 1):
            both(pair, lambda api, run=run, seed=seed: api.get_net_param(cell, run, seed, hp))
        both(
            pair, lambda api, run=run: api.query_meta_info_by_index(cell, hp).get_metrics(run, "train", is_random=True)
        )
    both(pair, lambda api: api.query_by_arch(cell, hp))
    both(pair, lambda api: api.query_info_str_by_arch(SPACE.strings[cell], hp))


def test_unknown_budgets(pair: tuple[Any, Any]) -> None:
    both(pair, lambda api: api.query_meta_info_by_index(0, "90"))
    both(pair, lambda api: api.query_by_index(0, "cifar10", "90"))
    both(pair, lambda api: api.query_info_str_by_arch(0, "90"))
    both(pair, lambda api: api.find_best("cifar10", "test", hp="90", enforce_all=False))


def test_simulated_training_is_accounted_alike(pair: tuple[Any, Any]) -> None:
    for api in pair:
        api.reset_time()
    for cell, dataset, iepoch, hp, account in itertools.product(
        CELLS, ("cifar10", "cifar100", "ImageNet16-120", "cifar10-valid"), (None, 3, 50), ("12", "200"), (True, False)
    ):
        both(pair, lambda api, c=cell, d=dataset, e=iepoch, h=hp, a=account: api.simulate_train_eval(c, d, e, h, a))
    assert pair[0].used_time == pair[1].used_time > 0
    pair[0].reset_time()
    assert pair[0].used_time == 0


def test_indices_strings_and_names(pair: tuple[Any, Any]) -> None:
    for arch in (0, 15_624, 15_625, -1, ALL_SKIP, "|none~0|", Named(ALL_SKIP), Named("no"), None, 3.5, [1]):
        both(pair, lambda api, arch=arch: api.query_index_by_arch(arch))
    for index in (0, 1835, 15_624, 15_625, -1):
        both(pair, lambda api, index=index: api.arch(index))
    for index in (0, 11, 284, 1835, 9930, ALL_SKIP):
        both(pair, lambda api, index=index: api.get_unique_str(index))
    both(pair, lambda api: (len(api), api[3], api.meta_archs, api.archstr2index[ALL_SKIP]))
    both(pair, lambda api: (api.is_size, api.is_topology, api.full_train_epochs, api.search_space_name))
    both(pair, lambda api: [api.random() for _ in range(20)])
    both(pair, lambda api: sorted(api.avaliable_hps))


def test_string_forms() -> None:
    for text in (ALL_SKIP, SPACE.strings[11], "|nor_conv_1x1~0|+|none~0|none~1|", "|sep~0|"):
        for name in ("str2lists", "str2matrix"):
            results = [
                outcome(p.NATStopology, lambda c, n=name, t=text: getattr(c, n)(t))
                for p in (ours_package, theirs_package)
            ]
            assert_same(*results)


def test_the_best_of_what_was_asked_for(pair: tuple[Any, Any]) -> None:
    for api in pair:
        for cell in CELLS:
            api.query_meta_info_by_index(cell, "12")
        assert set(CELLS) <= set(api.evaluated_indexes)
    cases = itertools.product(
        (*RUNS, "mnist"), ("train", "valid", "test", "x-valid", "ori-test", "mine"), (None, 100.0, 1.0), (None, 0.5)
    )
    for dataset, split, flops, params in cases:
        for hp in ("12", "200"):
            both(
                pair,
                lambda api, d=dataset, s=split, f=flops, p=params, h=hp: api.find_best(
                    d, s, f, p, h, enforce_all=False
                ),
            )
    for dataset in (*RUNS, "mnist"):
        both(pair, lambda api, d=dataset: api.statistics(d, 200))


def test_reading_anew(pair: tuple[Any, Any]) -> None:
    for index in (11, 1, -1, 15_625):
        ours, theirs = (outcome(api, lambda a, i=index: a.reload(a.archive_dir, i)) for api in pair)
        assert isinstance(ours, Exception) == isinstance(theirs, Exception)
    both(pair, lambda api: api.get_more_info(11, "cifar10", hp="200", is_random=False))


def test_errors_of_creation(tmp_path: Path) -> None:
    for asked in ((str(tmp_path / "no"), "tss", True), (str(tmp_path), "tssx", True), (3, "tss", False)):
        for package in (ours_package, theirs_package):
            assert isinstance(outcome(package, lambda m, asked=asked: m.create(*asked, verbose=False)), ValueError)
    assert theirs_package.search_space_info("nats-bench", "tss") == ours_package.search_space_info("nats-bench", "tss")
    assert ours_package.version() == theirs_package.version()


def test_the_same_signatures() -> None:
    """Parameters of the original come first, in its order, with its names and defaults."""
    for name, theirs in inspect.getmembers(theirs_package.NATStopology, inspect.isfunction):
        if not name.startswith("_"):
            ours = inspect.signature(getattr(ours_package.NATStopology, name)).parameters
            for one, other in zip(ours.values(), inspect.signature(theirs).parameters.values(), strict=True):
                assert (one.name, one.default) == (other.name, other.default), name
    for ours_function, theirs_function in (
        (ours_package.create, theirs_package.create),
        (ours_package.NATStopology, theirs_package.NATStopology),
    ):
        pairs = zip(
            inspect.signature(ours_function).parameters.values(),
            inspect.signature(theirs_function).parameters.values(),
            strict=False,
        )
        assert all((one.name, one.default) == (other.name, other.default) for one, other in pairs)

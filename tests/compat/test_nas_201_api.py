"""`NASBench201API` answers as nas_201_api 2.1 does, whose package needs torch to be imported."""

from __future__ import annotations

import copy
import inspect
import itertools
import random
import warnings
from typing import Any

import pytest

from nasbench_sim.compat import Absent, CompatWarning, NASBench201API
from nasbench_sim.compat.sources import FolderTrials
from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.spaces import NB201
from tests.compat.helpers import CELLS, KINDS, RUNS, answers, assert_same, made_up, outcome
from tests.tables.nats_factory import FOLDER, nb201_object

SPACE = NB201()
ULPS = 1e-14  # numpy's mean adds in another order


def content() -> dict[str, Any]:
    """A loaded .pth file of three architectures."""
    return nb201_object({cell: made_up(cell) for cell in CELLS})


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Ours and theirs on the same dictionary: made up, or the published sample put into the layout of a .pth file."""
    theirs = pytest.importorskip("nas_201_api", reason="nas-bench-201 (and torch) are not installed")
    loaded = content()
    if request.param == "real":
        source = FolderTrials(request.getfixturevalue("shared_data") / "nats_tss_sample" / FOLDER)
        paths = {cell: next(path for path in source._paths(cell) if path.is_file()) for cell in CELLS}
        loaded = nb201_object({cell: source._content(cell, path) for cell, path in paths.items()})
    ours = NASBench201API(copy.deepcopy(loaded), verbose=False, rng=random, strict_compat=True)
    return ours, theirs.NASBench201API(loaded, verbose=False)


def both(pair: tuple[Any, Any], ask: Any) -> None:
    random.seed(5)
    ours, after = outcome(pair[0], ask), random.random()
    random.seed(5)
    theirs = outcome(pair[1], ask)
    if isinstance(theirs, (AssertionError, UnboundLocalError, NameError)):  # ours raises what it documents
        assert isinstance(ours, (Absent, SpecError))
        return
    assert_same(ours, theirs, ULPS)
    if not isinstance(theirs, Exception):
        assert after == random.random()


def test_more_info(pair: tuple[Any, Any]) -> None:
    for cell, run, iepoch, hp, which in itertools.product(
        (*CELLS, SPACE.strings[11], 5), (*RUNS, "mnist"), (None, 0, 11, 12, 199), ("12", "200"), (False, True, 777, "x")
    ):
        both(pair, lambda api, c=cell, r=run, e=iepoch, h=hp, w=which: api.get_more_info(c, r, e, h, w))


@pytest.mark.parametrize("hp", ["12", "200"])
def test_every_other_method(pair: tuple[Any, Any], hp: str) -> None:
    for cell in CELLS:
        ours, theirs = (answers(api.query_meta_info_by_index(cell, hp)) for api in pair)
        for name, value in theirs.items():
            if isinstance(value, AssertionError):
                assert isinstance(ours[name], (Absent, SpecError))
            else:
                assert_same(ours[name], value, ULPS)
        both(pair, lambda api, c=cell: api.query_info_str_by_arch(c, hp))
        for run in (*RUNS, "mnist"):
            both(pair, lambda api, c=cell, r=run: api.get_cost_info(c, r, hp))
            both(pair, lambda api, c=cell, r=run: api.get_latency(c, r, hp))
            both(pair, lambda api, c=cell, r=run: sorted(api.query_by_index(c, r, hp)))
            both(pair, lambda api, c=cell, r=run: api.get_net_config(c, r))
            both(pair, lambda api, c=cell, r=run: api.get_net_param(c, r, None, hp))
            both(pair, lambda api, c=cell, r=run: api.simulate_train_eval(c, r, hp))
    for run, split, flops, params in itertools.product(
        (*RUNS, "mnist"), ("train", "valid", "test", "ori-test"), (None, 100.0), (None, 0.45)
    ):
        both(pair, lambda api, r=run, s=split, f=flops, p=params: api.find_best(r, s, f, p, hp))
    both(pair, lambda api: (len(api), api[7], api.arch(7), api.evaluated_indexes, sorted(api.avaliable_hps)))
    both(pair, lambda api: [api.random() for _ in range(10)])
    both(pair, lambda api: api.str2lists(SPACE.strings[9]) and api.str2matrix(SPACE.strings[9]))
    assert pair[0].used_time == pytest.approx(pair[1].used_time, rel=ULPS)


def test_networks_that_differ_are_averaged_only_in_strict_mode() -> None:
    """The 200-epoch runs of cell 11 state different networks, as 150 cells of the benchmark do."""
    api = NASBench201API(content(), verbose=False)
    stated = [t.params for t in api.query_by_index(11, "cifar100", "200").values()]
    with pytest.warns(CompatWarning, match="seed 888"):
        assert api.get_cost_info(11, "cifar100", "200")["params"] == stated[1]
    strict = NASBench201API(content(), verbose=False, rng=random, strict_compat=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert strict.get_cost_info(11, "cifar100", "200")["params"] == pytest.approx(sum(stated) / 2)


def test_a_pth_file_is_read_without_torch(tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "small.pth"
    torch.save(content(), path)
    api = NASBench201API(path, verbose=False)
    held = NASBench201API(content(), verbose=False)
    for cell, run in itertools.product(CELLS, RUNS):
        asked = (cell, run, None, "200", False)
        assert api.get_more_info(*asked) == held.get_more_info(*asked)


def test_what_cannot_be_read_says_what_can(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from nasbench_sim.compat import sources

    big = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    big.write_bytes(b"x" * 200)
    monkeypatch.setattr(sources, "MAX_HELD", 100)
    for what, said in (
        (big, "tables import NAME --from FILE"),
        (tmp_path / "no.pth", "does not exist"),
        ({"meta_archs": []}, "no arch2infos"),
        ("nothing-here", "unknown table"),
        (str(tmp_path / "x.json"), "check the path"),
    ):
        with pytest.raises(TableError, match=said):
            NASBench201API(what, verbose=False)
    with pytest.raises(SpecError, match="not supported"):
        NASBench201API(content(), verbose=False).reload(str(tmp_path), 1)


def test_the_same_signatures() -> None:
    theirs_package = pytest.importorskip("nas_201_api", reason="nas-bench-201 (and torch) are not installed")
    for name, theirs in inspect.getmembers(theirs_package.NASBench201API, inspect.isfunction):
        if not name.startswith("_"):
            ours = inspect.signature(getattr(NASBench201API, name)).parameters
            for one, other in zip(ours.values(), inspect.signature(theirs).parameters.values(), strict=True):
                same_default = list(one.default) == other.default if other.name == "search_space" else None
                assert one.name == other.name and (same_default or one.default == other.default), name

"""Who the members are: pools that methods share, cells of searches, what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.ensembles import nes_bs, nes_rs
from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.runs.ensemble_study import find_members, make_study
from nasbench_sim.spaces import NB201
from tests.ensembles.synthetic import class_cells, make_pair

CELLS = class_cells()
VALID, TEST = make_pair(CELLS, 12, second=600)
FEW = VALID.subset(np.arange(40))
SPEC = make_study(sizes=(1, 2, 3), repetitions=20, pool=30)


@pytest.fixture(scope="module")
def runs() -> dict[str, nb.Run]:
    """A few steps of bpnas with restarts and of parsec."""
    table = nb.open_table("nb201-analog")
    how = {"table": table, "dataset": "cifar10", "seeds": 6, "epochs": 2, "steps_per_epoch": 30, "workers": 1}
    return {
        "bpnas": nb.search("bpnas", params={"members": 3, "member_epochs": 1, "lr": 0.1}, **how),
        "posterior": nb.search("parsec", params={"lr": 0.1}, **how),
    }


def test_pools_are_shared_and_selection_is_that_of_nes_rs() -> None:
    found = find_members(SPEC.model_copy(update={"methods": ("random", "nes-rs")}), FEW, {})
    assert (found["nes-rs"].sets[3] == nes_rs(FEW, range(20), size=3, pool=30)).all()
    assert all(found[name].pooled and found[name].n == 20 for name in found)
    assert all(len(set(row.tolist())) == 3 for row in found["random"].sets[3])
    # a random ensemble's members lie in the pool of the same repetition: with a pool of 3 both take all of it
    small = find_members(SPEC.model_copy(update={"methods": ("random", "nes-rs"), "pool": 3}), FEW, {})
    assert (np.sort(small["random"].sets[3]) == np.sort(small["nes-rs"].sets[3])).all()


def test_deep_ensembles_take_one_cell_and_as_many_seeds_as_there_are() -> None:
    found = find_members(make_study(sizes=(1, 2, 3), repetitions=5, pool=400, methods=("deep",)), VALID, {})["deep"]
    assert list(found.sets) == [1, 2] and "600 of 6466 cells have 2 training seeds" in found.note
    for pair in found.sets[2]:
        assert (VALID.archs[pair[0]] == VALID.archs[pair[1]]).all() and VALID.seeds[pair].tolist() == [0, 1]
    alone = find_members(make_study(sizes=(1,), repetitions=5, pool=30, methods=("deep", "nes-rs")), FEW, {})
    assert (alone["deep"].sets[1] == alone["nes-rs"].sets[1]).all()  # one seed a cell: the best of the pool
    with pytest.raises(NotMeasured, match="no cell has 2 training seeds, only 1"):
        find_members(make_study(sizes=(2,), repetitions=5, pool=30, methods=("deep",)), FEW, {})


def test_restarts_are_mapped_to_the_network_of_their_class(runs: dict[str, nb.Run]) -> None:
    found = find_members(make_study(sizes=(1, 3), methods=("bpnas",)), VALID, runs)["bpnas"]
    space = NB201()
    cells = runs["bpnas"].members["archs"].astype(np.int64)
    rows = found.sets[3]
    assert (space.classes[space.index(VALID.archs[rows])] == space.classes[space.index(cells)]).all()
    assert (VALID.seeds[rows] == 0).all() and (found.asked, found.failed, found.uncovered) == (6, 0, 0)
    assert (found.sets[1] == rows[:, :1]).all() and not found.pooled


def test_searches_without_predictions_are_counted_and_left_out(runs: dict[str, nb.Run]) -> None:
    cells = np.array(runs["bpnas"].members["archs"], dtype=np.int64)
    cells[0, 1] = -1  # a restart that broke
    cells[1] = 3  # six 3x3 convolutions: not among the predictions below
    run = replace(runs["bpnas"], members={**runs["bpnas"].members, "archs": cells})
    space = NB201()
    lost = space.classes[space.index([3] * 6)]
    some = VALID.subset(np.nonzero(space.classes[space.index(VALID.archs)] != lost)[0])
    found = find_members(make_study(sizes=(1, 3), methods=("bpnas",)), some, {"bpnas": run})["bpnas"]
    others = int((space.classes[space.index(cells[2:])] == lost).any(axis=1).sum())
    assert (found.failed, found.uncovered, found.n) == (1, 1 + others, 4 - others)
    with pytest.raises(NotMeasured, match="none of 6 bpnas searches has members with predictions"):
        none = replace(run, members={**run.members, "archs": np.full_like(cells, 3)})
        find_members(make_study(sizes=(1, 3), methods=("bpnas",)), some, {"bpnas": none})


def test_nes_bs_samples_every_search_from_its_own_distribution(runs: dict[str, nb.Run]) -> None:
    theta = np.zeros((6, 6, 5), dtype=np.float32)
    own = NB201().at(CELLS[10:16])
    theta[np.arange(6)[:, None], np.arange(6), own] = 1
    run = replace(runs["posterior"], final_state={**runs["posterior"].final_state, "theta": theta})
    found = find_members(make_study(sizes=(1, 2), methods=("nes-bs",)), VALID, {"posterior": run})["nes-bs"]
    assert found.sets[2].tolist() == [[10 + i] * 2 for i in range(6)]
    assert "0.00 nats a decision, 100.0 % of their probability" in found.note
    with pytest.raises(NotMeasured, match="no parsec search has probability on cells with predictions"):
        find_members(make_study(sizes=(1,), methods=("nes-bs",)), VALID.subset([0, 1]), {"posterior": run})
    one = nes_bs(VALID.subset(np.arange(len(CELLS))), theta[2], [0], size=2)
    assert one.tolist() == [found.sets[2][2].tolist()]


def test_selection_never_sees_the_test_split(runs: dict[str, nb.Run]) -> None:
    with pytest.raises(SpecError, match="selected on validation predictions"):
        find_members(SPEC, TEST, runs)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sizes": ()}, "sizes are different numbers 1..100"),
        ({"sizes": (2, 1)}, "in rising order"),
        ({"sizes": (0,)}, "sizes are different numbers"),
        ({"sizes": (101,)}, "sizes are different numbers"),
        ({"repetitions": 0}, "repetitions: Input should be greater than or equal to 1"),
        ({"methods": ("nes-rx",)}, "unknown ensemble method 'nes-rx'; did you mean 'nes-rs'"),
        ({"methods": ("random", "random")}, "methods are different names"),
    ],
)
def test_specifications_that_make_no_sense(fields: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        make_study(**fields)


def test_runs_and_pools_that_do_not_fit(runs: dict[str, nb.Run]) -> None:
    with pytest.raises(SpecError, match="bpnas needs a run: bpnas"):
        find_members(make_study(methods=("bpnas",)), VALID, {})
    with pytest.raises(SpecError, match="ensembles of 10 need a bpnas run with as many members, this one has 3"):
        find_members(make_study(methods=("bpnas",)), VALID, runs)
    with pytest.raises(SpecError, match="this one has none"):
        find_members(make_study(methods=("bpnas",)), VALID, {"bpnas": runs["posterior"]})
    with pytest.raises(SpecError, match="records no final distribution"):
        find_members(make_study(methods=("nes-bs",)), VALID, {"posterior": runs["bpnas"]})
    with pytest.raises(SpecError, match=r"a pool of 400 from 40 trained cells .* choose --pool 10..40"):
        find_members(make_study(methods=("nes-rs",)), FEW, {})

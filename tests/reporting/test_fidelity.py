"""Simulated against recorded: right where the simulator is the recorder, bad where it is not, and always the same."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import RunError, SpecError, TableError
from nasbench_sim.files import read_text
from nasbench_sim.landscapes import SharedWeightsParams
from nasbench_sim.reporting.fidelity import fidelity, write_fidelity
from nasbench_sim.reporting.fidelity.page import render
from nasbench_sim.reporting.fidelity.parameters import load_parameters
from nasbench_sim.reporting.fidelity.simulate import Job, follow
from nasbench_sim.reporting.fidelity.transfer import SETTINGS, transfer_jobs
from nasbench_sim.reporting.fidelity.verdict import verdict
from nasbench_sim.reporting.one_shot import one_shot
from nasbench_sim.resources import data_path
from nasbench_sim.runs import make_spec
from nasbench_sim.searchers import get_method
from nasbench_sim.tables.store import write_table
from tests.reporting.fidelity_factory import SPACE, TABLE, made_trace, save, simulated_trace

SKIP, CONV, NONE = 1, 3, 0
#: quick searches that end apart: learning rates at which so few steps matter
METHODS: dict[str, dict[str, Any]] = {"darts": {"lr": 0.1}, "gdas": {"lr": 0.1}, "rsps": {"evaluations": 5}}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The synthetic table as a file."""
    path = tmp_path_factory.mktemp("table") / "synthetic.h5"
    write_table(TABLE, path)
    return str(path)


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory, table: str) -> dict[str, Any]:
    """Recordings that are the very searches that are simulated."""
    folder = tmp_path_factory.mktemp("same") / "breadth"
    for method, params in METHODS.items():
        save(folder, simulated_trace(method, np.arange(8), params=params))
    return fidelity(folder.parent, table=table, seeds=8)


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory, table: str) -> dict[str, Any]:
    """A supernet that collapses to skip connections from epoch 3 of 4, which no search on this table does."""
    folder = tmp_path_factory.mktemp("collapsed")
    cells = np.full((2, 4, 6), CONV)
    cells[:, 2:] = SKIP
    cells[1, 2, 0] = CONV  # 5 of 6 are enough
    save(folder, made_trace("darts", cells, seeds=[0, 1]))
    return fidelity(folder, table=table, seeds=8)


def rows(document: dict[str, Any]) -> dict[str, Any]:
    """Methods of the first scene by name."""
    return {row["method"]: row for row in document["scenes"][0]["methods"]}


def test_a_simulator_that_is_the_recorder_is_perfect(same: dict[str, Any]) -> None:
    scene = same["scenes"][0]
    assert scene["name"] == "breadth" and set(rows(same)) == set(METHODS)
    for row in scene["methods"]:
        found = row["against_supernet"]["simulator"]
        for name in ("accuracy_distance", "skip_rmse", "theta_skip_rmse"):
            assert found[name]["value"] == pytest.approx(0, abs=1e-4), name
        assert found["skip_rmse"]["high"] > 0 and found["accuracy_distance"]["perfect"] > 0
        sides = row["sides"]
        assert sides["simulator"]["accuracy"] == sides["supernet"]["accuracy"]
        assert sides["simulator"]["collapse"] == sides["supernet"]["collapse"]
    assert scene["ranking"]["simulator"]["value"] == 1 and scene["pooled"]["simulator"]["skip_rmse"] < 1e-4
    errors = scene["pooled"]["simulator"]["errors"]["skip_rmse"]
    assert errors["high"] > 0 and errors["perfect"] > 0
    (said,) = (aim["why"] for aim in same["aims"] if "skip ratio" in aim["name"])
    assert f"a perfect simulator stays below {errors['perfect']:.3f}" in said
    texts = {s["text"].partition(":")[0]: s["kind"] for s in same["verdict"]}
    assert scene["ranking"]["simulator"]["low"] < 0  # eight searches each, and methods that end alike
    assert texts["Recorded methods lie too near each other to test their order"] == "unknown"
    blind = max(row["against_supernet"]["simulator"]["accuracy_distance"]["perfect"] for row in scene["methods"])
    assert texts[f"No difference in final accuracy is shown, and none below {blind:.1f} points could be"] == "unknown"
    assert texts["The share of skip connections by epoch may be read off simulated runs"] == "may"
    aims = {aim["name"].partition(":")[2].split(",")[0]: aim for aim in same["aims"]}
    assert aims[" ranking of methods"]["met"] is None  # a good figure, but not held out
    assert aims[" skip ratio over epochs"]["met"] is True


def test_other_seeds_of_the_recorder_are_as_near_as_can_be_shown(tmp_path: Path, table: str) -> None:
    for method, params in METHODS.items():
        save(tmp_path, simulated_trace(method, np.arange(100, 110), params=params))
    scene = fidelity(tmp_path, table=table, seeds=40)["scenes"][0]
    for row in scene["methods"]:
        found = row["against_supernet"]["simulator"]
        assert 0 < found["accuracy_distance"]["value"] <= found["accuracy_distance"]["perfect"]
        assert 0 < found["skip_rmse"]["value"] <= min(found["skip_rmse"]["perfect"], 0.1)
        plain = row["against_supernet"]["plain_table"]["accuracy_distance"]
        assert plain["value"] > plain["perfect"] and plain["value"] > found["accuracy_distance"]["value"]


def test_against_a_collapsing_recording_the_numbers_are_bad(collapsed: dict[str, Any]) -> None:
    row = rows(collapsed)["darts"]
    assert row["sides"]["supernet"]["collapse"] == {"share": 1.0, "median_epoch": 3.0, "epochs": [3, 3]}
    assert row["sides"]["supernet"]["skip_ratio"]["mean"] == pytest.approx([0, 0, 1 - 1 / 12, 1], abs=1e-4)
    plain = row["against_supernet"]["plain_table"]
    gap = row["sides"]["plain_table"]["accuracy"]["mean"] - row["sides"]["supernet"]["accuracy"]["mean"]
    assert plain["accuracy_distance"]["value"] == pytest.approx(abs(gap), abs=0.5) and abs(gap) > 3
    assert plain["accuracy_distance"]["value"] > plain["accuracy_distance"]["perfect"]
    assert plain["skip_rmse"]["value"] > 0.5
    assert row["supernet_agreement"] == 1 and row["sides"]["plain_table"]["collapse"]["share"] == 0
    kinds = {s["text"]: s["kind"] for s in collapsed["verdict"]}
    assert [kind for text, kind in kinds.items() if "share of skip connections" in text] == ["may not"]
    assert [kind for text, kind in kinds.items() if "collapses is told wrong for 1 of 1" in text] == ["may not"]
    assert collapsed["scenes"][0]["ranking"] == {"methods": ["darts"]}
    ranked = collapsed["aims"][0]
    assert ranked["met"] is None and "at least 3 methods" in ranked["why"]


def test_one_shot_ranking_of_both_sides(collapsed: dict[str, Any]) -> None:
    found = rows(collapsed)["darts"]["one_shot"]
    assert found["epochs"] == [1, 4] and found["cells"] == 32
    assert found["tau"]["supernet"] == [1.0, -1.0]  # made so: the truth, then its mirror image
    assert len(found["tau"]["simulator"]) == 2 and "plain_table" not in found["tau"]


def test_the_model_ranks_cells_as_the_figure_of_one_shot_says() -> None:
    spec = make_spec(method="darts", table=TABLE.name, dataset="cifar10", seeds=3, epochs=3, steps_per_epoch=5)
    job = Job(("a",), spec, TABLE.name)
    run = follow(job, TABLE).run
    seen = one_shot(run, TABLE, cells=40, seeds=3, role="test")
    again = follow(job._replace(looked=(1, 3), cells=tuple(seen.cells.tolist())), TABLE)
    assert again.tau == pytest.approx(seen.kendall[:, [0, 2]])
    assert np.array_equal(again.run.archs, run.archs) and np.isnan(run.history["eigenvalue"]).all()


def test_the_order_of_steps_is_that_of_the_supernet(tmp_path: Path, table: str) -> None:
    recorded = simulated_trace("darts", np.arange(8), params={"lr": 0.3}, step_order="weights first")
    untold = replace(recorded, about={**recorded.about, "setting": {"channels": 2, "cells": 1}})
    apart = []
    for name, trace in (("told", recorded), ("untold", untold)):
        (tmp_path / name).mkdir()
        scene = fidelity(save(tmp_path / name, trace), table=table, seeds=8)["scenes"][0]
        apart.append(scene["methods"][0]["against_supernet"]["simulator"]["theta_skip_rmse"]["value"])
    assert apart[0] == pytest.approx(0, abs=1e-6) and apart[1] > 0


def test_a_rule_of_stopping_still_sees_eigenvalues() -> None:
    params = get_method("robust-darts").test_params
    spec = make_spec(
        method="robust-darts", params=params, table=TABLE.name, dataset="cifar10", seeds=2, epochs=2, steps_per_epoch=3
    )
    assert np.isfinite(follow(Job(("a",), spec, TABLE.name), TABLE).run.history["eigenvalue"][:, 0]).all()


def test_parameters_fitted_without_a_method_are_used_for_it(tmp_path: Path, table: str) -> None:
    good = SharedWeightsParams.load().model_dump()
    wrong = {**good, "preference": {"skip_connect": 9.0}, "onset": 0.0}
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"what": "made up", "params": wrong, "params_without": dict.fromkeys(METHODS, good)}))
    for method, params in METHODS.items():
        save(tmp_path / "breadth", simulated_trace(method, np.arange(8), params=params))
    document = fidelity(tmp_path / "breadth", table=table, seeds=8, params=path)
    assert document["parameters"]["held_out"] == sorted(METHODS) and document["parameters"]["what"] == "made up"
    pooled = document["scenes"][0]["pooled"]
    assert pooled["held_out"]["skip_rmse"] < 1e-4 < pooled["simulator"]["skip_rmse"]
    by_method = [row["against_supernet"]["simulator"]["skip_rmse"]["value"] for row in rows(document).values()]
    assert pooled["simulator"]["skip_rmse"] == pytest.approx(np.sqrt(np.mean(np.square(by_method))), abs=1e-4)
    assert pooled["simulator"]["errors"]["skip_rmse"]["perfect"] < pooled["simulator"]["skip_rmse"]
    assert document["aims"][0]["met"] is True and "without the method" in document["aims"][0]["why"]
    known = [{"method": "darts"}, {"method": "balenas", "gradients": False}]
    path.write_text(json.dumps({"params": wrong, "runs": known, "params_without": {"darts": good}}))
    fitted = load_parameters(path)
    assert fitted.fitted_on == ("darts",) and fitted.without("darts") == SharedWeightsParams(**good)
    assert fitted.without("balenas") == fitted.params  # recorded, but never fitted to
    assert load_parameters().without("balenas") is None
    path.write_text(json.dumps({"params": good, "params_without": {"darts": {"scale": -1}}}))
    with pytest.raises(SpecError, match="params_without"):
        load_parameters(path)


def test_files_are_the_same_bytes_every_time_and_on_any_number_of_workers(
    tmp_path: Path, table: str, same: dict[str, Any]
) -> None:
    save(tmp_path / "t", simulated_trace("darts", np.arange(3), params=METHODS["darts"]))
    files = []
    for workers in (1, 2):
        paths = write_fidelity(
            fidelity(tmp_path / "t", table=table, seeds=4, workers=workers), tmp_path / f"o{workers}"
        )
        files.append([path.read_bytes() for path in paths])
    assert files[0] == files[1]
    assert [path.name for path in paths] == ["fidelity.html", "fidelity.json"]


def test_the_document_is_strict_json_of_the_promised_shape(same: dict[str, Any]) -> None:
    again = json.loads(json.dumps(same, allow_nan=False))
    assert again == same and (same["format"], same["schema"]) == ("nasbench-sim-fidelity", 1)
    assert set(same) == {
        *("format", "schema", "parameters", "seeds", "plain_seeds", "left_out", "scenes", "transfer", "aims", "verdict")
    }
    assert set(same["scenes"][0]) == {
        *(
            "name",
            "what",
            "parameters",
            "table",
            "table_sha256",
            "dataset",
            "role",
            "warning",
            "remark",
            "methods",
            "ranking",
            "pooled",
        )
    }
    row = same["scenes"][0]["methods"][0]
    assert set(row["against_supernet"]["simulator"]) == {
        *("accuracy_distance", "skip_rmse", "theta_skip_rmse", "agreement", "agreement_of_mode", "chance")
    }
    assert all(set(aim) == {"name", "value", "met", "why"} for aim in same["aims"])
    assert {s["kind"] for s in same["verdict"]} <= {"may", "may not", "unknown"}
    assert "tables fetch nb201" in same["transfer"]["left_out"]


def test_the_page_is_self_contained_and_escaped(same: dict[str, Any], collapsed: dict[str, Any]) -> None:
    for document in (same, collapsed):
        page = render(document)
        assert "<script" not in page and "<img" not in page and 'src="' not in page and "@import" not in page
        assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))
        ids = re.findall(r'\bid="([^"]*)"', page)
        assert len(ids) == len(set(ids))
        assert page.count("<svg") == (4 if document is collapsed else 3)
        assert all(sentence["text"].split(":")[0] in page for sentence in document["verdict"])
    hostile = json.loads(json.dumps(same))
    hostile["scenes"][0]["what"] = hostile["left_out"] = ["<script>x</script>"]
    hostile["scenes"][0]["methods"][0]["label"] = "<b>{{ 7*7 }}"
    page = render(hostile)
    assert "<script>x" not in page and "<b>" not in page and "{{ 7*7 }}" in page


def test_what_is_left_out_is_said(tmp_path: Path, table: str) -> None:
    trace = simulated_trace("darts", np.arange(2), params=METHODS["darts"])
    save(tmp_path, trace)
    trace.until(3).save(tmp_path / "gdas-seed0.h5")
    document = fidelity(tmp_path, table=table, seeds=2)
    assert document["left_out"] == ["gdas-seed0.h5 is not finished (3 of 6 epochs): left out"]


def test_scenes_are_settings_and_labels_tell_parameters_apart(tmp_path: Path, table: str) -> None:
    folder = tmp_path / "breadth"
    cells = np.full((1, 4, 6), SKIP)
    made_trace("darts", cells, seeds=[0], params={"lr": 0.1}).save(folder / "darts-seed0.h5")
    made_trace("darts", cells, seeds=[0], params={"lr": 0.2}).save(folder / "darts-fast-seed0.h5")
    wide = {"channels": 4, "cells": 1}
    made_trace("darts", cells, seeds=[0], setting=wide).save(folder / "darts-c4-seed0.h5")
    fused = {"channels": 4, "cells": 1, "backend": "fused"}  # faster, but the same supernet
    made_trace("darts", cells, seeds=[1], setting=fused).save(folder / "darts-c4-seed1.h5")
    scenes = fidelity(tmp_path, table=table, seeds=2)["scenes"]
    assert [scene["name"] for scene in scenes] == ["breadth C2", "breadth C4"]
    assert [row["label"] for row in scenes[0]["methods"]] == ["darts", "darts-fast"]
    assert scenes[1]["methods"][0]["supernet_seeds"] == [0, 1]


def test_slips_are_told_in_one_line(tmp_path: Path, table: str) -> None:
    def said(error: type[Exception], match: str, **options: Any) -> None:
        with pytest.raises(error, match=match) as caught:
            fidelity(tmp_path / "t", **{"table": table, "seeds": 2, **options})
        assert "\n" not in str(caught.value)

    said(RunError, "no such folder of recordings")
    (tmp_path / "t").mkdir()
    said(RunError, "no finished recording")
    cells = np.full((1, 2, 6), NONE)
    made_trace("darts", cells, seeds=[0]).save(tmp_path / "t" / "darts-seed0.h5")
    said(SpecError, "at least 2 seeds", seeds=1)
    said(TableError, "no table is known for recordings on 'cifar10'", table=None)
    said(TableError, "unknown table 'nb7'", table="nb7")
    said(SpecError, "holds no shared-weights parameters", params=tmp_path / "nothing.json")
    made_trace("darts", cells, seeds=[0]).save(tmp_path / "t" / "again-seed0.h5")
    said(RunError, "of the same seed")
    made_trace("darts", cells, seeds=[1], params={"lr": "fast"}).save(tmp_path / "t" / "again-seed0.h5")
    said(RunError, "cannot be simulated")
    (tmp_path / "t" / "again-seed0.h5").write_bytes(b"hello")
    said(RunError, "not a nasbench-sim trace")


def test_a_table_of_another_setting_is_said(tmp_path: Path, table: str) -> None:
    save(tmp_path, made_trace("darts", np.full((1, 2, 6), SKIP), seeds=[0], dataset="fashion-mini"))
    document = fidelity(tmp_path, table=table, seeds=2)
    scene = document["scenes"][0]
    assert scene["dataset"] == "cifar10" and "another size and training" in scene["warning"]
    assert [s["kind"] for s in document["verdict"] if scene["warning"] in s["text"]] == ["unknown"]


def test_the_transfer_test_reports_every_row(tmp_path: Path, table: str) -> None:
    save(tmp_path, made_trace("darts", np.full((1, 2, 6), SKIP), seeds=[0]))
    document = fidelity(tmp_path, table=table, seeds=2, transfer=TABLE, transfer_seeds=2, transfer_steps=(2, 3))
    found = document["transfer"]
    assert found["protocol"] == "2 epochs of 3 steps: not the published one"
    assert found["judged"] == len([r for r in found["rows"] if r["inside"] is not None]) > 20
    assert found["inside"] == sum(r["inside"] is True for r in found["rows"])
    assert {row["label"] for row in found["logged_cells"]} == {"DARTS-V1", "DARTS-V2", "GDAS"}
    assert [row["their_free"] for row in found["logged_cells"]][:2] == [1.0, 1.0]  # all skip
    aims = {aim["name"]: aim for aim in document["aims"] if aim["name"].startswith("real table")}
    assert len(aims) == 4 and all(aim["met"] is not None for aim in aims.values())
    assert aims["real table: DARTS collapses"]["met"] is False  # nothing does in 6 steps
    page = render(document)
    assert all(row["their_label"] in page for row in found["rows"]) and "balenas-tf" in page
    assert "Published accuracies on synthetic may not be predicted" in page


def test_every_published_search_by_gradients_or_samples_is_in_the_transfer_test() -> None:
    methods = {setting.method for setting in SETTINGS}
    for path in sorted(data_path("published").glob("*.json")):
        for row in json.loads(read_text(path, 1 << 20))["rows"]:
            families = {name: get_method(name).family for name in row["methods"]}
            wanted = {name for name, family in families.items() if family in ("differentiable", "sampling")}
            assert wanted <= methods, (path.name, row["label"])
    jobs = transfer_jobs(TABLE, {}, seeds=2, full=True)
    assert len(jobs) == len(SETTINGS) and max(job.spec.epochs for job in jobs) == 250
    assert {job.spec.epochs for job in transfer_jobs(TABLE, {}, seeds=2, full=False)} == {50}


@pytest.mark.real
def test_logged_cells_have_the_accuracies_that_were_logged(nb201_table: Any) -> None:
    rows = json.loads(read_text(data_path("logged_cells.json"), 1 << 20))["rows"]
    cells = {(row["label"], data): index for row in rows for data, index in row["cells"].items()}
    logged = {
        ("DARTS-V1", "cifar10"): [54.30] * 3,
        ("GDAS", "cifar10"): [93.61, 93.67, 92.41],
        ("DARTS-V1", "cifar100"): [58.13, 58.13, 67.52],
        ("DARTS-V2", "cifar100"): [55.59, 58.61, 67.27],
        ("GDAS", "cifar100"): [69.73, 64.64, 70.13],
        ("DARTS-V1", "ImageNet16-120"): [39.93, 39.93, 33.77],
        ("GDAS", "ImageNet16-120"): [39.40] * 3,
    }
    for (label, dataset), values in logged.items():
        column = nb201_table.accuracy[nb201_table.report_keys_for(dataset)["test"]]
        # logged of one training run, the table has means: they differ by up to 0.17
        assert column[cells[label, dataset]] == pytest.approx(values, abs=0.2), (label, dataset)
    assert (SPACE.at(1835) == SKIP).all()


def test_sentences_follow_the_numbers(same: dict[str, Any]) -> None:
    """Each sentence turns with its number."""

    def kinds(**change: Any) -> dict[str, str]:
        scene = json.loads(json.dumps(same["scenes"][0]))
        for row in scene["methods"]:
            row["against_supernet"]["simulator"]["accuracy_distance"] |= change.get("distance", {})
            row["against_supernet"]["simulator"]["agreement"] |= change.get("agreement", {})
        scene["ranking"]["simulator"] |= change.get("ranking", {})
        scene["pooled"]["simulator"] |= change.get("pooled", {})
        said = verdict({"scenes": [scene], "parameters": same["parameters"], "transfer": {"left_out": "no table"}})
        return {s["text"]: s["kind"] for s in said}

    def kind(words: str, **change: Any) -> str:
        (found,) = (kind for text, kind in kinds(**change).items() if words in text)
        return found

    clear = {"value": 1.0, "low": 0.6, "high": 1.0}
    assert kind("order of methods by mean accuracy may be read", ranking=clear) == "may"
    assert kind("order of methods may not be read", ranking={**clear, "value": 0.8}) == "may not"
    near = {"value": 0.5, "perfect": 0.6}
    assert kind("accuracy of the final cell may be read", distance=near) == "may"
    assert kind("accuracy of the final cell may not be read", distance={"value": 3.0, "perfect": 0.6}) == "may not"
    assert kind("share of skip connections by epoch may not", pooled={"skip_rmse": 0.11}) == "may not"
    assert kind("is predicted beyond how many of each there are", agreement={"low": 0.99}) == "may"
    assert kind("which operation an edge ends with may not".capitalize(), agreement={"low": 0.0}) == "may not"
    pooled = {"skip_rmse": 9.0, "accuracy_distance": 9.0}
    assert kind("is no nearer to supernets than the plain table", pooled=pooled) == "may not"
    assert kind("is nearer to supernets than the plain table") == "may"
    assert kind("was not tested: no table") == "unknown"


def test_searches_that_diverge_are_counted_and_said(tmp_path: Path, table: str) -> None:
    cells = np.full((2, 3, 6), SKIP)
    cells[1, 2] = -1  # the recorded one failed, too
    save(tmp_path, made_trace("darts", cells, seeds=[0, 1], params={"lr": 1e39}))
    document = fidelity(tmp_path, table=table, seeds=3)
    row = rows(document)["darts"]
    assert row["sides"]["simulator"] == {"n": 0, "failed": 3} and row["against_supernet"]["simulator"] == {}
    assert row["sides"]["supernet"]["n"] == 1 and row["sides"]["supernet"]["failed"] == 1
    assert document["aims"][1]["met"] is None and "may" not in {s["kind"] for s in document["verdict"]}
    assert "all searches failed" in render(document)

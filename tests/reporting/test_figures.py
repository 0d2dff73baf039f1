"""The numbers on a figure are the numbers of the run; odd runs are drawn or told of."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

import nasbench_sim.reporting as reporting
from nasbench_sim.errors import RunError
from nasbench_sim.reporting.outcomes import dots
from nasbench_sim.reporting.series import bands, labels, panels, short
from nasbench_sim.reporting.style import LOOKS, METHODS, looks
from nasbench_sim.runs.record import Run
from tests.reporting.factory import SHAPES, make_run, make_runs

UNITS = re.compile(r"\((%|fraction of edges|1/α²|nats|count)\)|^search epoch$|^method$")


def _line(ax: Axes, label: str) -> np.ndarray:
    found = [line for line in ax.get_lines() if line.get_label() == label]
    assert len(found) == 1, [line.get_label() for line in ax.get_lines()]
    return np.asarray(found[0].get_ydata() if "median" in label or "mean" in label else found[0].get_xdata())


def _texts(figure: Figure) -> str:
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(Text)).replace("\n", " ")


@pytest.mark.parametrize("role", [0, 1])
def test_convergence_line_is_the_median(role: int) -> None:
    runs = make_runs(seeds=11, epochs=7)
    ax = reporting.plot_convergence(runs).axes[role]
    name = ("valid", "test")[role]
    for i, run in enumerate(runs[:5]):
        np.testing.assert_allclose(_line(ax, f"_median {i}"), np.median(run.history[name], axis=0))
    optimum = next(line for line in ax.get_lines() if line.get_label() == "_optimum")
    assert set(np.asarray(optimum.get_ydata())) == {runs[0].table["best"][name]["accuracy"]}


def test_bands_are_quantiles() -> None:
    v = np.random.default_rng(0).normal(size=(41, 3))
    b = bands(v)
    for got, q in zip((b.lowest, b.low, b.median, b.high, b.highest), (5, 25, 50, 75, 95), strict=True):
        np.testing.assert_allclose(got, np.percentile(v, q, axis=0))
    v[:, 1] = np.nan
    v[3, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        b = bands(v)
    assert np.isnan(b.median[1]) and b.median[0] == pytest.approx(np.nanmedian(v[:, 0]))


def test_published_marks_stand_at_the_edge() -> None:
    ax = reporting.plot_convergence([make_run("balenas", seeds=3, epochs=4)]).axes[1]
    marks = [line for line in ax.get_lines() if line.get_label() == "_published 0"]
    assert [float(np.asarray(m.get_ydata())[0]) for m in marks] == [93.62]
    analog = make_run("balenas", table="nb201-analog", roles=("accuracy",), seeds=3, epochs=4)
    (ax,) = reporting.plot_convergence([analog]).axes
    assert not [line for line in ax.get_lines() if str(line.get_label()).startswith("_published")]


def test_skip_ratio_line_is_the_mean() -> None:
    run = make_run("darts", seeds=9, epochs=5)
    ax = reporting.plot_skip_ratio([run]).axes[0]
    np.testing.assert_allclose(_line(ax, "_mean 0"), run.history["skip_ratio"].mean(axis=0))


def test_eigenvalue_is_logarithmic_and_names_who_has_none() -> None:
    runs = make_runs(seeds=5, epochs=6)
    figure = reporting.plot_eigenvalue(runs)
    assert all(ax.get_yscale() == "log" for ax in figure.axes)
    np.testing.assert_allclose(_line(figure.axes[0], "_median 0"), np.median(runs[0].history["eigenvalue"], axis=0))
    assert "Not drawn, no Hessian: parsec, random." in _texts(figure)
    alone = reporting.plot_eigenvalue([make_run("random", seeds=2, epochs=3)])
    assert "No Hessian in any of these runs." in _texts(alone)


def test_eigenvalues_of_zero_are_left_out() -> None:
    values = np.array([[0.0, 0.5, 0.25]])
    figure = reporting.plot_eigenvalue([make_run("darts", seeds=1, epochs=3, history={"eigenvalue": values})])
    np.testing.assert_allclose(_line(figure.axes[0], "_median 0"), [np.nan, 0.5, 0.25])


def test_pruning_shows_only_runs_that_prune() -> None:
    runs = make_runs(seeds=6, epochs=50)
    ax = reporting.plot_pruning(runs).axes[0]
    np.testing.assert_allclose(_line(ax, "_median 2"), np.median(runs[2].history["active_ops"], axis=0))
    assert not [line for line in ax.get_lines() if line.get_label() == "_median 0"]
    assert 63 in [float(np.asarray(line.get_xdata())[0]) for line in ax.get_lines()]
    none = reporting.plot_pruning([make_run("darts", seeds=2, epochs=3)])
    assert "No run prunes operations." in _texts(none)
    settled = make_run("bpnas", seeds=2, epochs=3, history={"active_ops": np.full((2, 3), 6.0)})
    assert "No run prunes" not in _texts(reporting.plot_pruning([settled]))  # all pruned within the first epoch


def test_final_row_is_median_and_quartiles() -> None:
    run = make_run("balenas", seeds=40, epochs=3)
    ax = reporting.plot_final([run]).axes[1]
    values = run.final("test").astype(float)
    assert set(_line(ax, "_quartiles 0")) == set(np.percentile(values, (25, 75)))
    assert f"{np.median(values):.2f}" in [t.get_text() for t in ax.texts]


def test_dots_keep_every_seed() -> None:
    values = np.random.default_rng(1).normal(90, 2, 5000)
    for v in (values, values.round(0)):
        at, share = dots(v)
        assert share.sum() == pytest.approx(1.0) and len(at) <= 80 and at.min() >= v.min() and at.max() <= v.max()


def _odd_runs() -> dict[str, list[Run]]:
    nan = {n: np.full((3, 4), np.nan) for n in ("eigenvalue", "entropy", "active_ops", "skip_ratio", "loss")}
    return {
        "one seed": [make_run(m, seeds=1, epochs=5) for m in SHAPES],
        "one epoch": [make_run(m, seeds=4, epochs=1) for m in SHAPES],
        "one of both": [make_run("darts", seeds=1, epochs=1)],
        "nothing measured": [make_run("darts", seeds=3, epochs=4, history=nan)],
        "long names": [make_run("a_method_with_a_very_long_name_" * 6, seeds=3, epochs=4), make_run("darts", seeds=3)],
        "dollars and blanks": [make_run("$\\frac{$ _x\n%", seeds=3, epochs=4), make_run("_hidden", seeds=2, epochs=2)],
        "many methods": [make_run(f"method_{i}", seeds=3, epochs=4) for i in range(24)],
        "many data sets": [make_run("darts", dataset=d, seeds=3, epochs=4) for d in ("cifar10", "cifar100")],
        "unlike lengths": [make_run("darts", seeds=2, epochs=3), make_run("bpnas", seeds=3, epochs=900)],
        "constant": [make_run("darts", seeds=2, epochs=3, history={"eigenvalue": np.ones((2, 3))})],
    }


@pytest.mark.parametrize("kind", reporting.FIGURES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("case", list(_odd_runs()))
def test_odd_runs_are_drawn(kind: reporting.FigureKind, case: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = kind.draw(_odd_runs()[case])
        path = reporting.save_figure(figure, tmp_path / "f.svg")
    assert path.stat().st_size > 1000
    assert figure.axes
    for ax in figure.axes:
        assert UNITS.search(ax.get_xlabel()) and UNITS.search(ax.get_ylabel()), (ax.get_xlabel(), ax.get_ylabel())
        assert ax.get_title(loc="left")


@pytest.mark.parametrize("kind", reporting.FIGURES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("methods", [5, 16])
def test_nothing_is_cut_and_panels_do_not_overlap(kind: reporting.FigureKind, methods: int) -> None:
    runs = make_runs(seeds=8, epochs=20) + [make_run(f"another_method_{i}", seeds=3) for i in range(methods - 5)]
    figure = kind.draw(runs)
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= -0.01 and drawn.y0 >= -0.01 and drawn.x1 <= width + 0.01 and drawn.y1 <= height + 0.01
    boxes = [ax.get_tightbbox() for ax in figure.axes] + [legend.get_window_extent() for legend in figure.legends]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a is not None and b is not None
            assert min(a.x1, b.x1) - max(a.x0, b.x0) <= 2 or min(a.y1, b.y1) - max(a.y0, b.y0) <= 2


def test_long_histories_are_thinned_with_both_ends() -> None:
    run = make_run("darts", seeds=2, epochs=5000)
    ax = reporting.plot_convergence([run]).axes[0]
    y = _line(ax, "_median 0")
    median = np.median(run.history["valid"], axis=0)
    assert len(y) <= 400 and y[0] == pytest.approx(median[0]) and y[-1] == pytest.approx(median[-1])


def test_own_figure_is_used() -> None:
    mine = Figure()
    assert reporting.plot_entropy([make_run("darts", seeds=2, epochs=3)], figure=mine) is mine


def test_no_runs() -> None:
    for kind in reporting.FIGURES:
        with pytest.raises(RunError, match="no run to report"):
            kind.draw([])


def test_files_are_equal_bytes_for_equal_runs(tmp_path: Path) -> None:
    for suffix in ("svg", "png", "pdf"):
        a, b = (
            reporting.save_figure(reporting.plot_entropy(make_runs(seeds=3, epochs=4)), tmp_path / f"{n}.{suffix}")
            for n in "ab"
        )
        assert a.read_bytes() == b.read_bytes(), suffix
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()
    assert b"<text" not in (tmp_path / "a.svg").read_bytes()  # outlines: no font needed
    with pytest.raises(RunError, match="figure format"):
        reporting.save_figure(reporting.plot_entropy(make_runs(seeds=3, epochs=4)), tmp_path / "a.bmp")


def test_looks_are_stable_and_distinct() -> None:
    known = looks([(m, m) for m in METHODS])
    assert looks([("parsec", "parsec")])["parsec"] == known["parsec"]
    assert len(set(known.values())) == len(METHODS)
    many = looks([(m, m) for m in METHODS] + [(f"new {i}", f"new {i}") for i in range(LOOKS - len(METHODS))])
    assert len({(look.colour, str(look.dashes)) for look in many.values()}) == LOOKS
    assert len(looks([(f"x{i}", "x") for i in range(100)])) == 100


def test_labels() -> None:
    runs = [make_run("darts", seeds=2, epochs=2), make_run("darts", seeds=2, epochs=3), make_run("parsec", seeds=2)]
    assert labels(runs) == ["darts (epochs=2)", "darts (epochs=3)", "parsec"]
    assert labels([runs[0], runs[0]]) == ["darts", "darts #2"]
    two_sets = [make_run("darts", dataset=d, seeds=2, epochs=e) for d, e in (("cifar10", 2), ("cifar100", 3))]
    assert labels(two_sets) == ["darts", "darts"] and len(panels(two_sets)) == 2
    assert len(short("x" * 100, 20)) == 21

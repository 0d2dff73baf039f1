"""One page, self-contained, escaped, honest."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import nasbench_sim as nb
import nasbench_sim.reporting as reporting
from nasbench_sim.errors import RunError
from nasbench_sim.reporting.html import command_line
from tests.reporting.factory import make_run, make_runs

HOSTILE = "<script>alert('x')</script><svg onload=alert(1)>&\"'{{ 7*7 }}"


class _Page(HTMLParser):
    """Collects tags, ids and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    runs = make_runs(seeds=20, epochs=12, remark="Results on it are in-sample.")
    assert reporting.write_report(runs, path) == path
    return path.read_text(encoding="utf-8")


def test_nothing_is_fetched(page: str) -> None:
    parsed = _Page(page)
    assert not {"script", "iframe", "img", "link", "object", "embed", "foreignobject"} & set(parsed.tags)
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert value.startswith("#"), (tag, name, value)
        if "http" in value:
            assert name.startswith("xmlns"), (tag, name, value)
        assert not name.startswith("on"), (tag, name)
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page and "default-src 'none'" in page


def test_ids_are_unique_and_every_reference_has_one(page: str) -> None:
    parsed = _Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    wanted = {value[1:] for _, name, value in parsed.attributes if name in ("href", "xlink:href")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    wanted |= {i for _, name, value in parsed.attributes if name == "aria-labelledby" for i in value.split()}
    assert wanted <= set(parsed.ids)


def test_figures_are_named_for_screen_readers(page: str) -> None:
    parsed = _Page(page)
    assert parsed.tags.count("svg") == len(reporting.FIGURES)
    for kind in reporting.FIGURES:
        assert f'<title id="{kind.name}-title">{kind.title}</title>' in page
    assert parsed.tags.count("figcaption") == len(reporting.FIGURES)


def test_honest_words(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "table-based, with a modelled supernet signal" in text
    assert "No network was trained here" in text
    assert "reproduced" not in text.lower()
    assert "Results on it are in-sample." in text
    assert "no PARSEC result on NAS-Bench-201 has been published" in text
    assert "ab" * 32 in text and "https://example.org/table.csv" in text and "one deviation" in text
    assert 'class="box warn"' in page


def test_tabular_runs_promise_no_supernet_signal(tmp_path: Path) -> None:
    path = reporting.write_report([make_run("darts", landscape="tabular", seeds=2, epochs=2)], tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    assert "modelled supernet signal" not in text and "without any" in text and 'class="box warn"' not in text


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    card: dict[str, Any] = dict.fromkeys(("name", "title", "paper", "equation", "summary"), HOSTILE) | {
        "deviations": [HOSTILE],
        "unknowns": [HOSTILE],
        "parameters": {HOSTILE: HOSTILE},
    }
    run = make_run(
        HOSTILE, params={HOSTILE: HOSTILE}, table=HOSTILE, remark=HOSTILE, cell=HOSTILE, method_card=card, seeds=2,
        epochs=2, landscape_params={HOSTILE: HOSTILE},
    )  # fmt: skip
    run.table["sources"][0].update(name=HOSTILE, url="javascript:alert(1)", citation=HOSTILE)
    path = reporting.write_report([run], tmp_path / "r.html", title=HOSTILE)
    text = path.read_text(encoding="utf-8")
    parsed = _Page(text)
    assert "script" not in parsed.tags and parsed.tags.count("svg") == len(reporting.FIGURES)
    assert not [a for a in parsed.attributes if a[1].startswith("on") or a[2].startswith("javascript:")]
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", text)[0] and "{{ 7*7 }}" in text  # data, not a template
    assert "<!--" not in text


def test_equal_bytes_for_equal_runs_and_atomic(tmp_path: Path) -> None:
    a, b = (reporting.write_report([make_run("bpnas", seeds=3, epochs=4)], tmp_path / f"{n}.html") for n in "ab")
    assert a.read_bytes() == b.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]
    with pytest.raises(RunError, match="no run to report"):
        reporting.write_report([], a)
    assert a.read_bytes() == b.read_bytes()
    blocked = tmp_path / "a.html" / "r.html"
    with pytest.raises(RunError, match="cannot write"):
        reporting.write_report([make_run("bpnas", seeds=3, epochs=4)], blocked)


def test_command_line_is_quoted() -> None:
    run = make_run("darts", seeds=4, epochs=2, params={"lr": 0.1, "note": "a; rm -rf /"})
    line = command_line(run)
    assert line.startswith("nasbench-sim search darts --table nb201 --dataset cifar10 --landscape shared --seeds 4")
    assert "lr=0.1" in line and "'note=a; rm -rf /'" in line
    folded = command_line(run, 60)
    assert "\n" in folded and shlex.split(folded.replace("\\\n", "")) == shlex.split(line)


def test_an_order_of_steps_is_shown_where_it_is_not_the_usual_one(page: str, tmp_path: Path) -> None:
    table = nb.open_table("nb201-analog")
    ask = {"table": table, "dataset": "cifar10", "seeds": 2, "epochs": 2, "steps_per_epoch": 3}
    run = nb.search("darts", **ask, step_order="weights first")
    path = tmp_path / "page.html"
    reporting.write_report([run], path)
    shown = path.read_text(encoding="utf-8")
    assert "2 epochs of 3 steps (weights first), float32" in shown and "--step-order" in shown
    assert "(together)" not in page


def test_incomplete_records_are_reported(tmp_path: Path) -> None:
    run = make_run("darts", seeds=2, epochs=2, method_card={"name": "darts"})
    run.table["sources"].clear()
    run.table.pop("search_key")
    text = reporting.write_report([run], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "not recorded" in text and "nothing declared" in text


def test_page_is_small_and_quick(page: str) -> None:
    assert len(page.encode()) < 2_000_000

"""Downloading NAS-Bench-101: sizes that are only about right, parts that go on, wrong bytes, pinned addresses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nasbench_sim.errors import TableError
from nasbench_sim.tables.fetch import fetch_originals
from nasbench_sim.tables.nb101_sources import FULL, ONLY_108, SAMPLE, Published
from tests.tables.test_fetch import CONTENT, Server, server  # noqa: F401  (a fixture)


def published(size: int = len(CONTENT), content: bytes = CONTENT) -> Published:
    return Published("some.tfrecord", size, hashlib.sha256(content).hexdigest(), "", "")


def fetch(server: Server, folder: Path, one: Published) -> bytes:  # noqa: F811
    host = f"{server.url}/owner/repo"
    return (fetch_originals(folder, host=host, originals=(one,), wait_s=0) / "some.tfrecord").read_bytes()


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) - 20_000, len(CONTENT) + 20_000, len(CONTENT) // 2 + 1])
def test_a_size_that_is_not_stated_exactly_does_not_decide(server: Server, tmp_path: Path, size: int) -> None:  # noqa: F811
    assert fetch(server, tmp_path, published(size)) == CONTENT
    assert server.requests == [("/owner/repo/nasbench/some.tfrecord", None)]


@pytest.mark.parametrize("kept", [1000, len(CONTENT)])
def test_a_download_of_unstated_size_goes_on(server: Server, tmp_path: Path, kept: int) -> None:  # noqa: F811
    """Also from a part that is all of it: the server has no more, and the sha256 decides."""
    (tmp_path / "some.tfrecord.part").write_bytes(CONTENT[:kept])
    server.cut_after = 200_000 if kept < len(CONTENT) else None
    assert fetch(server, tmp_path, published(len(CONTENT) + 5)) == CONTENT
    assert server.requests[0][1] == f"bytes={kept}-"


def test_a_download_that_is_far_too_long(server: Server, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(TableError, match=f"expected about 1000 bytes, found {len(CONTENT)}"):
        fetch(server, tmp_path, published(1000))
    assert list(tmp_path.glob("some*")) == []


def test_wrong_bytes_of_a_download(server: Server, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(TableError, match=r"its sha256 differs.*`nasbench-sim tables import nb101 --from DIR`"):
        fetch(server, tmp_path, published(content=CONTENT[:-1] + b"x"))


def test_the_real_addresses_are_pinned() -> None:
    """The sha256 sums stand in the README of google-research/nasbench."""
    assert ONLY_108.urls()[:1] == ["https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord"]
    assert FULL.urls()[:1] == ["https://storage.googleapis.com/nasbench/nasbench_full.tfrecord"]
    assert ONLY_108.sha256.startswith("4c39c3936e36a852") and FULL.sha256.startswith("3d64db8180fb1b02")
    assert {len(one.sha256) for one in (ONLY_108, FULL, SAMPLE)} == {64}

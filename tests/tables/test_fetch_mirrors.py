"""Downloads from a list of mirrors, each wrong in its own way, and from two processes at once; all on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nasbench_sim.errors import TableError
from nasbench_sim.tables import fetch as fetching
from nasbench_sim.tables import nb201_sources
from nasbench_sim.tables.fetch import fetch_originals
from nasbench_sim.tables.nb101_sources import ONLY_108
from nasbench_sim.tables.nb201_sources import ORIGINALS
from tests.tables.test_fetch import CONTENT, original

ANOTHER = """
import sys
from pathlib import Path
from nasbench_sim.tables.fetch import fetch_originals
from tests.tables.test_fetch import original
fetch_originals(Path(sys.argv[1]), host=sys.argv[2], originals=(original(),), retries=0)
"""


class Mirrors(ThreadingHTTPServer):
    """Serves CONTENT under `/WAY/...`, where WAY says what is wrong with it."""

    requests: list[tuple[str, str | None]]
    halfway: threading.Event
    go_on: threading.Event
    url = ""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Mirrors

    def do_GET(self) -> None:
        way = self.path.split("/")[1]
        wanted = self.headers.get("Range")
        self.server.requests.append((way, wanted))
        if way.isdigit():
            self.send_error(int(way))
        elif way in ("moved", "loop", "away"):
            self.send_response(302)
            there = {"moved": "/good/x", "loop": "/loop/x", "away": "file:///etc/hostname"}[way]
            self.send_header("Location", there)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._content(way, int(wanted[6:-1]) if wanted else 0)

    def _content(self, way: str, start: int) -> None:
        body = {"wrong": bytes(len(CONTENT)), "short": CONTENT[:-9]}.get(way, CONTENT)[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        if way == "cut":
            self.wfile.write(body[:half])
            self.connection.shutdown(socket.SHUT_RDWR)
        elif way == "slow":  # a piece now and then: slow, and never silent
            for at in range(0, len(body), 30_000):
                self.wfile.write(body[at : at + 30_000])
                time.sleep(0.02)
        elif way == "silent":
            self.wfile.write(body[:half])
            self.server.halfway.set()
            self.server.go_on.wait(20)
            self.wfile.write(body[half:])
        else:
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Mirrors(("127.0.0.1", 0), Handler) as running:
        running.requests, running.halfway, running.go_on = [], threading.Event(), threading.Event()
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.go_on.set()
        running.shutdown()


@pytest.fixture
def mirrors(server: Mirrors, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this server the list of mirrors, one entry a way."""

    def use(*ways: str) -> None:
        listed = tuple(f"{server.url}/{way}/{{repository}}/{{commit}}/{{path}}" for way in ways)
        monkeypatch.setattr(nb201_sources, "MIRRORS", listed)

    return use


def fetch(folder: Path, **options: Any) -> bytes:
    got = fetch_originals(folder, originals=(original(),), **{"wait_s": 0, "retries": 1, **options})
    assert [path.name for path in got.iterdir()] == ["file.bin"]
    return (got / "file.bin").read_bytes()


@pytest.mark.parametrize("way", ["404", "403", "410", "503", "wrong", "short", "loop", "away"])
def test_the_next_mirror_stands_in_whatever_is_wrong(mirrors: Any, server: Mirrors, tmp_path: Path, way: str) -> None:
    mirrors(way, "good")
    assert fetch(tmp_path) == CONTENT
    assert server.requests[0][0] == way and server.requests[-1] == ("good", None)


def test_a_mirror_goes_on_from_what_another_sent(mirrors: Any, server: Mirrors, tmp_path: Path) -> None:
    mirrors("cut", "good")
    assert fetch(tmp_path, retries=0) == CONTENT
    way, wanted = server.requests[-1]
    assert way == "good" and wanted is not None and 0 < int(wanted[6:-1]) < len(CONTENT)


def test_a_part_of_other_bytes_is_found_out_and_fetched_anew(mirrors: Any, server: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(bytes(1000))
    mirrors("good")
    assert fetch(tmp_path) == CONTENT
    assert [wanted for _, wanted in server.requests] == ["bytes=1000-", None]


def test_a_slow_server_is_waited_for(mirrors: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_TIMEOUT", (5.0, 5.0))
    mirrors("slow")
    assert fetch(tmp_path, retries=0) == CONTENT


def test_a_silent_server_is_left_and_its_part_kept(
    mirrors: Any, server: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_TIMEOUT", (5.0, 0.3))
    mirrors("silent", "good")
    assert fetch(tmp_path, retries=0) == CONTENT
    assert server.requests[-1][0] == "good" and server.requests[-1][1] is not None


def test_a_redirect_is_followed(mirrors: Any, server: Mirrors, tmp_path: Path) -> None:
    mirrors("moved")
    assert fetch(tmp_path) == CONTENT
    assert [way for way, _ in server.requests] == ["moved", "good"]


def test_when_all_are_wrong_each_is_named(mirrors: Any, server: Mirrors, tmp_path: Path) -> None:
    ways = ("404", "503", "wrong", "short", "cut", "loop", "away")
    mirrors(*ways)
    with pytest.raises(TableError) as caught:
        fetch(tmp_path)
    said = str(caught.value)
    assert (
        "\n" not in said and said.startswith("cannot download file.bin: ") and "tables import nb201 --from DIR" in said
    )
    for way, words in zip(
        ways,
        (
            "answers 404",
            "answers 503",
            "sha256 differs",
            "bytes, found",
            "breaks off",
            "redirects without end",
            "file:",
        ),
        strict=True,
    ):
        assert f"{server.url}/{way}/" in said and words in said, way
    assert not (tmp_path / "file.bin").exists()


def test_a_given_host_stands_alone(mirrors: Any, server: Mirrors, tmp_path: Path) -> None:
    mirrors("good")
    with pytest.raises(TableError, match=r"/404/owner/repo/abc/dir/file\.bin answers 404"):
        fetch(tmp_path, host=f"{server.url}/404")
    assert {way for way, _ in server.requests} == {"404"}


def test_two_processes_do_not_meet(mirrors: Any, server: Mirrors, tmp_path: Path) -> None:
    """One is halfway when the other comes: that one is told so, and the first ends as if it had been alone."""
    first = subprocess.Popen([sys.executable, "-c", ANOTHER, str(tmp_path), f"{server.url}/silent"])
    try:
        assert server.halfway.wait(30)
        mirrors("good")
        with pytest.raises(TableError, match=r"another download into .* is at work; wait until it has ended"):
            fetch(tmp_path)
        assert [way for way, _ in server.requests] == ["silent"]
        server.go_on.set()
        assert first.wait(30) == 0
    finally:
        first.kill()
        first.wait()
    assert fetch(tmp_path) == CONTENT
    assert [way for way, _ in server.requests] == ["silent"]  # it is there already


def test_a_process_that_was_killed_leaves_no_lock(server: Mirrors, tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", ANOTHER, str(tmp_path), f"{server.url}/silent"])
    assert server.halfway.wait(30)
    first.kill()
    first.wait()
    fetch_originals(tmp_path, host=f"{server.url}/good", originals=(original(),), wait_s=0)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.requests[-1][0] == "good"


def test_every_public_file_has_more_than_one_address() -> None:
    for one in (*ORIGINALS, ONLY_108):
        assert len({url.split("/")[2] for url in one.urls()}) >= 2
        assert all(url.startswith("https://") and url.endswith(one.file) for url in one.urls())

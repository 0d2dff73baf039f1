"""Downloads against a server on this machine: whole, interrupted, resumed, wrong, absent, refused."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import TableError
from nasbench_sim.tables.fetch import fetch_originals
from nasbench_sim.tables.nb201_sources import ORIGINALS, Original

CONTENT = np.random.default_rng(0).bytes(300_000)


def original(content: bytes = CONTENT, name: str = "file.bin", commits: tuple[str, ...] = ("abc",)) -> Original:
    return Original(
        name, "owner/repo", commits, f"dir/{name}", len(content), hashlib.sha256(content).hexdigest(), "", ""
    )


class Server(ThreadingHTTPServer):
    """Serves `content`; what it does wrong is set by the test."""

    content = CONTENT
    cut_after: int | None = None  # bytes of a response after which the connection is dropped, once
    ranges = True
    statuses: list[int]  # answered first, one a request
    gone: frozenset[str] = frozenset()  # commits that are not there
    requests: list[tuple[str, str | None]]
    url = ""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if not self.path.startswith("/owner/repo/") or self.path.split("/")[3] in server.gone:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start >= len(server.content) and start:
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, server.cut_after = server.cut_after, None
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests, running.statuses = [], []
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def fetch(server: Server, folder: Path, *files: Original, **options: Any) -> Path:
    return fetch_originals(folder, host=server.url, originals=files or (original(),), wait_s=0, **options)


def message(server: Server, folder: Path, *files: Original, **options: Any) -> str:
    with pytest.raises(TableError) as caught:
        fetch(server, folder, *files, **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "file.bin").exists()
    return str(caught.value)


def test_a_whole_download(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = fetch(server, tmp_path / "new" / "folder", progress=lambda *a: seen.append(a))
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert [p.name for p in folder.iterdir()] == ["file.bin"]
    assert server.requests == [("/owner/repo/abc/dir/file.bin", None)]
    assert seen[-1] == ("file.bin", 300_000, 300_000)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_two_downloads_into_one_folder_do_not_meet(server: Server, tmp_path: Path) -> None:
    """The second is refused while the first is at work, and may come once it has ended."""
    meeting: list[str] = []
    fetch(server, tmp_path, progress=lambda *a: meeting or meeting.append(message_of_another(server, tmp_path)))
    assert "is at work; wait until it has ended" in meeting[0]
    assert (fetch(server, tmp_path) / "file.bin").read_bytes() == CONTENT


def message_of_another(server: Server, folder: Path) -> str:
    with pytest.raises(TableError) as caught:
        fetch(server, folder)
    return str(caught.value)


def test_what_is_right_already_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert len(server.requests) == 1
    (tmp_path / "file.bin").write_bytes(b"damaged")
    fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_an_interrupted_download_goes_on_within_one_call(server: Server, tmp_path: Path) -> None:
    server.cut_after = 100_000
    fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    first, second = server.requests
    assert first[1] is None
    assert second[1] is not None
    start = int(second[1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 100_000


def test_an_interrupted_download_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    server.cut_after = 200_000
    assert "cannot download file.bin" in message(server, tmp_path, retries=0)
    kept = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < kept <= 200_000
    fetch(server, tmp_path, retries=0)
    assert server.requests[-1][1] == f"bytes={kept}-"
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert not (tmp_path / "file.bin.part").exists()


def test_a_server_without_ranges_is_asked_for_the_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * 300_000, b"x" * 300_001])
def test_a_foreign_part_is_thrown_away(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "file.bin.part").write_bytes(part)
    fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_refused_range_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    server.statuses = [416]
    fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_wrong_content_is_never_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    said = message(server, tmp_path)
    assert "is not the pinned original: its sha256 differs" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [CONTENT[:-5], CONTENT + b"12345", b""])
def test_a_wrong_size_is_refused_early(server: Server, tmp_path: Path, content: bytes) -> None:
    server.content = content
    said = message(server, tmp_path)
    assert f"expected 300000 bytes, found {len(content)}" in said
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_an_absent_commit_falls_back_to_the_next(server: Server, tmp_path: Path) -> None:
    server.gone = frozenset({"abc"})
    fetch(server, tmp_path, original(commits=("abc", "def")))
    assert [r[0].split("/")[3] for r in server.requests] == ["abc", "def"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_404_names_the_address_and_the_way_by_hand(server: Server, tmp_path: Path) -> None:
    server.gone = frozenset({"abc"})
    said = message(server, tmp_path)
    assert f"{server.url}/owner/repo/abc/dir/file.bin answers 404" in said
    assert "tables import nb201 --from DIR" in said
    assert len(server.requests) == 1


def test_a_tired_server_is_tried_again_and_a_forbidding_one_is_not(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    fetch(server, tmp_path)
    assert len(server.requests) == 3
    (tmp_path / "file.bin").unlink()
    server.statuses = [403]
    assert "answers 403" in message(server, tmp_path)
    assert len(server.requests) == 4
    server.statuses = [503] * 9
    assert "answers 503" in message(server, tmp_path, retries=2)
    assert len(server.requests) == 7


def test_no_connection_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: refused, and nobody else can take the port
        with pytest.raises(TableError) as caught:
            fetch_originals(
                tmp_path, host=f"http://127.0.0.1:{held.getsockname()[1]}", originals=(original(),), retries=1, wait_s=0
            )
    assert "Connection refused" in str(caught.value)
    assert "tables import nb201 --from DIR" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TableError, match="cannot keep the downloads"):
        fetch_originals(tmp_path / "file" / "cache", originals=(original(),))


def test_the_real_addresses_are_pinned() -> None:
    for one in ORIGINALS:
        assert len(one.sha256) == 64
        assert len(one.commits[0]) == 40
        assert one.urls()[0] == f"https://raw.githubusercontent.com/{one.repository}/{one.commits[0]}/{one.path}"
        assert one.path.endswith(one.file)

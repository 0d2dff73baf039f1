"""Downloading the public originals of `nb201` and `nb101`: pinned by sha256, resumable, kept in a cache.

pooch decides whether a file is needed and checks its sha256; the downloader below adds what pooch leaves open: an
interrupted transfer continues where it stopped (HTTP Range), and a file of the wrong length is refused early (where the
length is known exactly; else one that is twice as long as it should be). A file appears under its own name only when it
is complete and right; what is half there is `NAME.part`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pooch
import requests

from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.files import held
from nasbench_sim.tables.catalogue import cache_folder
from nasbench_sim.tables.nb201_sources import HOST, ORIGINALS

Progress = Callable[[str, int, int], None]
"""Called with (file, bytes so far, bytes in all) while a file arrives."""

_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
_CHUNK = 1 << 16


class Download(Protocol):
    """A file to fetch: its name, its size in bytes (approximate unless `exact`), its sha256, and where it is."""

    @property
    def file(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def exact(self) -> bool: ...

    def urls(self, host: str | None = None) -> list[str]: ...


def _by_hand(original: Download) -> str:
    return f"or get the files by hand and run `nasbench-sim tables import {original.table} --from DIR`"


def fetch_originals(
    folder: Path | None = None,
    *,
    host: str | None = None,
    originals: Sequence[Download] = ORIGINALS,
    retries: int = 3,
    wait_s: float = 1.0,
    progress: Progress | None = None,
) -> Path:
    """Bring every original into `folder` (default: the cache) and return that folder; files already right are kept.

    Addresses are tried in turn (`Download.urls`: the public host, then its mirrors), whatever was wrong with the one
    before: absent, refused, cut off, too slow, other bytes; the sha256 decides, and what one sent the next one goes on
    from. `host` stands in for them all, with the paths of https://raw.githubusercontent.com (`nb101_sources.HOST` for
    NAS-Bench-101). A broken connection is tried again `retries` times, `wait_s` seconds apart (doubling). Raises
    `SpecError` for a host that is no web address, and `TableError`, one line, for anything that does not arrive as
    pinned and where another download into `folder` is at work; what has arrived stays, and the next call goes on from
    there.
    """
    if host is not None and not re.match("https?://.", host):
        raise SpecError(f"--host {host!r} is no web address; write https://..., a mirror with the same paths as {HOST}")
    target = cache_folder() if folder is None else folder
    pooch.get_logger().setLevel(logging.WARNING)  # its "Downloading data from" would be mixed into a progress bar
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            for original in originals:
                _fetch(original, target, host, retries, wait_s, progress)
    except OSError as error:  # also every error of requests that was not handled below
        raise TableError(
            f"cannot keep the downloads in {target} ({error}); set NASBENCH_SIM_HOME to a folder you own"
        ) from error
    return target


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process: two that append to one `.part` would spoil it."""
    with held(folder) as mine:
        if not mine:
            raise TableError(f"another download into {folder} is at work; wait until it has ended")
        yield


def _fetch(
    original: Download, folder: Path, host: str | None, retries: int, wait_s: float, progress: Progress | None
) -> None:
    """Try the addresses in turn; raises `TableError` with what was wrong with each."""
    wrong: list[str] = []
    for number, url in enumerate(original.urls(host)):
        try:  # where there is no network at all, six addresses should not take half a minute
            _from(url, original, folder, min(retries, 1) if number else retries, wait_s, progress)
            return
        except _Failed as error:
            wrong.append(str(error))
    raise TableError(f"cannot download {original.file}: {'; '.join(wrong)}; check the connection, {_by_hand(original)}")


class _Failed(Exception):
    """What was wrong with one address; says it in words."""


def _from(url: str, original: Download, folder: Path, retries: int, wait_s: float, progress: Progress | None) -> None:
    for attempt in range(retries + 1):
        downloader = _Resuming(original, folder / f"{original.file}.part", progress)
        try:
            pooch.retrieve(
                url, known_hash=f"sha256:{original.sha256}", fname=original.file, path=folder, downloader=downloader
            )
            return
        except requests.RequestException as error:  # before ValueError: some of them are both
            status = error.response.status_code if error.response is not None else 0
            again = status in (0, 408, 429) or status >= 500
            if attempt == retries or not again or isinstance(error, ValueError):
                raise _Failed(f"{url} {_reason(error)}") from error
        except ValueError as error:  # pooch: the sha256 differs
            if not downloader.resumed or attempt == retries:
                raise _Failed(f"{url} is not the pinned original: its sha256 differs from {original.sha256}") from error
            continue  # the first part may have come from elsewhere; it is gone now, so this starts afresh
        time.sleep(wait_s * 2**attempt)


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.TooManyRedirects):
        return "redirects without end"
    if error.response is not None:
        return f"answers {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "sends nothing in time"
    text = " ".join(str(error).split())
    if "IncompleteRead" in text or "Connection broken" in text or text.startswith("the connection ended"):
        return "breaks off again and again"
    cause = re.search(r"\[Errno -?\d+\] ([^'\"()]+)", text)  # requests wraps the system's words in three layers
    return f"cannot be reached ({cause[1].strip() if cause else text[:120]})"


class _Resuming:
    """A pooch downloader that continues `part` by HTTP Range, and starts afresh where the server cannot."""

    def __init__(self, original: Download, part: Path, progress: Progress | None) -> None:
        self.original = original
        self.part = part
        self.progress = progress
        self.resumed = False

    def __call__(self, url: str, output_file: Any, pooch: Any, check_only: bool = False) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        if have > self.most:
            self.part.unlink()
            have = 0
        self.resumed = have > 0
        if have < self.most:
            self._transfer(url, have)
        self.part.replace(output_file)

    @property
    def most(self) -> int:
        """Bytes that the file may have at most."""
        return self.original.size if self.original.exact else 2 * self.original.size

    def _transfer(self, url: str, have: int) -> None:
        size = self.original.size
        headers = {"Accept-Encoding": "identity"}  # ranges and lengths must be those of the file, not of a gzip of it
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if have and response.status_code == 416:
                if not self.original.exact and response.headers.get("Content-Range") == f"bytes */{have}":
                    return  # all of it was here
                self.part.unlink()
                raise requests.ConnectionError("the server refused to continue; starting again")
            response.raise_for_status()
            if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0  # the whole file is coming
                self.resumed = False
            length = response.headers.get("Content-Length", "")
            if length.isdigit():
                total = have + int(length)
                if total > self.most or (self.original.exact and total != size):
                    self._wrong_size(url, total)
                size = total
            with self.part.open("ab" if have else "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    have += len(chunk)
                    if have > self.most:
                        self._wrong_size(url, have)
                    file.write(chunk)
                    if self.progress is not None:
                        self.progress(self.original.file, have, size)
        if have != size and (self.original.exact or length.isdigit()):
            raise requests.ConnectionError(f"the connection ended after {have} of {size} bytes")

    def _wrong_size(self, url: str, found: int) -> NoReturn:
        self.part.unlink(missing_ok=True)
        raise _Failed(
            f"{url} is not the pinned original: expected {'' if self.original.exact else 'about '}{self.original.size} "
            f"bytes, found {found}"
        )

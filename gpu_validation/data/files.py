"""Reading published files with care: the digest first, then no more bytes than the file may hold."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from nasbench_sim.errors import TableError


def located(name: str, folder: Path | None, file: str) -> Path:
    """Where `file` is: in `folder`, or `folder` itself where that names a file. Raises `TableError` where it is not."""
    if folder is None:
        raise TableError(f"{name} is read from {file}; say where it is with --data-folder")
    path = folder if folder.is_file() else folder / file
    if not path.is_file():
        raise TableError(f"{path} is not there; say where {file} is with --data-folder")
    return path


def check_digest(path: Path, algorithm: str, expected: str) -> None:
    """Raise `TableError` unless the file's digest is the published one; nothing of it is read otherwise."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    if found != expected:
        raise TableError(
            f"{path}: its {algorithm} is {found}, the published file's {expected}; it is damaged or another file: "
            "fetch it again"
        )


def unpacked(path: Path, limit: int) -> bytes:
    """The content of a .gz file of at most `limit` bytes; raises `TableError` beyond it and for a damaged one.

    No more than `limit` + 1 bytes are ever unpacked, whatever the file expands to.
    """
    try:
        with gzip.open(path, "rb") as file:
            data = file.read(limit + 1)
            if len(data) <= limit:
                file.read(1)  # the end of the stream: its checksum is compared there
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path} is damaged or no .gz file ({_short(error)}); fetch it again") from error
    if len(data) > limit:
        raise TableError(f"{path} unpacks to more than the {limit} bytes such a file has; fetch it again")
    return data


def members(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    """The named members of a .tar.gz archive, each of at most so many bytes; the others are passed over.

    Read in one pass and never written to disk, so that no name of a member is ever used as a path. Raises
    `TableError` for a member that is missing, given twice, no ordinary file or too large, and for a damaged archive.
    """
    found: dict[str, bytes] = {}
    total = sum(limits.values()) + (1 << 20)  # headers, padding and small members that nobody asks for
    try:
        with gzip.open(path, "rb") as stream:
            bounded = _Bounded(stream, total, path)
            archive = tarfile.open(fileobj=bounded, mode="r|")  # noqa: SIM115 - it owns nothing
            for member in archive:
                if member.name not in limits:
                    continue
                if member.name in found or not member.isreg() or member.size > limits[member.name]:
                    raise TableError(
                        f"{path}: {member.name} is given twice, no ordinary file, or larger than "
                        f"{limits[member.name]} bytes; fetch it again"
                    )
                content = archive.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
                if len(found[member.name]) != member.size:
                    raise EOFError(f"{member.name} ends early")
            while bounded.read(1 << 16):  # to the end, where gzip's checksum is compared
                pass
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path} is damaged or no .tar.gz archive ({_short(error)}); fetch it again") from error
    missing = [name for name in limits if name not in found]
    if missing:
        raise TableError(f"{path} lacks {', '.join(missing)}; it is not the published archive: fetch it again")
    return found


class _Bounded(io.RawIOBase):
    """The stream, refused after `limit` bytes: an archive that expands to more than it may is not unpacked further."""

    def __init__(self, stream: gzip.GzipFile, limit: int, path: Path) -> None:
        self._stream, self._left, self._path = stream, limit, path

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        data = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise TableError(f"{self._path} unpacks to more than such an archive holds; fetch it again")
        return data


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__

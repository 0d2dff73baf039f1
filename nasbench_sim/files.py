"""Writing files so that a kill or a full disk never leaves half of one: temp beside the target, fsync, replace."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nasbench_sim.errors import RunError

MAX_JSON = 1 << 26  # bytes of facts beside arrays; those of a run of a million seeds have 8 MB


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it replaces `target` atomically, on error it vanishes.

    The temporary file stands in the target's own folder (another file system would make the rename a copy).
    Raises `RunError` where the folder cannot be written or the disk is full; `target` then still holds its old
    content.

    >>> import tempfile as t
    >>> path = Path(t.mkdtemp()) / "note.txt"
    >>> with atomic_path(path) as part:
    ...     _ = part.write_text("done")
    >>> path.read_text()
    'done'
    """
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise RunError(f"cannot write {path}: {_reason(error)}; choose a folder you can write to") from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # mkstemp makes 0600; a record should be as readable as any other file
        part.replace(path)
        with suppress(OSError):  # some file systems cannot fsync a folder
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(
                f"cannot write {path}: {_reason(error)}; what was there is unchanged; mend it or choose another folder"
            ) from error
        raise


def _reason(error: OSError) -> str:
    number = error.errno
    return os.strerror(number) if number is not None and number in errno.errorcode else str(error)


def read_text(path: Path | str, most: int) -> str:
    """The UTF-8 text of a file of at most `most` bytes; raises `ValueError` for a longer one, and OSErrors."""
    with Path(path).open("rb") as file:
        data = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return data.decode("utf-8")


def sha256_file(path: Path | str) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether this process holds the lock of a folder or file (made where it is missing); free when the process ends.

    Nobody waits: False where another process holds it. True on systems without `flock`, where nothing is locked.

    >>> import tempfile as t
    >>> with held(Path(t.mkdtemp())) as mine:
    ...     mine
    True
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        yield True
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)

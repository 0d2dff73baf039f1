"""First pass over a very large pickle: every opcode is checked before anything is built; see `stream_pickle`.

Allowed are numbers, strings, containers, the memo, and the opcodes that name and call a global (what those may be is
the second pass's to say). Persistent ids (tensors), the extension registry, protocols above 3, and everything else are
refused, and so are strings of more than `MAX_TEXT` bytes.

The pass also notes which memo entries are ever fetched: a pickle memoises every string and dictionary and fetches few
of them again, so only those need to be kept in the second pass.
"""

from __future__ import annotations

import pickle
import re
from typing import NamedTuple, Protocol

MAX_TEXT = 1 << 12
_MAX_MEMO = 1 << 29  # entries in all: 64 MB of bits
_PIECE = 1 << 20


class Stream(Protocol):
    """What is read from: `read(n)` gives up to n bytes, none at the end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""


_SHORT = b"|".join(re.escape(bytes([n])) + rb"\x00{3}.{%d}" % n for n in range(1, 17))
#: runs that the first pass may skip over, the longest first; GETs and globals end a run
_SKIP = re.compile(
    rb"(?:G.{8}|[Kq].|X(?:" + _SHORT + rb")|r.{4}|[()\]}Ntaesu\x85-\x89Rb]|M..|J.{4})*+",
    re.DOTALL,
)
_FIXED = {0x4B: 2, 0x4D: 3, 0x4A: 5, 0x47: 9, 0x71: 2, 0x72: 5, 0x68: 2, 0x6A: 5, 0x80: 2}  # opcode -> bytes
_BARE = frozenset(b"()]}Ntaesu\x85\x86\x87\x88\x89Rb.")


class Window:
    """A stream as a sliding buffer in which a whole opcode always lies after `at`."""

    def __init__(self, stream: Stream) -> None:
        self._read = stream.read
        self.data = b""
        self.start = 0  # position of data[0] in the stream
        self.ended = False

    def slide(self, at: int) -> None:
        """Drop what lies before `at` and read on."""
        piece = self._read(_PIECE)
        self.ended = not piece
        self.data = self.data[at:] + piece
        self.start += at


def opcode_length(data: bytes, at: int) -> int:
    """Bytes of the opcode at `at`, 0 where it is not all there yet; raises `UnpicklingError` for one not allowed."""
    opcode = data[at]
    if opcode in _BARE:
        return 1
    size = _FIXED.get(opcode, 0)
    if opcode in (0x58, 0x8A):  # BINUNICODE, LONG1
        width = 4 if opcode == 0x58 else 1
        size = 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "little") if at + width < len(data) else 5
        if size > (MAX_TEXT if opcode == 0x58 else 10):
            raise pickle.UnpicklingError(f"a string or number of {size} bytes")
    elif opcode == 0x63:  # GLOBAL, two lines
        end = data.find(b"\n", data.find(b"\n", at) + 1) if data.find(b"\n", at) >= 0 else -1
        if end < 0 and len(data) - at > 256:
            raise pickle.UnpicklingError("a global without a name")
        size = end + 1 - at if end >= 0 else 256
    elif opcode == 0x51:  # BINPERSID
        raise pickle.UnpicklingError("it holds tensors, which the results of a benchmark do not")
    elif not size:
        raise pickle.UnpicklingError(f"opcode {opcode:#04x} is not allowed")
    return size if at + size <= len(data) else 0


class Scanned(NamedTuple):
    """What the first pass found: a bit for each memo entry that is ever fetched, and the pickle's size in bytes."""

    fetched: bytearray
    size: int


def scan(stream: Stream) -> Scanned:
    """Check every opcode of one pickle, to its STOP.

    Raises `UnpicklingError` for an opcode that is not allowed, and where the stream ends before STOP.
    """
    fetched = bytearray()
    window, at = Window(stream), 0
    while True:
        data = window.data
        match = _SKIP.match(data, at)
        at = match.end() if match else at
        size = opcode_length(data, at) if at < len(data) else 0
        if not size:
            if window.ended:
                raise pickle.UnpicklingError(f"it ends within the opcode at byte {window.start + at}")
            window.slide(at)
            at = 0
            continue
        opcode = data[at]
        if opcode == 0x2E:  # STOP
            return Scanned(fetched, window.start + at + 1)
        if opcode in (0x68, 0x6A):
            entry = data[at + 1] if opcode == 0x68 else int.from_bytes(data[at + 1 : at + 5], "little")
            if entry >= _MAX_MEMO:
                raise pickle.UnpicklingError(f"memo entry {entry}")
            if entry >> 3 >= len(fetched):
                fetched.extend(bytes((entry >> 3) + 1 - len(fetched)))
            fetched[entry >> 3] |= 1 << (entry & 7)
        at += size

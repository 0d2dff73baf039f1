"""Reading one very large pickle record by record, in little memory, without any unpickler.

A NAS-Bench-201 `.pth` file is a single pickle of 2 to 5 GB with 15,625 architectures in it. Loading it whole makes an
object of about 28 GB (D-X-Y/AutoDL-Projects#78). Here the opcodes are interpreted one after the other; whenever a
dictionary has become a *record* (it holds the given keys) it is handed out and then emptied.

Two passes. The first, `stream_scan`, checks every opcode before anything is built and notes which memo entries will be
fetched. The second is here. It has no classes and makes no calls: the few globals of `_Builtin` are names with a
meaning of their own, and what comes out is made of dictionaries, lists, tuples, strings, bytes and numbers.

Bounds: `MAX_BETWEEN` bytes of pickle between two records, and with them what can be built from those.
"""

from __future__ import annotations

import pickle
import re
import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import numpy as np

from nasbench_sim.errors import TableError
from nasbench_sim.tables.stream_scan import MAX_TEXT, Stream, Window, opcode_length

MAX_BETWEEN = 1 << 22  # a record has 0.3 MB, the list of architectures 1.4 MB
_MAX_KEPT = 1 << 24
_MAX_TEXTS = 100_000  # different strings that are kept; a benchmark has 15,625 architectures
_MAX_DEPTH = 64
_BACK = "get the original file again"


class _Builtin(Enum):
    """The globals that a `.pth` file of plain results needs, each a meaning and not a thing that can be called."""

    ORDERED_DICT = ("collections", "OrderedDict")
    SET = ("__builtin__", "set")
    SCALAR = ("numpy.core.multiarray", "scalar")
    DTYPE = ("numpy", "dtype")
    ENCODE = ("_codecs", "encode")


class _Float64(Enum):
    """A dtype that was named, and one that was completed."""

    NAMED = 1
    COMPLETE = 2


_GLOBALS: dict[tuple[str, str], _Builtin] = {
    **{b.value: b for b in _Builtin},
    ("builtins", "set"): _Builtin.SET,
    ("numpy._core.multiarray", "scalar"): _Builtin.SCALAR,
}

#: the dictionary of a curve: two or more of BININT1, BINFLOAT
_NUMBERED = re.compile(rb"(?:K.G.{8}){2,}+", re.DOTALL)
_NUMBERED_DTYPE = np.dtype([("K", "u1"), ("key", "u1"), ("G", "u1"), ("value", ">f8")])


class _Memo:
    """Memo entries that will be fetched: those of the record being read as they are, of earlier ones strings alone.

    Records share the strings of their keys, so those fetched from earlier records are many and the different ones few:
    8 bytes for each of the many.
    """

    def __init__(self) -> None:
        self._now: dict[int, Any] = {}
        self._entries, self._numbers = array("I"), array("I")  # ascending entries, and which string each is
        self._strings: list[str] = []
        self._number: dict[str, int] = {}

    def put(self, entry: int, value: Any) -> None:
        """Keep a value; BUILD completes a dtype that was memoised before."""
        if len(self._now) + len(self._entries) >= _MAX_KEPT:
            raise pickle.UnpicklingError("it shares too many objects")
        self._now[entry] = value

    def get(self, entry: int) -> Any:
        """The value of an entry; raises `UnpicklingError` for one that is not there or was given back."""
        if entry in self._now:
            return self._now[entry]
        at = bisect_left(self._entries, entry)
        if at == len(self._entries) or self._entries[at] != entry:
            raise pickle.UnpicklingError(f"memo entry {entry} is not there, or belongs to an earlier record")
        return self._strings[self._numbers[at]]

    def complete(self) -> None:
        """The dtype that was named is now complete."""
        self._now.update({e: _Float64.COMPLETE for e, value in self._now.items() if value is _Float64.NAMED})

    def release(self) -> None:
        """Forget the containers of a record that was handed out, and put its strings away."""
        kept: dict[int, Any] = {}
        for entry, value in self._now.items():
            if type(value) is str and (not self._entries or entry > self._entries[-1]):
                if value not in self._number:
                    self._number[value] = len(self._strings)
                    self._strings.append(value)
                self._entries.append(entry)
                self._numbers.append(self._number[value])
            elif isinstance(value, Enum):
                kept[entry] = value
        self._now = kept


class Reader:
    """The second pass: builds, and hands out records.

    `fetched` is what `scan` gave for the same bytes; a record is a dictionary that has all keys in `record`.

    Attributes
    ----------
    top: what the pickle was in the end, with its records emptied.
    """

    def __init__(self, stream: Stream, fetched: bytearray, record: frozenset[str]) -> None:
        self._window = Window(stream)
        self._fetched = fetched
        self._record = record
        self._memo = _Memo()
        self._texts: dict[bytes, str] = {}
        self.top: Any = None

    def records(self) -> Iterator[dict[Any, Any]]:
        """Each record as soon as it is complete; it is emptied when the next one is asked for."""
        double, word = struct.Struct(">d").unpack_from, struct.Struct("<I").unpack_from
        fetched, entries, memo = self._fetched, 8 * len(self._fetched), self._memo
        texts, text = self._texts, self._text
        stack: list[Any] = []
        above: list[list[Any]] = []
        window, at, last = self._window, 0, 0
        data = window.data
        while True:
            while len(data) - at < 2 * MAX_TEXT and not window.ended:
                window.slide(at)
                data, at = window.data, 0
            opcode = data[at]
            if opcode == 0x58:  # BINUNICODE
                end = at + 5 + word(data, at + 1)[0]
                raw = data[at + 5 : end]
                stack.append(texts.get(raw) or text(raw))
                at = end
                opcode = data[at]  # nearly always LONG_BINPUT, and then BINFLOAT: save two turns of the loop
            if opcode == 0x72:  # LONG_BINPUT
                entry = word(data, at + 1)[0]
                if entry < entries and fetched[entry >> 3] >> (entry & 7) & 1:
                    memo.put(entry, stack[-1])
                at += 5
                opcode = data[at]
            if opcode == 0x47:  # BINFLOAT
                stack.append(double(data, at + 1)[0])
                at += 9
            elif opcode == 0x58 or opcode == 0x72:
                pass
            elif opcode == 0x4B:  # BININT1
                stack.append(data[at + 1])
                at += 2
            elif opcode == 0x71:  # BINPUT
                entry = data[at + 1]
                if entry < entries and fetched[entry >> 3] >> (entry & 7) & 1:
                    memo.put(entry, stack[-1])
                at += 2
            elif opcode == 0x68 or opcode == 0x6A:  # BINGET, LONG_BINGET
                size = 2 if opcode == 0x68 else 5
                stack.append(memo.get(int.from_bytes(data[at + 1 : at + size], "little")))
                at += size
            elif opcode == 0x28:  # MARK
                above.append(stack)
                run = _NUMBERED.match(data, at + 1)
                stack = _pairs(run[0]) if run else []
                at = run.end() if run else at + 1
                if len(above) > _MAX_DEPTH:
                    raise pickle.UnpicklingError("it is nested too deeply")
            elif opcode == 0x75 or opcode == 0x73:  # SETITEMS, SETITEM
                at += 1
                if opcode == 0x75:
                    items, stack = stack, above.pop()
                else:
                    items = stack[-2:]
                    del stack[-2:]
                target = stack[-1]
                if type(target) is not dict:
                    raise pickle.UnpicklingError("items set on what is no dictionary")
                target.update(zip(items[::2], items[1::2], strict=True))
                if self._record <= target.keys():
                    yield target
                    target.clear()
                    memo.release()
                    last = window.start + at
            elif opcode == 0x2E:  # STOP
                (self.top,) = stack
                return
            elif opcode == 0x74:  # TUPLE
                items, stack = stack, above.pop()
                stack.append(tuple(items))
                at += 1
            elif opcode == 0x65:  # APPENDS
                items, stack = stack, above.pop()
                _list(stack[-1]).extend(items)
                at += 1
            else:
                size = opcode_length(data, at)
                self._rare(opcode, data[at + 1 : at + size], stack)
                at += size
            if window.start + at - last > MAX_BETWEEN:
                raise pickle.UnpicklingError(f"{MAX_BETWEEN} bytes without a record")

    def _rare(self, opcode: int, argument: bytes, stack: list[Any]) -> None:
        if opcode in _MAKE:
            stack.append(_MAKE[opcode]())
        elif opcode in (0x4D, 0x4A, 0x8A):  # BININT2, BININT, LONG1
            payload = argument[1:] if opcode == 0x8A else argument
            stack.append(int.from_bytes(payload, "little", signed=opcode != 0x4D))
        elif opcode in (0x85, 0x86, 0x87):  # TUPLE1..3
            size = opcode - 0x84
            made = tuple(stack[-size:])
            del stack[-size:]
            stack.append(made)
        elif opcode == 0x61:  # APPEND
            value = stack.pop()
            _list(stack[-1]).append(value)
        elif opcode == 0x63:  # GLOBAL
            module, name = argument[:-1].decode("ascii").split("\n")
            if (module, name) not in _GLOBALS:
                raise pickle.UnpicklingError(f"it asks for the global {module}.{name}, which is not on the allow-list")
            stack.append(_GLOBALS[module, name])
        elif opcode == 0x52:  # REDUCE
            arguments = stack.pop()
            stack.append(_meaning(stack.pop(), arguments))
        elif opcode == 0x62:  # BUILD
            state, made = stack.pop(), stack.pop()
            if made is not _Float64.NAMED or state != (3, "<", None, None, None, -1, -1, 0):
                raise pickle.UnpicklingError("state for what is no plain float64 dtype")
            self._memo.complete()
            stack.append(_Float64.COMPLETE)
        elif opcode != 0x80:
            raise pickle.UnpicklingError(f"opcode {opcode:#04x} is not allowed")

    def _text(self, raw: bytes) -> str:
        text = raw.decode()
        if len(self._texts) < _MAX_TEXTS:
            self._texts[raw] = text
        return text


_MAKE: dict[int, Callable[[], Any]] = {
    0x7D: dict,
    0x5D: list,
    0x29: tuple,
    0x4E: lambda: None,
    0x88: lambda: True,
    0x89: lambda: False,
}


def _pairs(run: bytes) -> list[Any]:
    """key, value, key, value, ... of a run of `_NUMBERED`."""
    pairs = np.frombuffer(run, _NUMBERED_DTYPE)
    out: list[Any] = [None] * (2 * len(pairs))
    out[::2] = pairs["key"].tolist()
    out[1::2] = pairs["value"].tolist()
    return out


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise pickle.UnpicklingError("items appended to what is no list")
    return value


def _meaning(name: object, arguments: object) -> Any:
    """What a REDUCE of one of `_Builtin` stands for."""
    if name is _Builtin.ORDERED_DICT and arguments == ():
        return {}
    if type(arguments) is tuple and len(arguments) > 0:
        first = arguments[0]
        if name is _Builtin.SET and len(arguments) == 1 and type(first) is list:
            return first
        if name is _Builtin.ENCODE and type(first) is str and arguments[1:] == ("latin1",):
            return first.encode("latin1")
        if name is _Builtin.DTYPE and arguments == ("f8", 0, 1):
            return _Float64.NAMED
        raw = arguments[1] if len(arguments) == 2 else None
        if name is _Builtin.SCALAR and first is _Float64.COMPLETE and type(raw) is bytes and len(raw) == 8:
            return struct.unpack("<d", raw)[0]
    raise pickle.UnpicklingError("a global is used in a way that is not allowed")


def refused(where: str, error: BaseException) -> TableError:
    """The one line for whatever reading a pickle raised."""
    if isinstance(error, TableError):
        return error
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return TableError(f"{where}: refused to unpickle, {reason}; {_BACK}")

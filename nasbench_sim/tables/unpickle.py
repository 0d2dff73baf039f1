"""Reading other people's pickles without running them: an allow-list of opcodes, of names, and of what names do.

Pickle is a program. Some of the public originals are pickles, so they are read here, and nowhere else (but for the
largest, which `stream_pickle` interprets without any unpickler), under rules:

1. The file is refused above a byte cap before it is opened.
2. Every opcode is checked before any is executed: plain data, the memo, and "build this named record" pass; persistent
   ids, the extension registry, protocol 0 text opcodes, and memo indices that would reserve memory do not.
3. A global is only ever an entry of an explicit `{(module, name): constructor}`. Constructors are inert: records that
   accept nothing but a plain state, and functions wrapped so that a pickle can neither read nor change them.

What comes back is built from numbers, strings, bytes, tuples, lists, dicts and those records; nothing else can be made.
Memory stays within a small multiple of the cap (the worst opcode, an empty dict, is one byte for 64).

>>> read_pickle(b"\\x80\\x03}q\\x00K\\x01K\\x02s.", what="example", cap=100)
{1: 2}
"""

from __future__ import annotations

import gc
import io
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from nasbench_sim.errors import TableError


class Record:
    """An inert stand-in for another package's class: it can be made empty and then given one dict of plain values.

    Subclass it with the `fields` that the state must have, no more and no fewer.

    >>> class Point(Record):
    ...     fields = frozenset({"x"})
    >>> point = Point()
    >>> point.__setstate__({"x": 1.5})
    >>> point.state
    {'x': 1.5}
    """

    __slots__ = ("state",)
    fields: ClassVar[frozenset[str]] = frozenset()
    state: dict[str, Any]

    def __setstate__(self, state: object) -> None:
        # also what BUILD reaches when aimed at the class itself: the call then lacks an argument and fails
        if type(state) is not dict or state.keys() != self.fields:
            raise pickle.UnpicklingError(f"a {type(self).__name__} record is built from {sorted(self.fields)} only")
        for value in state.values():
            if type(value) not in _PLAIN and not isinstance(value, Record):
                raise pickle.UnpicklingError(f"a {type(self).__name__} record holds a {type(value).__name__}")
        self.state = state


_PLAIN = frozenset({int, float, str, bytes, bool, tuple, type(None)})

Constructor = type[Record] | Callable[..., Any]
Allowed = Mapping[tuple[str, str], Constructor]


class _Function:
    """A constructor that is a function: callable from the pickle, but with no state that BUILD could set."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: object) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError("a constructor cannot be changed")

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a constructor has no state")


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: Allowed, python2: bool) -> None:
        super().__init__(io.BytesIO(data), fix_imports=False, encoding="bytes" if python2 else "ASCII", errors="strict")
        self._allowed = {
            name: c if isinstance(c, type) and issubclass(c, Record) else _Function(c) for name, c in allowed.items()
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for the global {module}.{name}, which is not on the allow-list")
        return self._allowed[module, name]

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it uses persistent ids")


# Runs of opcodes with a fixed length, matched in C; possessive, so that no backtracking state is kept. POP and DUP,
# frozen sets, protocol-0 text opcodes, persistent ids, the extension registry, INST, OBJ and NEWOBJ_EX are left out.
# Indices of LONG_BINPUT stay below 2^20: the unpickler's memo is an array as long as the largest index.
# Strings of 1 to 16 bytes are part of a run, each length spelt out: a NATS-Bench file has one for every point of a
# curve, and a run that stops at each is no run.
_SHORT_STRINGS = b"|".join(re.escape(bytes([n])) + b".{%d}" % n for n in range(1, 17))
_FIXED = re.compile(
    rb"(?:G.{8}|[Khq]."  # BINFLOAT; BININT1, BINGET, BINPUT
    rb"|\x8c(?:" + _SHORT_STRINGS + rb")"  # SHORT_BINUNICODE
    # containers, constants, NEWOBJ, REDUCE, BUILD, ADDITEMS, STACK_GLOBAL, MEMOIZE
    rb"|[()\]}Ntaesu\x85-\x89\x81Rb\x90\x93\x94]"
    rb"|M..|J.{4}"  # BININT2, BININT
    rb"|[jr]..[\x00-\x0f]\x00)*+",  # LONG_BINGET, LONG_BINPUT
    re.DOTALL,
)
#: opcode -> bytes of its length field; the payload follows
_COUNTED = {
    0x8C: 1,  # SHORT_BINUNICODE
    0x58: 4,  # BINUNICODE
    0x43: 1,  # SHORT_BINBYTES
    0x42: 4,  # BINBYTES
    0x8A: 1,  # LONG1
}
#: what Python 2 wrote its strings with: BINSTRING, SHORT_BINSTRING; they come back as bytes
_PYTHON2 = {0x54: 4, 0x55: 1}
_PROTO, _STOP, _GLOBAL, _FRAME, _EMPTY_SET = 0x80, 0x2E, 0x63, 0x95, 0x8F
_MAX_SETS = 8  # an empty set is one byte for 216


def _check_opcodes(data: bytes, counted: Mapping[int, int]) -> None:
    """Walk every opcode without executing any; raise `UnpicklingError` at the first that is not allowed."""
    end = len(data)
    position = 2 if data[:1] == bytes([_PROTO]) and 2 <= data[1] <= 5 else 0
    if position == 0:
        raise pickle.UnpicklingError("it is not a pickle of protocol 2 to 5")
    sets = 0
    while True:
        match = _FIXED.match(data, position)
        position = match.end() if match else position
        if position >= end:
            raise pickle.UnpicklingError("it ends before its STOP opcode")
        opcode = data[position]
        if opcode == _STOP:
            if position + 1 != end:
                raise pickle.UnpicklingError(f"{end - position - 1} bytes follow its STOP opcode")
            return
        if opcode == _GLOBAL:  # two text lines; protocol 2 and 3 name their globals this way
            first = data.find(b"\n", position + 1, position + 256)
            second = data.find(b"\n", first + 1, first + 256) if first >= 0 else -1
            if second < 0:
                raise pickle.UnpicklingError(f"the global at byte {position} has no name")
            position = second + 1
        elif opcode == _EMPTY_SET and sets < _MAX_SETS:
            sets += 1
            position += 1
        elif opcode == _FRAME:  # says how many of the following bytes to buffer at once
            size = int.from_bytes(data[position + 1 : position + 9], "little")
            if position + 9 + size > end:
                raise pickle.UnpicklingError(f"the frame at byte {position} claims {size} bytes and runs past the end")
            position += 9
        elif opcode in counted:
            start = position + 1 + counted[opcode]
            size = int.from_bytes(data[position + 1 : start], "little")
            if start + size > end:
                raise pickle.UnpicklingError(f"the value at byte {position} claims {size} bytes and runs past the end")
            position = start + size
        else:
            raise pickle.UnpicklingError(f"opcode {opcode:#04x} at byte {position} is not allowed")


def read_pickle(
    source: bytes | Path, *, what: str, cap: int, allowed: Allowed | None = None, python2: bool = False
) -> Any:
    """The plain data of a pickle (bytes, or a file) that builds nothing but `allowed`.

    `cap` is the most bytes it may have; `what` names it in errors; `python2`: strings of Python 2 are let through, as
    bytes. Raises `TableError` in one line, with nothing of
    the pickle executed where an opcode is refused, and with nothing but `allowed` constructors called otherwise.
    """
    try:
        data = _bounded(source, what, cap)
        _check_opcodes(data, {**_COUNTED, **_PYTHON2} if python2 else _COUNTED)
        with _gc_paused():
            return _Unpickler(data, allowed or {}, python2).load()
    except OSError as error:
        raise TableError(f"{what}: cannot be read ({error.strerror or error}); check the path") from error
    except TableError:
        raise
    except (Exception, RecursionError) as error:  # a hostile pickle can make the unpickler raise almost anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TableError(f"{what}: refused to unpickle, {reason}; get the original file again") from error


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Hundreds of thousands of new containers would set off full collections that find nothing: half the load time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _bounded(source: bytes | Path, what: str, cap: int) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        with source.open("rb") as file:
            data = file.read(cap + 1)  # never more than the cap, whatever the file grows to meanwhile
    if len(data) > cap:
        raise TableError(f"{what}: larger than the {cap} bytes such a file may have; get the original file again")
    return data


# --- NumPy arrays without NumPy's own unpickling --------------------------------------------------------------------

_MAX_ROWS = 1_000_000


class Float64Array(Record):
    """Stand-in for a pickled `numpy.ndarray`: accepts one dimension of little-endian float64 and nothing else."""

    __slots__ = ("values",)
    values: np.ndarray[tuple[int], np.dtype[np.float64]]

    def __setstate__(self, state: object) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise pickle.UnpicklingError("an array is built from (version, shape, dtype, order, bytes)")
        version, shape, dtype, fortran, raw = state
        if version != 1 or type(fortran) is not bool or type(shape) is not tuple or len(shape) != 1:
            raise pickle.UnpicklingError("only one-dimensional arrays are accepted")
        rows = shape[0]
        if type(rows) is not int or not 0 <= rows <= _MAX_ROWS:
            raise pickle.UnpicklingError(f"an array of {rows!r} rows is outside 0..{_MAX_ROWS}")
        if type(dtype) is not _Float64 or dtype.order != "<":
            raise pickle.UnpicklingError("only little-endian float64 arrays are accepted")
        if type(raw) is not bytes or len(raw) != 8 * rows:
            raise pickle.UnpicklingError(f"an array of {rows} float64 needs {8 * rows} bytes")
        self.values = np.frombuffer(raw, dtype="<f8")  # read-only, as bytes are


class _Float64(Record):
    """Stand-in for a pickled float64 `numpy.dtype`."""

    __slots__ = ("order",)
    order: str

    def __setstate__(self, state: object) -> None:
        if state != (3, "<", None, None, None, -1, -1, 0):
            raise pickle.UnpicklingError("only the plain little-endian float64 dtype is accepted")
        self.order = "<"


class _NDArray(Record):
    """Stand-in for the class `numpy.ndarray` as an argument of `_reconstruct`; never built."""

    __slots__ = ()


def _dtype(*args: object) -> _Float64:
    if args != ("f8", 0, 1):
        raise pickle.UnpicklingError(f"the dtype {args[:1]!r} is not float64")
    return _Float64()


def _scalar(dtype: object = None, raw: object = None) -> float:
    """`numpy.core.multiarray.scalar`: one little-endian float64, as a Python float."""
    if type(dtype) is not _Float64 or dtype.order != "<" or type(raw) is not bytes or len(raw) != 8:
        raise pickle.UnpicklingError("only float64 scalars are accepted")
    return float(np.frombuffer(raw, dtype="<f8")[0])


def _ordered_dict(*args: object) -> dict[Any, Any]:
    """`collections.OrderedDict`, as a plain dict: those keep their order too."""
    if args:
        raise pickle.UnpicklingError("an OrderedDict is built empty")
    return {}


def _reconstruct(*args: object) -> Float64Array:
    if args != (_NDArray, (0,), b"b"):
        raise pickle.UnpicklingError("an array is not reconstructed the plain way")
    return Float64Array()


#: what a pickle of plain dicts of float64 arrays needs: NumPy's three names, as inert stand-ins
FLOAT64_ARRAYS: Allowed = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _dtype,
}

#: what the files of NATS-Bench need: ordered dictionaries, and float64 scalars among the plain numbers
NATS_BENCH: Allowed = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _dtype,
}

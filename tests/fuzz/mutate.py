"""Mutations of files: what a broken disk, a cut transfer and someone with a hex editor make of a good one.

An input is a pure function of (seed, number, what is in the pool): one to six mutations, drawn from a counter-based
stream of its own, of one file of the pool. The pool begins with good files; `run` adds an input whose answer was new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Rng = np.random.Generator
_MORE = 1 << 12  # bytes by which an input may outgrow the longest good file
#: values at the edges of lengths, counts and signs
_EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63)
_TEXT = (
    b"0", b"-1", b"1e999", b"-0.0", b"nan", b"NaN", b"inf", b"1" * 40, b'"', b"''", b"[", b"]", b"{", b"}", b",", b":",
    b"\n", b"\r", b"\0", b"\xff", b"\xc3\x28", b"\xef\xbb\xbf", b"null", b"true", b"\\u0000", b"../", b"%s", b" ",
)  # fmt: skip


def rng_of(seed: int, number: int) -> Rng:
    """The stream of input `number` of a run with this seed."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))


def mutant(pool: Sequence[bytes], words: Sequence[bytes], rng: Rng, most: int) -> bytes:
    """One to six mutations of one file of the pool, cut at `most` bytes.

    >>> mutant([b"abc"], (), rng_of(0, 0), 10) == mutant([b"abc"], (), rng_of(0, 0), 10)
    True
    """
    data = bytearray(pool[int(rng.integers(len(pool)))])
    for _ in range(1 + min(5, int(rng.geometric(0.5)) - 1)):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        change(data, rng, pool, words)
    return bytes(data[:most])


def longest(pool: Sequence[bytes]) -> int:
    """The most bytes that an input made from these good files has."""
    return max(map(len, pool)) + _MORE


def _at(data: bytearray, rng: Rng) -> int:
    """A position; one time in four near the beginning, where the headers are."""
    end = len(data) + 1
    return int(rng.integers(min(end, 64) if rng.random() < 0.25 else end))


def _some(data: bytearray, rng: Rng) -> tuple[int, int]:
    """A block: mostly short, sometimes anything."""
    start = _at(data, rng)
    length = int(rng.integers(1, 33)) if rng.random() < 0.8 else int(rng.integers(1, len(data) + 2))
    return start, min(len(data), start + length)


def _flip(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _at(data, rng)
    if at < len(data):
        data[at] ^= 1 << int(rng.integers(8))


def _byte(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _at(data, rng)
    if at < len(data):
        data[at] = int(rng.integers(256))


def _edge(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    size = (1, 2, 4, 8)[int(rng.integers(4))]
    value = _EDGES[int(rng.integers(len(_EDGES)))] + int(rng.integers(-1, 2))
    at = _at(data, rng)
    order = "big" if rng.random() < 0.25 else "little"
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]


def _cut(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    start, stop = _some(data, rng)
    del data[start:stop]


def _end(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    del data[_at(data, rng) :]


def _again(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    start, stop = _some(data, rng)
    at = _at(data, rng)
    times = 1 if rng.random() < 0.8 else int(rng.integers(2, 200))
    data[at:at] = (bytes(data[start:stop]) * times)[:_MORE]


def _noise(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _at(data, rng)
    more = rng.bytes(int(rng.integers(1, 33)))
    data[at : at + (len(more) if rng.random() < 0.5 else 0)] = more


def _word(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    choice = words if words and rng.random() < 0.7 else _TEXT
    word = choice[int(rng.integers(len(choice)))]
    at = _at(data, rng)
    data[at : at + (len(word) if rng.random() < 0.5 else 0)] = word


def _digit(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    """Another digit in the place of one, so that texts stay numbers."""
    start = _at(data, rng)
    at = next((i for i in range(start, min(len(data), start + 256)) if 48 <= data[i] < 58), None)
    if at is not None:
        data[at] = 48 + int(rng.integers(10))


def _exchange(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    start, stop = _some(data, rng)
    block = bytes(data[start:stop])
    del data[start:stop]
    at = _at(data, rng)
    data[at:at] = block


def _splice(data: bytearray, rng: Rng, pool: Sequence[bytes], words: Sequence[bytes]) -> None:
    other = bytearray(pool[int(rng.integers(len(pool)))])
    data[_at(data, rng) :] = other[_at(other, rng) :]


Change = Callable[[bytearray, Rng, Sequence[bytes], Sequence[bytes]], None]
_CHANGES: tuple[Change, ...] = (
    _flip, _flip, _byte, _byte, _edge, _edge, _cut, _end, _again, _noise, _word, _word, _digit, _exchange, _splice,
)  # fmt: skip

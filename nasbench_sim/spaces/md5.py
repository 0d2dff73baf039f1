"""MD5 of many messages of one length at once, as NAS-Bench-101 names its modules by rounds of MD5.

hashlib takes one message a call: 0.50 us for 116 bytes, most of it the call. Here every step of the algorithm runs over
all messages: 0.17 us (tests/benchmarks/test_spaces_bench.py). A fingerprint of public data, not a protection.

Source: RFC 1321, section 3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]

LANES = 8192  # messages at a time: state and one block of words are 0.8 MB, which stays in L2

_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
# floor(|sin(i)| 2^32) for i = 1..64: double precision has 21 bits to spare; the tests compare with hashlib
_SINES = np.floor(np.abs(np.sin(np.arange(1, 65))) * 2.0**32).astype(np.uint64).astype(np.uint32)
_TURNS = np.array([7, 12, 17, 22] * 4 + [5, 9, 14, 20] * 4 + [4, 11, 16, 23] * 4 + [6, 10, 15, 21] * 4, dtype=np.uint32)
_WORD = [*range(16), *((5 * i + 1) % 16 for i in range(16)), *((3 * i + 5) % 16 for i in range(16))]
_WORD += [7 * i % 16 for i in range(16)]


def md5(messages: Bytes) -> Bytes:
    """Digests `[N, 16]` of `messages[N, L]` (bytes), equal to those of hashlib.

    >>> import hashlib
    >>> out = md5(np.frombuffer(b"abcabd", dtype=np.uint8).reshape(2, 3))
    >>> [row.tobytes() == hashlib.md5(text).digest() for row, text in zip(out, (b"abc", b"abd"))]
    [True, True]
    """
    n, length = messages.shape
    out = np.empty((n, 16), dtype=np.uint8)
    for i in range(0, n, LANES):
        padded = _pad(messages[i : i + LANES], length)
        out[i : i + LANES] = _digests(padded)
    return out


def _pad(messages: Bytes, length: int) -> Bytes:
    """The messages, a byte 128, zeros, and the length in bits in the last 8 of `[n, blocks * 64]`."""
    blocks = (length + 8) // 64 + 1
    padded = np.zeros((len(messages), blocks * 64), dtype=np.uint8)
    padded[:, :length] = messages
    padded[:, length] = 128
    padded[:, -8:] = np.frombuffer((8 * length).to_bytes(8, "little"), dtype=np.uint8)
    return padded


def _digests(padded: Bytes) -> Bytes:
    # words first, messages last: every operation then runs along contiguous memory
    words = np.ascontiguousarray(padded.view("<u4").T).astype(np.uint32, copy=False)
    n = words.shape[1]
    state = [np.full(n, start, dtype=np.uint32) for start in _START]
    mixed, turned = np.empty(n, dtype=np.uint32), np.empty(n, dtype=np.uint32)
    for block in range(0, len(words), 16):
        a, b, c, d = (x.copy() for x in state)
        for i in range(64):
            _mix(i, b, c, d, mixed)
            a += mixed
            a += _SINES[i]
            a += words[block + _WORD[i]]
            np.left_shift(a, _TURNS[i], out=turned)
            np.right_shift(a, np.uint32(32) - _TURNS[i], out=a)
            a |= turned
            a += b
            a, b, c, d = d, a, b, c
        for total, part in zip(state, (a, b, c, d), strict=True):
            total += part
    return np.stack(state, axis=1).astype("<u4", copy=False).view(np.uint8)


def _mix(i: int, b: Words, c: Words, d: Words, out: Words) -> None:
    """The round's function of b, c, d into `out`: choice, choice, parity, and RFC 1321's I."""
    if i < 16:
        np.bitwise_xor(c, d, out=out)
        out &= b
        out ^= d
    elif i < 32:
        np.bitwise_xor(b, c, out=out)
        out &= d
        out ^= c
    elif i < 48:
        np.bitwise_xor(b, c, out=out)
        out ^= d
    else:
        np.invert(d, out=out)
        out |= b
        out ^= c

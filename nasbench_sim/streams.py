"""Counter-based noise: the draw of (seed, purpose, step) is a pure function, so the step number *is* the RNG state.

Each seed has one Philox key a purpose (`SeedSequence([seed, purpose]) -> key`); a block of steps starts at its own
counter. Nothing depends on which other seeds run beside it or on what was drawn before: seed s alone equals row s
of a batch, and a resumed run needs nothing but its step number. Blocks keep the Python cost per block, not per step.

Source of the scheme: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011), as in `numpy.random.Philox`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

_BLOCK_VALUES = 4096  # draws a seed and block; fixed, because it is part of what a stream *is*
_LANES = 64  # a row is padded to whole vector registers: no scalar tail, whose last bit may differ
_TOGETHER = 32  # seeds turned into numbers at a time: 32 x 4096 float32 = 512 KB
Floats = npt.NDArray[np.float32]


class Streams:
    """Noise for `seeds`, addressed by purpose and step.

    Example
    -------
    >>> together, alone = Streams([3, 7]), Streams([7])
    >>> bool((together.normal("gradient", 400, (2,))[1] == alone.normal("gradient", 400, (2,))[0]).all())
    True
    """

    def __init__(self, seeds: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.seeds = tuple(int(s) for s in seeds)
        if any(s < 0 for s in self.seeds):
            raise ValueError("seeds are integers >= 0")
        self._keys: dict[str, npt.NDArray[np.uint64]] = {}
        self._blocks: dict[tuple[str, str, int], tuple[int, Floats]] = {}
        self._bits = np.random.Philox(key=0)

    def normal(self, purpose: str, step: int, shape: tuple[int, ...]) -> Floats:
        """Standard normal draws `[S, *shape]` (read-only) of this purpose and step."""
        return self._draw("normal", purpose, step, shape)

    def uniform(self, purpose: str, step: int, shape: tuple[int, ...]) -> Floats:
        """Uniform draws on [0, 1) `[S, *shape]` (read-only) of this purpose and step."""
        return self._draw("uniform", purpose, step, shape)

    def _draw(self, kind: Literal["normal", "uniform"], purpose: str, step: int, shape: tuple[int, ...]) -> Floats:
        size = math.prod(shape)
        per_block = max(1, _BLOCK_VALUES // size)
        number, offset = divmod(step, per_block)
        cache = (kind, purpose, size)
        block = self._blocks.get(cache)
        if block is None or block[0] != number:
            block = (number, self._make(kind, purpose, number, per_block, size))
            self._blocks[cache] = block
        return np.asarray(block[1][offset]).reshape(len(self.seeds), *shape)

    def _make(self, kind: str, purpose: str, number: int, steps: int, size: int) -> Floats:
        """One block `[steps, S, size]`: raw Philox words of each seed, turned into numbers some seeds at a time."""
        keys = self._key(f"{kind} {purpose}")  # uniforms and normals of one purpose must not share bits
        words = -(-steps * size // _LANES) * _LANES // 2  # two numbers a word
        turn = _to_normal if kind == "normal" else _to_uniform
        out = np.empty((steps, len(self.seeds), size), dtype=np.float32)
        state = self._bits.state
        state["buffer_pos"], state["has_uint32"] = 4, 0
        state["state"]["counter"] = np.array([0, 0, number, 0], dtype=np.uint64)
        for start in range(0, len(self.seeds), _TOGETHER):
            some = keys[start : start + _TOGETHER]
            raw = np.empty((len(some), words), dtype=np.uint64)
            for row, key in zip(raw, some, strict=True):
                state["state"]["key"] = key
                self._bits.state = state
                row[:] = self._bits.random_raw(words)
            numbers = turn(raw)[:, : steps * size].reshape(len(some), steps, size)
            out[:, start : start + len(some)] = numbers.transpose(1, 0, 2)
        out.setflags(write=False)
        return out

    def _key(self, purpose: str) -> npt.NDArray[np.uint64]:
        if purpose not in self._keys:
            tag = zlib.crc32(purpose.encode())
            rows = [np.random.SeedSequence([s, tag]).generate_state(2, np.uint64) for s in self.seeds]
            self._keys[purpose] = np.array(rows, dtype=np.uint64).reshape(len(self.seeds), 2)
        return self._keys[purpose]


def _to_uniform(raw: npt.NDArray[np.uint64]) -> Floats:
    """Two uniforms on [0, 1) of 24 bits from each word, `[n, words] -> [n, 2 words]`."""
    halves = np.concatenate([raw >> np.uint64(40), (raw >> np.uint64(8)) & np.uint64(0xFFFFFF)], axis=1)
    return halves.astype(np.float32) * np.float32(2.0**-24)


def _to_normal(raw: npt.NDArray[np.uint64]) -> Floats:
    """Two normals from each word by Box & Muller (1958).

    4.5 ns each with drawing and layout, where NumPy's float32 ziggurat takes 11 (tests/benchmarks/test_parts_bench.py).
    Uniforms of 24 bits, shifted by half a step so that the logarithm is finite; |x| stays below 5.9.
    """
    uniform = _to_uniform(raw)
    n = raw.shape[1]
    radius = np.sqrt(np.float32(-2) * np.log(uniform[:, :n] + np.float32(2.0**-25)))
    angle = np.float32(2 * np.pi) * uniform[:, n:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)

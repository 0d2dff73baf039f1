"""What the drop-in interfaces share: their error and warning, and where a random trial comes from.

The packages that are stood in for draw from Python's global generator, so that a search cannot be repeated on its
own. Here a draw comes from an explicit `rng`: a seed, a numpy Generator, or an object with `choice` and `randint` (the
module `random`, or a `random.Random`). With the last kind the draws are, one by one, those of the original packages.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from nasbench_sim.errors import NotMeasured, SpecError

T = TypeVar("T")

DEFAULT_SEED = 0
BLOCK = 256  # numbers drawn ahead


class CompatWarning(UserWarning):
    """A drop-in interface does not do what the original package does; says what it does and how to get the other."""


class Absent(NotMeasured, ValueError):
    """Something that was not measured, or is not in the benchmark.

    Both a `KeyError` and a `ValueError`: the original packages raise now the one, now the other.
    """


class Draws(Protocol):
    """The two draws that the original packages make, as the module `random` has them."""

    def choice(self, seq: Sequence[Any], /) -> Any: ...

    def randint(self, a: int, b: int, /) -> int: ...


class GeneratorDraws:
    """`Draws` of a numpy Generator; `default` warns at the first draw that nobody gave it.

    `owned`: nobody else draws from the generator, so numbers may be drawn ahead, `BLOCK` at once. They are the same
    ones; `Generator.random` takes 0.4 us a call and 0.03 us a number of a block.

    >>> draws = GeneratorDraws(np.random.default_rng(7))
    >>> draws.choice([777, 888, 999]) in (777, 888, 999), 0 <= draws.randint(0, 4) <= 4
    (True, True)
    """

    def __init__(self, generator: np.random.Generator, *, owned: bool = False, default: bool = False) -> None:
        self.generator = generator
        self.owned = owned or default
        self.ahead: list[float] = []  # the next numbers, last first
        self._default = default

    def choice(self, seq: Sequence[T], /) -> T:
        """One element, uniformly."""
        if not self.ahead:
            self.refill()
        return seq[int(self.ahead.pop() * len(seq))]

    def randint(self, a: int, b: int, /) -> int:
        """An integer from `a` to `b`, both included, uniformly."""
        if not self.ahead:
            self.refill()
        return a + int(self.ahead.pop() * (b - a + 1))

    def refill(self) -> None:
        """Draw the next numbers: one, or a block of an owned generator."""
        if self._default:
            self._default = False
            warnings.warn(
                f"a random trial is drawn from a generator of this object, seeded with {DEFAULT_SEED}, not from "
                "Python's global one; pass rng=SEED, rng=numpy Generator, or rng=random for the global one",
                CompatWarning,
                stacklevel=4,
            )
        if self.owned:
            self.ahead += self.generator.random(BLOCK).tolist()[::-1]
        else:
            self.ahead.append(self.generator.random())  # Generator.integers takes 1.6 us


def as_draws(rng: object, *, strict: bool) -> Draws:
    """The draws of `rng`: None (seed 0, with a warning at the first draw), a seed, a Generator, or a `Draws`.

    With `strict`, draws must be those of the original packages, which only an object like the module `random` can
    make. Raises `SpecError` for that and for anything else.
    """
    home = str(getattr(rng, "__name__", type(rng).__module__))
    drawn = callable(getattr(rng, "choice", None)) and callable(getattr(rng, "randint", None))
    if drawn and not home.startswith("numpy"):  # numpy.random and its RandomState leave out the end of randint
        return rng  # type: ignore[return-value]
    if strict:
        raise SpecError(
            "strict_compat=True draws from the generator that the original package uses; pass rng=random (the module) "
            f"or rng=random.Random(SEED), not {type(rng).__name__}"
        )
    if rng is None:
        return GeneratorDraws(np.random.default_rng(DEFAULT_SEED), default=True)
    if isinstance(rng, np.random.Generator):
        return GeneratorDraws(rng)
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
        return GeneratorDraws(np.random.default_rng(int(rng)), owned=True)
    raise SpecError(f"rng is a seed >= 0, a numpy Generator, or the module random, not {rng!r:.60}")


def choice_of(draws: Draws) -> Callable[[Sequence[Any]], Any]:
    """`draws.choice`, and for Python's own generator the same draws in half the time (0.10 us instead of 0.23).

    `random.choice` is bits drawn until they are a position, through three calls; here it is in one.

    >>> import random
    >>> mine, theirs = random.Random(1), random.Random(1)
    >>> pick = choice_of(mine)
    >>> all(pick("abc"[:n]) == theirs.choice("abc"[:n]) for n in (1, 2, 3) * 100)
    True
    """
    kind = (type(draws).__module__, type(draws).__qualname__)
    if kind != ("random", "Random") and getattr(draws, "__name__", "") != "random":
        return draws.choice  # ours, or somebody's own, or a subclass that may draw in another way
    bits: Callable[[int], int] = draws.getrandbits  # type: ignore[attr-defined]

    def choice(seq: Sequence[Any]) -> Any:
        n = len(seq)
        size = n.bit_length()
        at = bits(size)
        while at >= n:
            at = bits(size)
        return seq[at]

    return choice


class Partial(dict[str, Any]):
    """A dictionary of what was measured; asking for what was not raises `Absent` and says what there is.

    >>> Partial("cell 3", {"valid-accuracy": 91.0})["valid-loss"]
    Traceback (most recent call last):
    nasbench_sim.compat.draws.Absent: cell 3: 'valid-loss' was not measured; there are valid-accuracy
    """

    def __init__(self, where: str, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise Absent(f"{self.where}: {key!r} was not measured; there are {', '.join(self)}")

    def copy(self) -> Partial:
        """A shallow copy of the same kind."""
        return Partial(self.where, self)

"""What a fuzz target is: good files of one kind, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutate import Rng

TARGETS: dict[str, Target] = {}


def as_it_is(data: bytes, rng: Rng) -> bytes:
    """No checksum to mend."""
    return data


def written(folder: Path, name: str, data: bytes) -> Path:
    """An input as a file, for parsers that read one."""
    path = folder / name
    path.write_bytes(data)
    return path


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes
    ----------
    name: what it is called on the command line.
    reads: what it reads, in words.
    seeds: good inputs, made in an empty folder.
    parse: gives an input to the parser. The folder is empty before and is emptied after; `folder / "home"` is where
        anything lasting goes, and it must be empty when an error is raised.
    mend: makes the checksums of an input fit again, as an attacker would; drawn, so that damage without is tried too.
    words: what stands in such files, for mutations that insert it.
    """

    name: str
    reads: str
    seeds: Callable[[Path], list[bytes]]
    parse: Callable[[bytes, Path], object]
    mend: Callable[[bytes, Rng], bytes] = as_it_is
    words: tuple[bytes, ...] = ()


def target(
    name: str,
    reads: str,
    seeds: Callable[[Path], list[bytes]],
    *,
    mend: Callable[[bytes, Rng], bytes] = as_it_is,
    words: tuple[bytes, ...] = (),
) -> Callable[[Callable[[bytes, Path], object]], Callable[[bytes, Path], object]]:
    """Make a function that parses an input a target of this name."""

    def register(parse: Callable[[bytes, Path], object]) -> Callable[[bytes, Path], object]:
        TARGETS[name] = Target(name, reads, seeds, parse, mend, words)
        return parse

    return register

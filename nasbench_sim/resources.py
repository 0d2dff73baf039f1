"""Where the project's own small data lives: inside the wheel (`_data`), or `data/` of a source checkout."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def data_path(*parts: str) -> Path:
    """Path of a file of the project's `data/` folder.

    >>> data_path("published").is_dir()
    True
    """
    packaged = _HERE / "_data"
    root = packaged if packaged.is_dir() else _HERE.parent / "data"
    return root.joinpath(*parts)

"""All targets, by import."""

from __future__ import annotations

from tests.fuzz import ours, theirs

__all__ = ["ours", "theirs"]

"""All targets, by import: what this package writes itself, and what others wrote."""

from __future__ import annotations

from tests.fuzz import nb101, official, ours, tabular

__all__ = ["nb101", "official", "ours", "tabular"]

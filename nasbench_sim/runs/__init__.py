"""Doing it: many seeds at once, checkpoints, resume, records."""

from nasbench_sim.runs.record import HISTORY, Run
from nasbench_sim.runs.search import search, search_all
from nasbench_sim.runs.spec import RunSpec, make_spec

__all__ = ["HISTORY", "Run", "RunSpec", "make_spec", "search", "search_all"]

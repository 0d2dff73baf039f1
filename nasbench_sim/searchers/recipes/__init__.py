"""One file a published method: each composes parts and cites paper, equation and deviations."""

from nasbench_sim.searchers.recipes import balenas, bpnas, darts, parsec, random

__all__ = ["balenas", "bpnas", "darts", "parsec", "random"]

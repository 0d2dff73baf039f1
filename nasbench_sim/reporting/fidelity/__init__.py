"""Simulated searches held against recorded ones of true supernets: numbers with their errors, and what follows."""

from nasbench_sim.reporting.fidelity.page import write_fidelity
from nasbench_sim.reporting.fidelity.study import fidelity

__all__ = ["fidelity", "write_fidelity"]

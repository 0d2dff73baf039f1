"""Simulated searches held against recorded ones of true supernets: numbers, their errors, and what follows from them."""

from nasbench_sim.reporting.fidelity.study import fidelity

__all__ = ["fidelity"]

"""Black-box searches: train a cell, look at its validation accuracy, pay with simulated time, propose the next."""

from nasbench_sim.searchers.blackbox.base import BlackBox, History, Method, Noise
from nasbench_sim.searchers.blackbox.problem import Cost, Problem, make_problem

__all__ = ["BlackBox", "Cost", "History", "Method", "Noise", "Problem", "make_problem"]

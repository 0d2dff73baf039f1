"""Measuring: paired times of whole bilevel steps by backend, where the time goes, and a gate that results are equal."""

from gpu_validation.bench.options import BenchOptions

__all__ = ["BenchOptions"]

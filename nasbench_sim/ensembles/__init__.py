"""Ensembles from per-sample predictions: what the members predict, how good they are together, which to take."""

from nasbench_sim.ensembles.coverage import Coverage, coverage
from nasbench_sim.ensembles.members import ensemble_accuracy, member_archs
from nasbench_sim.ensembles.metrics import Scores, score
from nasbench_sim.ensembles.posterior import PosteriorSample, frequencies, nes_bs, posterior_mass
from nasbench_sim.ensembles.predictions import Predictions, PredictionSource, check_partner
from nasbench_sim.ensembles.selection import RandomPool, Selection, forward_select, nes_rs
from nasbench_sim.ensembles.svgd import svgd_rd

__all__ = [
    "Coverage",
    "PosteriorSample",
    "PredictionSource",
    "Predictions",
    "RandomPool",
    "Scores",
    "Selection",
    "check_partner",
    "coverage",
    "ensemble_accuracy",
    "forward_select",
    "frequencies",
    "member_archs",
    "nes_bs",
    "nes_rs",
    "posterior_mass",
    "score",
    "svgd_rd",
]

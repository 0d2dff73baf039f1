"""Stand-alone networks: training one cell or a pool of them, and their predictions for ensembles."""

from gpu_validation.training.spec import PROTOCOLS, TrainSpec, make_train_spec
from gpu_validation.training.trainer import Trained, train

__all__ = ["PROTOCOLS", "TrainSpec", "Trained", "make_train_spec", "train"]

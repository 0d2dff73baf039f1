"""Stand-alone networks: training one cell or a pool of them, and their predictions for ensembles."""

from gpu_validation.training.pool import Member, Pool, train_pool
from gpu_validation.training.spec import PROTOCOLS, TrainSpec, make_train_spec
from gpu_validation.training.trainer import Trained, train

__all__ = ["PROTOCOLS", "Member", "Pool", "TrainSpec", "Trained", "make_train_spec", "train", "train_pool"]

"""Images that networks train on: loaded safely, kept on the device, drawn as a pure function of (seed, step)."""

from gpu_validation.data.dataset import Dataset, batch, batches
from gpu_validation.data.loading import DATASETS, load_dataset

__all__ = ["DATASETS", "Dataset", "batch", "batches", "load_dataset"]
